"""Packed copies of .tflite files: the kernels coded as in a .kdc file, and decoded to the same bytes on a device.

A network whose weights share few values is as small packed as its .kdc file, and comes out as the .tflite file that
LiteRT runs. `export/decoder` has the decoder in C, docs/decoder.md the format.
"""

from export.packing.files import SUFFIX, pack, unpack

__all__ = ["SUFFIX", "pack", "unpack"]
