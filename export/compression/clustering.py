"""Weight sharing: few values a layer, placed where they cost the network's answers least.

How many values a layer needs follows from one price for all layers, in nats of divergence a bit of the coded file: the
distance between values is such that another bit a weight would save just what it costs. Then weights are chosen one
input after another, and those that are still to come make up for the errors of those that are done (Frantar et al.
2023, OPTQ, arXiv:2210.17323); the values are the least-squares solution for the weights that share them. Zeros stay
zero.

A codebook that favours frequent values (entropy-constrained quantisation) was tried: at equal size it is no better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.compression.networks import kernels, members
from export.compression.sensitivity import Sensitivity, indifferent
from export.errors import RequestError
from kerascnn.weights.container import half

if TYPE_CHECKING:
    import keras

BITS = 6
DAMPING = 0.01
LLOYD = 10
_BINS = 4096
_BLOCK = 64


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
        price: nats of divergence that a bit of the coded file may cost: 0 takes no account of the file's size but for
            `bits`. 2e-7 makes SqueezeNet's 350 kB.
        sensitivities: by `layer/weight`; without them all weights of a layer matter alike.

    Returns:
        The divergence that is expected, in nats a photo; it means little without sensitivities.

    Raises:
        RequestError: bits are not 1 to 8, or there is no such layer.
    """
    wanted = bits_by_layer(model, bits)
    total = 0.0
    for path, number in wanted.items():
        variable = kernels(model)[path]
        kernel = np.asarray(variable, np.float32)
        sensitivity = sensitivities[path] if sensitivities else indifferent(kernel)
        shared = share(kernel, 2**number, price, sensitivity)
        total += sensitivity.divergence(kernel - shared)
        variable.assign(shared)
    round_to_half(model)
    return total


def bits_by_layer(model: keras.Model, bits: int | Mapping[str, int]) -> dict[str, int]:
    """The bits of each kernel by `layer/weight`.

    Raises:
        RequestError: they are not 1 to 8, or there is no such layer.
    """
    known = list(kernels(model))
    if isinstance(bits, Mapping):
        wanted = {f"{name}/kernel": number for name, number in bits.items()}
        for path in wanted:
            if path not in known:
                raise RequestError(f"{model.name} has no layer {path.removesuffix('/kernel')!r} that could be shared.")
    else:
        wanted = dict.fromkeys(known, bits)
    for path, number in wanted.items():
        if not isinstance(number, int) or not 1 <= number <= 8:
            raise RequestError(
                f"{path.removesuffix('/kernel')}: {number} bits were asked for; layers share 2 to 256 values, 1 to 8 "
                "bits."
            )
    return wanted


def round_to_half(model: keras.Model) -> None:
    """Round to float16 what can be: shared values, biases and the like, but not kernels that share nothing."""
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
    """A kernel of at most `values` different numbers, zero among them, that float16 holds.

    `zero` says which weights become zero, whatever they are in `kernel`; by default those that are.
    """
    moments, scale = sensitivity.moments, sensitivity.scale
    groups, rows, _ = moments.shape
    weights = kernel.reshape(rows, -1)
    zeros = (kernel == 0 if zero is None else zero).reshape(rows, -1)
    kept = np.where(zeros, np.float32(0), weights)
    factors = [_factor(m) for m in moments]
    if price:
        # Errors that later inputs make up for cost as much as the diagonal of the triangle says.
        importance = scale * float(np.exp(np.mean([-2 * np.log(np.diag(triangle)) for _, triangle in factors])))
        # Where one more bit a weight, which halves the step, saves as much divergence as it costs bytes.
        span = sum(float(np.ptp(side)) for side in _sides(kept))
        values = max(3, min(values, 1 + round(span / np.sqrt(12 / math.log(2) * price / importance))))
    book = _centres(kept, values)
    parts, none = (np.split(array, groups, axis=1) for array in (weights, zeros))
    chosen = [_choose(part, fixed, factor, book) for part, fixed, factor in zip(parts, none, factors, strict=True)]
    book = _fit(parts, moments, chosen, book)
    indices = np.concatenate(chosen, axis=1)
    return half(book[indices]).reshape(kernel.shape)


