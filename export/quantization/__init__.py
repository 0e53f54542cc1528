"""Prepare a network for few bits: ranges, equalized channels, rounding."""
