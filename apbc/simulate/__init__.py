"""Simulated micrographs with known particles, for the demo and the tests."""