def _centres(weights: np.ndarray, values: int) -> np.ndarray:
    """Zero, and values to begin with, by k-means: as if each weight stood alone."""
    kept = weights[weights != 0]
    different = np.unique(kept)
    if len(different) < values:
        return np.concatenate([[0.0], different])
    counts, edges = np.histogram(kept, _BINS)
    sums, _ = np.histogram(kept, edges, weights=kept)
    centres, counts = sums[counts > 0] / counts[counts > 0], counts[counts > 0]
    book = np.concatenate([[0.0], *_spread(_sides(centres), min(values - 1, len(centres)))])
    for _ in range(LLOYD):
        indices = np.square(centres[:, None] - book).argmin(axis=1)
        number = np.bincount(indices, counts, len(book))
        mean = np.bincount(indices, counts * centres, len(book)) / np.maximum(number, 1)
        book = np.where((number > 0) & (book != 0), mean, book)
    return book


def _sides(weights: np.ndarray) -> list[np.ndarray]:
    """The negative and the positive ones, where there are any: pruning leaves a gap between them."""
    return [side for side in (weights[weights < 0], weights[weights > 0]) if side.size]


def _spread(sides: list[np.ndarray], values: int) -> list[np.ndarray]:
    """`values` numbers, about equally far from each other, on both sides of the gap."""
    spans = [float(np.ptp(side)) or 1e-30 for side in sides]
    first = round(values * spans[0] / sum(spans))
    if len(sides) == 2 and values > 1:
        first = min(max(first, 1), values - 1)
    return [np.linspace(side.min(), side.max(), n) for side, n in zip(sides, (first, values - first), strict=False)]


def _factor(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of the inputs, and the triangle that tells how later ones make up for earlier ones."""
    power = np.diag(moments).astype(np.float64)
    order = np.argsort(-power, kind="stable")  # the most important first, while there is most left to compensate with
    damping = DAMPING * power.mean() or 1.0
    inverse = np.linalg.inv(moments[np.ix_(order, order)] + damping * np.eye(len(order)))
    return order, np.linalg.cholesky(inverse).T.astype(np.float32)


def _choose(
    weights: np.ndarray, zeros: np.ndarray, factor: tuple[np.ndarray, np.ndarray], book: np.ndarray
) -> np.ndarray:
    """Which value each weight [rows, outputs] takes; where `zeros` are true, zero."""
    order, triangle = factor
    book = book.astype(np.float32)
    ascending = np.argsort(book)
    edges = (book[ascending][1:] + book[ascending][:-1]) / 2
    rest = weights[order].astype(np.float32)
    zero = zeros[order]
    nothing = int(np.flatnonzero(book == 0)[0])
    chosen = np.empty(rest.shape, np.int64)
    for start in range(0, len(rest), _BLOCK):
        end = min(start + _BLOCK, len(rest))
        errors = np.empty((end - start, rest.shape[1]), np.float32)
        for row in range(start, end):
            best = ascending[np.searchsorted(edges, rest[row])]
            chosen[row] = np.where(zero[row], nothing, best)
            errors[row - start] = (rest[row] - book[chosen[row]]) / triangle[row, row]
            rest[row + 1 : end] -= np.outer(triangle[row, row + 1 : end], errors[row - start])
        rest[end:] -= triangle[start:end, end:].T @ errors
    result = np.empty_like(chosen)
    result[order] = chosen
    return result


def _fit(parts: list[np.ndarray], moments: np.ndarray, chosen: list[np.ndarray], book: np.ndarray) -> np.ndarray:
    """The values with which the outputs of the layer are nearest to what they were."""
    size = len(book)
    products, targets = np.zeros((size, size)), np.zeros(size)
    for weights, moment, indices in zip(parts, moments, chosen, strict=True):
        wanted = moment @ weights
        flat = indices.ravel()
        targets += np.bincount(flat, wanted.ravel(), size)
        for value in range(size):
            members = (indices == value).astype(np.float32)
            products[value] += np.bincount(flat, (moment @ members).ravel(), size)
    free = (book != 0) & (np.diag(products) > 0)
    system = products[np.ix_(free, free)]
    system += 1e-6 * np.diag(np.diag(system))  # towards the values as they are, where nothing else decides
    found = book.copy()
    found[free] += np.linalg.solve(system, (targets - products @ book)[free])
    return found
