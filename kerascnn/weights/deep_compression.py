"""The file of Deep Compression (Han, Mao & Dally 2016, arXiv:1510.00149) that was published for SqueezeNet v1.0.

    nz        uint32 for each convolution: how many of its weights are kept
    then for each convolution, in network order
    codebook  float32[256]
    bias      float32[outputs]
    codes     uint8[nz]                index into the codebook of each kept weight
    gaps      uint8[(nz + 1) // 2]     zeros before each kept weight, two 4-bit numbers a byte, the low half first

Positions count through (outputs, inputs, height, width), Caffe's order. All is little endian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerascnn.weights.errors import WeightsError

CODEBOOK = 256
SQUEEZES = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}  # a fire module expands to 4 times as many, twice


def read_squeezenet(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read the file: kernels (height, width, inputs, outputs) and biases by our own layer names.

    The file does not say its shapes. They are those of the published network, whatever the model that it is loaded
    into was built with.

    Raises:
        WeightsError: As for `decode`.
    """
    shapes = {"conv1": (96, 3, 7, 7)}
    inputs = 96
    for fire, squeeze in SQUEEZES.items():
        shapes[f"fire{fire}_squeeze1x1"] = (squeeze, inputs, 1, 1)
        shapes[f"fire{fire}_expand1x1"] = (4 * squeeze, squeeze, 1, 1)
        shapes[f"fire{fire}_expand3x3"] = (4 * squeeze, squeeze, 3, 3)
        inputs = 8 * squeeze
    shapes["conv10"] = (1000, inputs, 1, 1)
    decoded = decode(path.read_bytes(), list(shapes.values()), str(path))
    return {
        layer: {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        for layer, (kernel, bias) in zip(shapes, decoded, strict=True)
    }


def decode(data: bytes, shapes: Sequence[tuple[int, int, int, int]], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Decode a file.

    Args:
        data: The whole file.
        shapes: (outputs, inputs, height, width) of each convolution, in network order.
        name: The file's name, for errors.

    Returns:
        For each convolution its kernel, float32 of that shape, and its bias, float32[outputs].

    Raises:
        WeightsError: The file is shorter or longer than its contents say, or does not fit the shapes.
    """
    reader = _Reader(data, name)
    kept = reader.read("<u4", len(shapes), "the numbers of kept weights")
    layers = []
    for i, (shape, count) in enumerate(zip(shapes, kept.tolist(), strict=True)):
        what = f"convolution {i + 1} of {len(shapes)}"
        size = math.prod(shape)
        if count > size:
            raise WeightsError(f"{name} is not a file for this network: {what} has {size} weights, {count} are given.")
        codebook = reader.read("<f4", CODEBOOK, f"the codebook of {what}")
        bias = reader.read("<f4", shape[0], f"the bias of {what}")
        codes = reader.read("u1", count, f"the codes of {what}")
        packed = reader.read("u1", (count + 1) // 2, f"the positions of {what}")
        gaps = np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count]
        positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if count and positions[-1] >= size:
            raise WeightsError(f"{name} is damaged: {what} has {size} weights, one is placed at {positions[-1]}.")
        if not (np.isfinite(codebook).all() and np.isfinite(bias).all()):
            raise WeightsError(f"{name} is damaged: {what} has values that are not finite.")
        kernel = np.full(size, codebook[0], np.float32)
        kernel[positions] = codebook[codes]
        layers.append((kernel.reshape(shape), bias.astype(np.float32)))
    reader.finish()
    return layers


class _Reader:
    def __init__(self, data: bytes, name: str):
        self._data, self._name, self._offset = data, name, 0

    def read(self, dtype: str, count: int, what: str) -> np.ndarray:
        end = self._offset + count * np.dtype(dtype).itemsize
        if end > len(self._data):
            raise WeightsError(
                f"{self._name} is truncated: it ends at byte {len(self._data):,}, within {what} (to byte {end:,})."
            )
        array = np.frombuffer(self._data, dtype, count, self._offset)
        self._offset = end
        return array

    def finish(self) -> None:
        rest = len(self._data) - self._offset
        if rest:
            raise WeightsError(f"{self._name} is not a file for this network: {rest:,} bytes are left over.")
