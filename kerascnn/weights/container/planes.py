"""One position of all kernels of an array, coded as distances from zero: what .kdc and .kdz files have in common.

A change here is another version of both formats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kerascnn.weights.container.entropy import UNIT, BitModel, Decoder, Encoder, SymbolModel

Coder = Encoder | Decoder

FIRST = 32  # symbols coded before a new array's frequencies are learned for the first time
SIGN_CONTEXTS = 27
_NO_SIGNS = 13  # the context of a weight whose neighbors are zero
KERNEL_ZEROS = (0, 3, 5, 8, 11, 14)  # bounds, in twentieths of the kernel so far


@dataclass(frozen=True)
class Models:
    """The models of one array; `sides` counts the shared weights below zero and above it."""

    zeros: BitModel
    signs: BitModel
    sizes: SymbolModel
    sides: tuple[int, int]


def code_part(
    coder: Coder, models: Models, contexts: tuple[np.ndarray, np.ndarray], wanted: np.ndarray | None
) -> np.ndarray:
    """Code a part of a plane as distances from zero; `contexts` are those of its zeros and of its signs."""
    zero_rows, sign_rows = contexts
    part = np.zeros(len(zero_rows), np.int16)
    kept = coder.code(models.zeros, zero_rows, None if wanted is None else (wanted != 0).astype(np.int64))
    (places,) = kept.nonzero()
    values = None if wanted is None else wanted[places]
    if models.sides[0] and models.sides[1]:
        signed = sign_rows[places]
        positive = coder.code(models.signs, signed, None if values is None else (values > 0).astype(np.int64))
    else:
        positive = np.full(len(places), int(models.sides[1] > 0), np.int64)
    distance = coder.code(models.sizes, positive, None if values is None else np.abs(values) - 1)
    part[places] = np.where(positive, distance + 1, -distance - 1)
    return part


def neighborhood(planes: np.ndarray, kept: np.ndarray, tap: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the context of each zero by the weights around it, and of each sign, of one position in all kernels.

    Args:
        planes: The weights so far, as distances from zero: [positions, kernels].
        kept: How many weights other than zero each kernel has had.
        tap: The position; not the first, which has no neighbors.
        width: Of a kernel.
    """
    y, x = divmod(tap, width)
    none = np.zeros(1, np.int16)
    left = planes[tap - 1] if x else none
    above = planes[tap - width] if y else none
    corner = planes[tap - width - 1] if x and y else none
    # Counts of bounds below a number, as np.searchsorted gives them; the comparisons stay whole numbers.
    density = np.searchsorted(np.multiply(KERNEL_ZEROS, tap), np.arange(0, 20 * tap + 1, 20))[kept]
    sign_rows = 9 * (np.sign(corner) + 1) + 3 * (np.sign(left) + 1) + np.sign(above) + 1
    zero_rows = 4 * density + 2 * (left != 0) + (above != 0)
    return zero_rows, np.broadcast_to(sign_rows.astype(np.int64), len(kept))


def without_neighbors(area: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the contexts of zeros and signs of the first position in `area` kernels."""
    return np.broadcast_to(np.int64(0), area), np.broadcast_to(np.int64(_NO_SIGNS), area)


def prior(before: list[np.ndarray] | None, sides: tuple[int, int]) -> list[np.ndarray]:
    """Stretch the last array's frequencies of sizes to this one's number of them, as one observation each."""
    priors = []
    for i, size in enumerate(sides):
        prior = np.full(size, UNIT // 5, np.int64)
        if size and before is not None and len(before[i]):
            stretched = before[i][np.arange(size) * len(before[i]) // size]
            prior += UNIT * size * stretched // max(int(stretched.sum()), 1)
        priors.append(prior)
    return priors
