"""Arrays as shared weights and indices, coded with what pruned convolutions have in common.

Each function runs in both directions: with an `Encoder` it is given the values and returns them, with a `Decoder` it
finds them. It models:

- zeros, by the weight's neighbors in its own kernel (left and above), by how much of that kernel was zero so far, and
  by how many zeros its input and output channels have had;
- signs, by those of the neighbors: kernels are smooth;
- sizes among the shared weights of one sign, as often as they were seen.

On SqueezeNet's pruned weights with 64 shared ones a layer this takes 2 % less than the zero-order entropy.
"""

from __future__ import annotations

import math
from itertools import count

import numpy as np

from kerascnn.weights.container.entropy import UNIFORM, BitModel, Damaged, SymbolModel
from kerascnn.weights.container.planes import (
    FIRST,
    KERNEL_ZEROS,
    SIGN_CONTEXTS,
    Coder,
    Models,
    code_part,
    neighborhood,
    prior,
    without_neighbors,
)

ENTRIES = 256  # shared weights of one array, at most
DIGIT = 12  # bits of a number that are coded at once
_CHANNEL_ZEROS = (12, 16, 19, 22, 27)  # bounds, in twentieths of the average
_ZERO_CONTEXTS = 1 + (len(KERNEL_ZEROS) + 1) * 4 * (len(_CHANNEL_ZEROS) + 1)


class Memory:
    """What the models learned from earlier arrays of the same file."""

    def __init__(self) -> None:
        self.zeros = {spatial: BitModel(_ZERO_CONTEXTS) for spatial in (False, True)}
        self.signs = BitModel(SIGN_CONTEXTS)
        self.sizes: list[np.ndarray] | None = None
        self.lengths = SymbolModel([33])
        self.leading: dict[tuple[str, int], SymbolModel] = {}


def code_codebook(coder: Coder, memory: Memory, width: int, entries: int, values: np.ndarray | None) -> np.ndarray:
    """Code ascending different whole numbers of `width` bits, at most 32.

    Raises:
        Damaged: What is decoded does not ascend within `width` bits.
    """
    gaps = None if values is None else np.diff(values, prepend=-1) - 1
    bits = None if gaps is None else np.array([int(gap).bit_length() for gap in gaps], np.int64)
    bits = coder.code(memory.lengths, np.zeros(entries, np.int64), bits)
    below = np.maximum(bits - 1, 0)  # the leading bit is known
    decoded_gaps = np.where(bits > 0, np.left_shift(1, below), 0)
    for shift in range(0, 32, DIGIT):
        widths = np.clip(below - shift, 0, DIGIT)
        if not widths.any():
            break
        digits = None if gaps is None else (gaps - decoded_gaps >> shift) & (np.left_shift(1, widths) - 1)
        decoded = coder.code(UNIFORM, widths, digits)
        if gaps is None:
            decoded_gaps += decoded << shift
    result = np.cumsum((decoded_gaps if gaps is None else gaps) + 1) - 1
    if entries and result[-1] >> width:
        raise Damaged("a codebook leaves the range of its numbers")
    return result


def code_leading(
    coder: Coder, memory: Memory, kind: str, width: int, size: int, values: np.ndarray | None
) -> np.ndarray:
    """Code the first byte of each number of an array that shares no weights; `kind` says which arrays are alike."""
    model = memory.leading.setdefault((kind, width), SymbolModel([256]))
    return coder.code(model, np.zeros(size, np.int64), values)


def code_indices(
    coder: Coder, memory: Memory, shape: tuple[int, ...], entries: int, center: int, indices: np.ndarray | None
) -> np.ndarray:
    """Code which of the `entries` shared weights each place of an array has.

    Args:
        coder: An Encoder or a Decoder.
        memory: What earlier arrays taught.
        shape: The shape of the array; (height, width, inputs, outputs) for kernels.
        entries: How many shared weights there are, in ascending order.
        center: Which of them is zero, or the least positive one.
        indices: Flat, for an Encoder.

    Returns:
        The indices, flat.
    """
    size = math.prod(shape)
    if entries == 1 or not size:
        return np.zeros(size, np.int16)
    spatial = len(shape) == 4 and shape[0] * shape[1] > 1 and 4 * shape[2] * shape[3] >= coder.lanes
    height, width, inputs, outputs = shape if spatial else (1, 1, 1, size)
    area = inputs * outputs
    wanted = None if indices is None else (indices.astype(np.int16) - center).reshape(-1, area)
    planes = np.zeros((height * width, area), np.int16)
    zeros = memory.zeros[spatial]
    zeros.fade(20)
    memory.signs.fade(30)
    sides = (center, entries - 1 - center)
    models = Models(zeros, memory.signs, SymbolModel(sides, prior(memory.sizes, sides)), sides)
    kept = np.zeros(area, np.int32)  # weights other than zero so far, of each kernel
    lengths = (min(FIRST << i, coder.lanes) for i in count())
    for tap in range(height * width):
        contexts = _contexts(planes, kept, tap, width, inputs)
        plane = planes[tap]
        start = 0
        while start < area:
            stop = min(start + next(lengths), area)
            part = None if wanted is None else wanted[tap, start:stop].astype(np.int64)
            here = (contexts[0][start:stop], contexts[1][start:stop])
            plane[start:stop] = code_part(coder, models, here, part)
            start = stop
        kept += plane != 0
    memory.sizes = models.sizes.rows
    planes += np.int16(center)
    return planes.ravel()


def _contexts(planes: np.ndarray, kept: np.ndarray, tap: int, width: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the context of each zero and of each sign of a plane, which is one position in all kernels."""
    area = len(kept)
    if not tap:
        return without_neighbors(area)
    around, sign_rows = neighborhood(planes, kept, tap, width)
    by_channel = kept.reshape(inputs, -1).astype(np.int64)
    product = np.multiply.outer(by_channel.sum(axis=1), by_channel.sum(axis=0)).ravel()
    square = int(kept.sum()) ** 2
    channels = np.searchsorted(np.multiply(_CHANNEL_ZEROS, square), 20 * area * product)
    return 1 + around * (len(_CHANNEL_ZEROS) + 1) + channels, sign_rows
