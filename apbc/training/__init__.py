"""Training, calibration and the report."""
