"""From a kernel's places to its values, in both directions of the coder."""

from __future__ import annotations

import numpy as np

from export.packing.kernels import Memory, code_corrections, code_flip, code_places
from export.packing.records import Kernel, Kind, Size, products, scaled
from kerascnn.weights.container.planes import Coder


def code_kernel(
    coder: Coder, memory: Memory, kernel: Kernel, places: np.ndarray | None, values: np.ndarray | None = None
) -> np.ndarray:
    """Code a kernel.

    Args:
        coder: An Encoder or a Decoder.
        memory: What earlier kernels taught.
        kernel: The kernel.
        places: For an Encoder: the place of each weight in the list, uint8, in the kernel's shape.
        values: For an Encoder: its int8 values, where it is `Kind.SCALED`.

    Returns:
        Its values as unsigned whole numbers, in its shape.
    """
    places = code_places(coder, memory, kernel.shape, (len(kernel.book), kernel.center), places)
    if kernel.kind == Kind.TABLE:
        return kernel.book[places]
    if kernel.kind == Kind.GAINS:
        gains = kernel.gains if kernel.last else kernel.gains[:, None, None, None]
        return products(kernel.book[places], gains, kernel.size == Size.HALF)
    result = np.zeros(kernel.shape, np.int8)
    axis = 3 if kernel.last else 0
    by_channel = np.moveaxis(places, axis, 0)
    for channel, mine in enumerate(by_channel):
        table = _scaled_channel(coder, memory, kernel, mine, None if values is None else values.take(channel, axis))
        np.moveaxis(result, axis, 0)[channel] = table[mine]
    return result.view(np.uint8)


def _scaled_channel(
    coder: Coder, memory: Memory, kernel: Kernel, places: np.ndarray, values: np.ndarray | None
) -> np.ndarray:
    """Code what a channel's values differ from those expected, and return its values by place."""
    (used,) = np.bincount(places.ravel(), minlength=len(kernel.book)).nonzero()
    book = kernel.book[used].astype(np.int64)
    expected = scaled(book, int(np.abs(book).max()))
    corrections, flip = None, None
    if values is not None:
        first = np.unique(places, return_index=True)[1]
        found = values.view(np.int8).ravel()[first].astype(np.int64)
        flip = bool((found * expected).sum() < 0)
        corrections = found - (-expected if flip else expected)
    if code_flip(coder, memory, flip):
        expected = -expected
    found = expected + code_corrections(coder, memory, len(used), corrections)
    table = np.zeros(len(kernel.book), np.int64)
    table[used] = found
    return (table & 0xFF).astype(np.uint8).view(np.int8)
