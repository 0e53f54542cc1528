"""Share weights: few values a layer, placed where they cost the network's answers least.

One price for all layers, in nats of divergence a bit of the coded file, tells how many values a layer needs: the values
are as far apart as makes another bit a weight save just what it costs. Then OPTQ chooses the weights one input after
another (`export.quantization.optq`), and the values are the least-squares solution for the weights that share them.
Zeros stay zero.

A codebook that favors frequent values (entropy-constrained quantization) was tried: at equal size it is no better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.compression.networks import by_kernel, kernels, layer_of, members
from export.compression.sensitivity import Sensitivity, indifferent
from export.errors import RequestError
from export.quantization.optq import Compensation
from kerascnn.weights.container import half

if TYPE_CHECKING:
    import keras

BITS = 6
LLOYD = 10
_BINS = 4096


def cluster(
    model: keras.Model,
    bits: int | Mapping[str, int] = BITS,
    *,
    price: float = 0.0,
    sensitivities: Mapping[str, Sensitivity] | None = None,
) -> float:
    """Replace the weights of every convolution and dense layer by at most 2**bits values, zero among them.

    Biases, and whatever else is not a kernel, are rounded to float16, as the values are.

    Args:
        model: changed in place.
        bits: 1 to 8, for all layers, or by layer name; layers that are not named keep their weights.
        price: nats of divergence that a bit of the coded file may cost; 2e-7 makes SqueezeNet's 350 kB. With 0 only
            `bits` limits the file's size.
        sensitivities: by `layer/weight`; without them all weights of a layer matter alike.

    Returns:
        The expected divergence, in nats a photo; it means little without sensitivities.

    Raises:
        RequestError: bits are not 1 to 8, or there is no such layer.
    """
    variables = kernels(model)
    total = 0.0
    for path, number in bits_by_layer(model, bits).items():
        kernel = np.asarray(variables[path], np.float32)
        sensitivity = sensitivities[path] if sensitivities else indifferent(kernel)
        shared = share(kernel, 2**number, price, sensitivity)
        total += sensitivity.divergence(kernel - shared)
        variables[path].assign(shared)
    round_to_half(model)
    return total


def bits_by_layer(model: keras.Model, bits: int | Mapping[str, int]) -> dict[str, int]:
    """Return the bits of each kernel by `layer/weight`.

    Raises:
        RequestError: they are not 1 to 8, or there is no such layer.
    """
    numbers = by_kernel(model, bits)
    for path, number in numbers.items():
        if not isinstance(number, int) or not 1 <= number <= 8:
            raise RequestError(
                f"{layer_of(path)}: {number} bits were asked for; layers share 2 to 256 values, 1 to 8 bits."
            )
    return numbers


def round_to_half(model: keras.Model) -> None:
    """Round shared values, biases and the like to float16; kernels that share no values stay as they are."""
    for layer in model.layers:
        for variable in layer.weights:
            array = np.asarray(variable)
            if array.dtype != np.float32 or (array.ndim > 1 and members(array)[0] is None):
                continue
            try:
                variable.assign(half(array))
            except ValueError:  # beyond float16's range: it stays as it is
                continue


def share(
    kernel: np.ndarray, values: int, price: float, sensitivity: Sensitivity, zero: np.ndarray | None = None
) -> np.ndarray:
    """Return a kernel of at most `values` different numbers, zero among them, that float16 holds.

    Args:
        kernel: with its outputs in the last dimension.
        values: how many there may be.
        price: as for `cluster`.
        sensitivity: of the kernel.
        zero: which weights become zero, whatever they are in `kernel`; by default those that are.
    """
    moments, scale = sensitivity.moments, sensitivity.scale
    groups, rows, _ = moments.shape
    weights = kernel.reshape(rows, -1)
    zeros = (kernel == 0 if zero is None else zero).reshape(rows, -1)
    kept = np.where(zeros, np.float32(0), weights)
    compensations = [Compensation.of(m) for m in moments]
    if price:
        # Errors that later inputs make up for cost as much as the diagonal of the triangle says.
        diagonals = [np.diag(compensation.triangle) for compensation in compensations]
        importance = scale * float(np.exp(np.mean([-2 * np.log(diagonal) for diagonal in diagonals])))
        # Where one more bit a weight, which halves the step, saves as much divergence as it costs bytes.
        span = sum(float(np.ptp(side)) for side in _sides(kept))
        values = max(3, min(values, 1 + round(span / np.sqrt(12 / math.log(2) * price / importance))))
    book = _centers(kept, values)
    parts, zero_parts = (np.split(array, groups, axis=1) for array in (weights, zeros))
    chosen = [_choose(*part, book) for part in zip(parts, zero_parts, compensations, strict=True)]
    book = _fit(parts, moments, chosen, book)
    indices = np.concatenate(chosen, axis=1)
    return half(book[indices]).reshape(kernel.shape)


def _centers(weights: np.ndarray, values: int) -> np.ndarray:
    """Return zero and the values to start from, by k-means: as if each weight stood alone."""
    kept = weights[weights != 0]
    different = np.unique(kept)
    if len(different) < values:
        return np.concatenate([[0.0], different])
    counts, edges = np.histogram(kept, _BINS)
    sums, _ = np.histogram(kept, edges, weights=kept)
    centers, counts = sums[counts > 0] / counts[counts > 0], counts[counts > 0]
    book = np.concatenate([[0.0], *_spread(_sides(centers), min(values - 1, len(centers)))])
    for _ in range(LLOYD):
        indices = np.square(centers[:, None] - book).argmin(axis=1)
        number = np.bincount(indices, counts, len(book))
        mean = np.bincount(indices, counts * centers, len(book)) / np.maximum(number, 1)
        book = np.where((number > 0) & (book != 0), mean, book)
    return book


def _sides(weights: np.ndarray) -> list[np.ndarray]:
    """Return the negative and the positive weights, where there are any: pruning leaves a gap between them."""
    return [side for side in (weights[weights < 0], weights[weights > 0]) if side.size]


def _spread(sides: list[np.ndarray], values: int) -> list[np.ndarray]:
    """Return `values` numbers, about equally far from each other, on both sides of the gap."""
    spans = [float(np.ptp(side)) or 1e-30 for side in sides]
    first = round(values * spans[0] / sum(spans))
    if len(sides) == 2 and values > 1:
        first = min(max(first, 1), values - 1)
    return [np.linspace(side.min(), side.max(), n) for side, n in zip(sides, (first, values - first), strict=False)]


def _choose(weights: np.ndarray, zeros: np.ndarray, compensation: Compensation, book: np.ndarray) -> np.ndarray:
    """Return the index of the value that each weight [rows, outputs] takes; where `zeros` are true, that of zero."""
    book = book.astype(np.float32)
    ascending = np.argsort(book)
    edges = (book[ascending][1:] + book[ascending][:-1]) / 2
    nothing = int(np.flatnonzero(book == 0)[0])
    chosen = np.empty(weights.shape, np.int64)

    def nearest(place: int, wanted: np.ndarray) -> np.ndarray:
        row = compensation.order[place]
        chosen[row] = np.where(zeros[row], nothing, ascending[np.searchsorted(edges, wanted)])
        return book[chosen[row]]

    compensation.choose(weights, nearest)
    return chosen


def _fit(parts: list[np.ndarray], moments: np.ndarray, chosen: list[np.ndarray], book: np.ndarray) -> np.ndarray:
    """Return the values with which the outputs of the layer are nearest to what they were."""
    size = len(book)
    products, targets = np.zeros((size, size)), np.zeros(size)
    for weights, moment, indices in zip(parts, moments, chosen, strict=True):
        flat = indices.ravel()
        targets += np.bincount(flat, (moment @ weights).ravel(), size)
        for value in range(size):
            mask = (indices == value).astype(np.float32)
            products[value] += np.bincount(flat, (moment @ mask).ravel(), size)
    free = (book != 0) & (np.diag(products) > 0)
    system = products[np.ix_(free, free)]
    system += 1e-6 * np.diag(np.diag(system))  # towards the values as they are, where nothing else decides
    fitted = book.copy()
    fitted[free] += np.linalg.solve(system, (targets - products @ book)[free])
    return fitted
