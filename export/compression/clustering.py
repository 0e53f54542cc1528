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
FITTING = 30  # steps of conjugate gradients at most, to fit the values of a layer
ENOUGH = 1e-6  # of the first squared residual
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

    def by_group(array: np.ndarray) -> np.ndarray:
        return np.stack(np.split(array.reshape(rows, -1), groups, axis=1))  # [groups, rows, outputs of a group]

    weights = by_group(kernel)
    zeros = by_group(kernel == 0 if zero is None else zero)
    kept = np.where(zeros, np.float32(0), weights)
    compensation = sensitivity.compensation
    if price:
        # Errors that later inputs make up for cost as much as the diagonal of the triangle says.
        diagonal = np.diagonal(compensation.triangle, axis1=-2, axis2=-1)
        importance = scale * float(np.exp(np.mean(-2 * np.log(diagonal))))
        # Where one more bit a weight, which halves the step, saves as much divergence as it costs bytes.
        span = sum(float(np.ptp(side)) for side in _sides(kept))
        values = max(3, min(values, 1 + round(span / np.sqrt(12 / math.log(2) * price / importance))))
    book = _centers(kept, values)
    chosen = _choose(weights, zeros, compensation, book)
    book = _fit(weights, moments, chosen, book)
    return half(book[np.concatenate(list(chosen), axis=1)]).reshape(kernel.shape)


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
    """Return the index of the value that each weight [groups, rows, outputs] takes; where `zeros` are true, of zero."""
    book = book.astype(np.float32)
    ascending = np.argsort(book)
    edges = (book[ascending][1:] + book[ascending][:-1]) / 2
    nothing = int(np.flatnonzero(book == 0)[0])
    zeros = compensation.ordered(zeros)
    chosen = np.empty(weights.shape, np.int64)

    def nearest(place: int, wanted: np.ndarray) -> np.ndarray:
        chosen[:, place] = np.where(zeros[:, place], nothing, ascending[np.searchsorted(edges, wanted)])
        return book[chosen[:, place]]

    compensation.choose(weights, nearest)
    indices = np.empty_like(chosen)
    np.put_along_axis(indices, compensation.order[..., None], chosen, -2)
    return indices


def _fit(weights: np.ndarray, moments: np.ndarray, chosen: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Return the values with which the outputs of the layer are nearest to what they were.

    The equations are solved by conjugate gradients: to write them down takes a product with the moments for each value.
    """
    flat = chosen.ravel()

    def gathered(errors: np.ndarray) -> np.ndarray:
        sums = np.bincount(flat, np.matmul(moments, errors).ravel(), len(book))
        return np.where(free, sums, 0.0)

    power = np.einsum("grr->gr", moments)[..., None]
    diagonal = np.bincount(flat, np.broadcast_to(power, chosen.shape).ravel(), len(book))
    free = (book != 0) & (diagonal > 0)
    inverse = np.where(free, 1 / np.where(free, diagonal, 1.0), 0.0)
    change, direction, before = np.zeros(len(book)), np.zeros(len(book)), 1.0
    rest = gathered(weights - book.astype(np.float32)[chosen])
    first = float(rest @ (inverse * rest))
    for _ in range(FITTING):
        size = float(rest @ (inverse * rest))
        if size <= ENOUGH * first:
            break
        direction = inverse * rest + size / before * direction
        # A little towards the values as they are, where nothing else decides.
        product = gathered(direction.astype(np.float32)[chosen]) + 1e-6 * diagonal * direction
        length = size / float(direction @ product)
        change, rest, before = change + length * direction, rest - length * product, size
    return book + change
