"""Packed copies of .tflite files."""
