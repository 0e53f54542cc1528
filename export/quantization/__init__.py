"""Prepare a network for few bits: calibration, equalized channels, rounding."""
