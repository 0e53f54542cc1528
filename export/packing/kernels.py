"""Kernels as places in a short list of values, coded with what pruned and shared convolutions have in common.

Each function runs in both directions: with an `Encoder` it is given the places and returns them, with a `Decoder` it
finds them. `export/decoder/kdz.c` does the same in C: a change here is another version of the format.

The order is that of a .tflite file, one position of all kernels after another. It models:

- zeros, by the weight's neighbors in its own kernel (left and above), by how much of that kernel was zero so far, and
  by how many zeros its input and output channels have had;
- signs, by those of the neighbors;
- sizes among the values of one sign, as often as they were seen.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from kerascnn.weights.container.entropy import UNIT, BitModel, SymbolModel
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

FADE = 20  # observations that a context keeps from one kernel to the next
CORRECTIONS = 5  # -2 to 2
_PATIENCE = 1 << 14  # symbols after which the frequencies of sizes follow every 1,024
_REFRESH = 1024  # symbols, at least, between two looks at the channels
_LEVELS = np.array([6, 8, 10, 12, 14, 16, 19, 22, 26, 32])  # bounds, in sixteenths of an average channel
_NEUTRAL = 5
_CHANNELS = 7  # contexts: three sums of two levels are one
_ZERO_CONTEXTS = _CHANNELS * (1 + 4 * (len(KERNEL_ZEROS) + 1))


class Memory:
    """What the models learned from earlier kernels of the same file."""

    def __init__(self) -> None:
        self.zeros = {spatial: BitModel(_ZERO_CONTEXTS) for spatial in (False, True)}
        self.signs = BitModel(SIGN_CONTEXTS)
        self.flips = BitModel(1)
        self.corrections = SymbolModel([CORRECTIONS])
        self.sizes: list[np.ndarray] | None = None


class _Sizes(SymbolModel):
    """Frequencies that are computed anew after ever more symbols: with hundreds of values that is most of the time."""

    def __init__(self, sizes: tuple[int, int], prior: list[np.ndarray]):
        self._seen = self._pending = 0
        super().__init__(sizes, prior)

    def learn(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Count what was coded."""
        self._counts += UNIT * np.bincount(self._offsets[rows] + symbols, minlength=len(self._counts))
        self._pending += len(symbols)
        if self._pending >= min(self._seen, _PATIENCE) >> 4:
            self._seen += self._pending
            self._pending = 0
            self._update()


def code_places(
    coder: Coder, memory: Memory, shape: tuple[int, int, int, int], listed: tuple[int, int], places: np.ndarray | None
) -> np.ndarray:
    """Code which value of its list each weight has.

    Args:
        coder: An Encoder or a Decoder.
        memory: What earlier kernels taught.
        shape: (rows, height, width, columns), in the order of the file.
        listed: How many values there are, and which of them is zero.
        places: uint8, in that shape, for an Encoder.

    Returns:
        The places, uint8, in that shape.
    """
    rows, height, width, columns = shape
    entries, center = listed
    if entries == 1:
        return np.zeros(shape, np.uint8)
    taps, area = height * width, rows * columns
    wanted = None
    if places is not None:
        wanted = places.reshape(rows, taps, columns).swapaxes(0, 1).reshape(taps, area).astype(np.int16) - center
    planes = np.zeros((taps, area), np.int16)
    zeros = memory.zeros[taps > 1]
    zeros.fade(FADE)
    memory.signs.fade(FADE)
    sides = (center, entries - 1 - center)
    models = Models(zeros, memory.signs, _Sizes(sides, prior(memory.sizes, sides)), sides)
    channels = _Channels(rows, columns)
    kept = np.zeros(area, np.int32)  # weights other than zero so far, of each kernel
    lengths = (min(FIRST << i, coder.lanes) for i in count())
    for tap in range(taps):
        neighbors, sign_rows = _contexts(planes, kept, tap, width)
        channels.start_plane(tap)
        plane, start = planes[tap], 0
        while start < area:
            stop = min(start + next(lengths), area)
            zero_rows = neighbors[start:stop] + channels.contexts(start, stop)
            part = None if wanted is None else wanted[tap, start:stop].astype(np.int64)
            plane[start:stop] = code_part(coder, models, (zero_rows, sign_rows[start:stop]), part)
            channels.learn(start, plane[start:stop] != 0)
            start = stop
        kept += plane != 0
    memory.sizes = models.sizes.rows
    planes += np.int16(center)
    return planes.reshape(taps, rows, columns).swapaxes(0, 1).reshape(shape).astype(np.uint8)


def code_flip(coder: Coder, memory: Memory, flip: bool | None) -> bool:
    """Code whether a channel's values have the other sign."""
    symbols = None if flip is None else np.array([flip], np.int64)
    return bool(coder.code(memory.flips, np.zeros(1, np.int64), symbols)[0])


def code_corrections(coder: Coder, memory: Memory, size: int, values: np.ndarray | None) -> np.ndarray:
    """Code by how much values differ from what was expected of them, -2 to 2."""
    symbols = None if values is None else values.astype(np.int64) + CORRECTIONS // 2
    return coder.code(memory.corrections, np.zeros(size, np.int64), symbols) - CORRECTIONS // 2


class _Channels:
    """How many weights other than zero the channels have had, beside the average channel."""

    def __init__(self, rows: int, columns: int):
        self._columns, self._total, self._coded = columns, 0, 0
        self._by_row, self._by_column = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._rows = np.full(rows, _NEUTRAL)
        self._level = np.full(columns, _NEUTRAL)
        self._refresh = max(_REFRESH, rows + columns)
        self._next = self._refresh

    def start_plane(self, tap: int) -> None:
        if tap:
            self._rows = self._levels(self._by_row)

    def _levels(self, counts: np.ndarray) -> np.ndarray:
        size = len(counts)
        return np.searchsorted(_LEVELS * (self._total + 2 * size), 16 * size * (counts + 2), side="right")

    def contexts(self, start: int, stop: int) -> np.ndarray:
        if self._coded >= self._next:
            self._level = self._levels(self._by_column)
            self._next = self._coded + self._refresh
        rows, columns = np.divmod(np.arange(start, stop), self._columns)
        return (self._rows[rows] + self._level[columns]) // 3

    def learn(self, start: int, kept: np.ndarray) -> None:
        rows, columns = np.divmod(start + kept.nonzero()[0], self._columns)
        if len(rows):
            first = rows[0]
            counted = np.bincount(rows - first)
            self._by_row[first : first + len(counted)] += counted
            np.add.at(self._by_column, columns, 1)
            self._total += len(rows)
        self._coded += len(kept)


def _contexts(planes: np.ndarray, kept: np.ndarray, tap: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the context of each zero, but for its channels, and of each sign, of one position in all kernels."""
    if not tap:
        return without_neighbors(len(kept))
    around, sign_rows = neighborhood(planes, kept, tap, width)
    return _CHANNELS * (1 + around), sign_rows
