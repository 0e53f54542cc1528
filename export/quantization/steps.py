"""The steps on which kernels of few bits lie, found in the kernels themselves."""

from __future__ import annotations

import numpy as np

INT4, INT8 = 7, 127  # steps on either side of zero
_TOLERANCE = 1e-3  # of a step: what float32 arithmetic may have added


def steps_of(kernel: np.ndarray, axis: int, levels: int) -> np.ndarray | None:
    """Return the step of each channel, if all weights are whole multiples of it, at most `levels` on either side.

    Args:
        kernel: With its channels along `axis`.
        axis: Where the channels are.
        levels: `INT4` or `INT8`. A channel may use only some of them.
    """
    rows = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    tops = np.abs(rows).max(axis=1)
    tops[tops == 0] = 1
    steps = np.zeros(len(rows), np.float32)
    for used in range(levels, levels // 2, -1):
        if steps.all():
            break
        wanted = rows * (used / tops)[:, None]
        fits = (np.abs(wanted - np.round(wanted)) < _TOLERANCE).all(axis=1) & (steps == 0)
        steps[fits] = tops[fits] / used
    return steps if steps.all() else None


def numbers_of(kernel: np.ndarray, axis: int, steps: np.ndarray) -> np.ndarray:
    """Return how many steps each weight is, int8, where the channels along `axis` have a step each."""
    shape = [-1 if place == axis else 1 for place in range(kernel.ndim)]
    return np.asarray(np.round(kernel / steps.reshape(shape)).astype(np.int8))


def nibbles(numbers: np.ndarray) -> bytes:
    """Return whole numbers of four bits, two a byte, the first one in the low half."""
    flat = np.append(numbers.ravel(), np.zeros(numbers.size % 2, np.int8)) & 15
    return (flat[::2] | flat[1::2] << 4).astype(np.uint8).tobytes()
