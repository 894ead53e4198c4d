"""The machine that the engine runs on: devices and the doctor."""
