"""Ways to have a kernel as places in a list of values, and what each of them costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from export.packing import records
from export.packing.kernels import CORRECTIONS
from export.packing.records import ENTRIES, Kernel, Kind, Size

_HALF_STEPS = 1 << 15  # of the list of an int8 kernel
_BYTES = {Size.NIBBLE: 1, Size.BYTE: 1, Size.HALF: 2, Size.WORD: 4}


@dataclass(frozen=True)
class Found:
    """A kernel, the place of each of its weights in the list, and its values as unsigned whole numbers."""

    kernel: Kernel
    places: np.ndarray
    values: np.ndarray

    @property
    def cost(self) -> float:
        """About how many bytes it takes."""
        counts = np.bincount(self.places.ravel())
        counts = counts[counts > 0]
        coded = -float((counts * np.log2(counts / self.places.size)).sum()) / 8
        kind = self.kernel.kind
        book = len(self.kernel.book) * (2 if kind == Kind.SCALED else _BYTES[self.kernel.size])
        return coded + book + 3.5 * len(self.kernel.gains)


def as_table(kernel: Kernel, values: np.ndarray) -> Found | None:
    """List the values as they are; None where they are too many, or a list saves too little."""
    unique, places = np.unique(_ordered(values, kernel.size), return_inverse=True)
    if len(unique) > ENTRIES:
        return None
    first = np.unique(places, return_index=True)[1]
    book = values.ravel()[first]
    center = min(int(np.searchsorted(unique, 0)), len(unique) - 1)
    found = Found(replace(kernel, book=book, center=center), _as_places(places, values), values)
    size = kernel.weights * (4 if kernel.size == Size.NIBBLE else 8 * _BYTES[kernel.size]) / 8
    return found if found.cost < size else None


def originals_like(shape: tuple[int, ...], originals: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the kernels of a network that have the shape of one of the file, in the order of the file."""
    rows, height, width, columns = shape
    for kernel in originals:
        if kernel.ndim == 2 and height * width == 1 and kernel.T.shape == (rows, columns):
            yield kernel.T.reshape(shape)
        elif kernel.ndim == 4 and kernel.transpose(3, 0, 1, 2).shape == shape:
            yield kernel.transpose(3, 0, 1, 2)
        elif kernel.ndim == 4 and rows == 1 and kernel.reshape(1, *kernel.shape[:2], -1).shape == shape:
            yield kernel.reshape(shape)


def as_original(kernel: Kernel, values: np.ndarray, original: np.ndarray) -> Found | None:
    """Express values by those that the network's own kernel shares; None where they do not follow from these."""
    book, places = np.unique(original.astype(np.float32), return_inverse=True)
    if len(book) > ENTRIES or not np.any(book):
        return None
    center = min(int(np.searchsorted(book, 0)), len(book) - 1)
    kernel = replace(kernel, center=center)
    placed = _as_places(places, values)
    axis = 3 if kernel.last else 0
    pairs = np.moveaxis(placed, axis, 0).reshape(kernel.channels, -1) + ENTRIES * np.arange(kernel.channels)[:, None]
    pairs, first, back = np.unique(pairs, return_index=True, return_inverse=True)
    flat = np.moveaxis(values, axis, 0).ravel()
    if not np.array_equal(flat[first][back.ravel()], flat):
        return None  # weights of a channel that share a value do not share one in the file
    channel, place = np.divmod(pairs, ENTRIES)
    if kernel.size == Size.BYTE:
        steps = np.rint(book / np.abs(book).max() * (_HALF_STEPS - 1)).astype(np.int16)
        kernel = replace(kernel, kind=Kind.SCALED, book=steps)
        return Found(kernel, placed, values) if _near(kernel, channel, place, flat[first]) else None
    gains = _gains(kernel, book, (channel, place, flat[first]))
    if gains is None:
        return None
    return Found(replace(kernel, kind=Kind.GAINS, book=book, gains=gains), placed, values)


def _near(kernel: Kernel, channel: np.ndarray, place: np.ndarray, values: np.ndarray) -> bool:
    """Whether all int8 values are near those expected, so that a correction can make them these."""
    for one in range(kernel.channels):
        mine = channel == one
        steps, found = kernel.book[place[mine]], values[mine].view(np.int8).astype(np.int64)
        expected = records.scaled(steps, int(np.abs(steps.astype(np.int64)).max()))
        if (found * expected).sum() < 0:
            expected = -expected
        if np.abs(found - expected).max() > CORRECTIONS // 2:
            return False
    return True


def _gains(kernel: Kernel, book: np.ndarray, pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray | None:
    """Find the factor of each channel whose products with the list are its values; None where there is none."""
    channel, place, values = pairs
    half = kernel.size == Size.HALF
    floats = values.view(np.float16 if half else np.float32)
    if not np.isfinite(floats).all():
        return None
    size, base = np.abs(floats.astype(np.float64)), np.abs(book[place].astype(np.float64))
    if (size[base == 0] != 0).any():
        return None
    below = size - np.nextafter(np.abs(floats), floats.dtype.type(0)).astype(np.float64)
    above = np.spacing(np.abs(floats)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (size - below / 2) / base, (size + above / 2) / base
    least, most = np.zeros(kernel.channels), np.full(kernel.channels, np.inf)
    some = base > 0
    np.maximum.at(least, channel[some], low[some])
    np.minimum.at(most, channel[some], high[some])
    middle = np.where(np.isfinite(most), (least + most) / 2, 0.0)
    sign = np.zeros(kernel.channels)
    np.add.at(sign, channel, np.sign(floats.astype(np.float64)) * np.sign(book[place].astype(np.float64)))
    middle = np.where(sign < 0, -middle, middle).astype(np.float32)
    best, missing = middle.copy(), np.ones(kernel.channels, bool)
    for steps in (0, 1, -1):
        trial = middle if not steps else np.nextafter(middle, np.float32(steps * np.inf))
        wrong = records.products(book[place], trial[channel], half) != values
        good = np.bincount(channel, wrong, kernel.channels) == 0
        best = np.where(missing & good, trial, best)
        missing &= ~good
    return None if missing.any() else best.astype(np.float32)


def _as_places(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    return places.reshape(values.shape).astype(np.uint8)


def _ordered(values: np.ndarray, size: Size) -> np.ndarray:
    """Turn values into numbers in their order, zero as 0: whole numbers, or floats."""
    if size == Size.NIBBLE:
        return (values.astype(np.int64) ^ 8) - 8
    if size == Size.BYTE:
        return values.view(np.int8).astype(np.int64)
    bits = 16 if size == Size.HALF else 32
    pattern = values.astype(np.int64)
    top = 1 << (bits - 1)
    return np.where(pattern & top, top - 1 - pattern, pattern)
