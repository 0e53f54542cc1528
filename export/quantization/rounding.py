"""Round weights to int8 so that the errors of a channel cancel on the inputs that it really gets.

Rounding each weight to the nearest step is best for inputs that are noise, but the inputs of a convolution are
correlated: neighboring pixels are alike, and whole channels move together. OPTQ shifts the weights that are not rounded
yet to make up for each error. On SqueezeNet's photos it takes the noise that int8 weights put on the logits from -31 to
-40 dB.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from export.quantization.optq import Compensation
from export.quantization.steps import INT8

if TYPE_CHECKING:
    from export.quantization.observation import LayerInput
    from export.tracing.freezing import FrozenGraph


def round_kernels(frozen: FrozenGraph, inputs: Mapping[str, LayerInput]) -> FrozenGraph:
    """Round the kernels of a graph to TFLite's int8 steps, where that helps on images held back for the test.

    Convolutions, grouped ones too, and dense layers are rounded; anything else, and a kernel for which nearest
    rounding is as good, stays as it is. Zeros stay zero, each channel keeps its largest weight, from which the
    converter computes the step, and weights of a channel that share a value go on sharing it (`FrozenGraph.shared`).

    Args:
        frozen: the graph; it is left as it was.
        inputs: what the layer of each kernel to round receives.
    """
    rounded = {
        name: _rounded(frozen.kernels[name], seen, shared=name in frozen.shared) for name, seen in inputs.items()
    }
    return replace(frozen, kernels=frozen.kernels | rounded)


def _rounded(kernel: np.ndarray, seen: LayerInput, *, shared: bool) -> np.ndarray:
    """Round `kernel`, or return it as it is where rounding to the nearest step is as good on the tests.

    Args:
        kernel: with its outputs in the last dimension.
        seen: what its layer receives.
        shared: whether equal weights of a channel are to stay equal.
    """
    moments, tests = seen.moments, seen.tests
    weights = kernel.reshape(-1, kernel.shape[-1])
    steps = np.abs(weights).max(axis=0) / INT8  # one a channel, TFLite's rule for kernels
    steps[steps == 0] = 1
    nearest = np.round(weights / steps) * steps
    ours = np.empty_like(weights)
    size, width = moments.shape[-1], weights.shape[1] // len(tests)
    for group, parts in enumerate(np.split(moments, len(tests))):
        columns = slice(group * width, (group + 1) * width)
        if shared:
            ours[:, columns] = _tied(weights[:, columns], steps[columns], parts)
            continue
        for part, moment in enumerate(parts):
            rows = slice(part * size, (part + 1) * size)
            ours[rows, columns] = _compensated(weights[rows, columns], steps[columns], moment)
    errors = [
        sum(
            float(np.square(rows @ part).sum(dtype=np.float64))
            for rows, part in zip(tests, np.split(weights - rounded, len(tests), axis=1), strict=True)
        )
        for rounded in (nearest, ours)
    ]
    return ours.reshape(kernel.shape) if errors[1] < errors[0] else kernel


def _compensated(weights: np.ndarray, steps: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Return multiples of `steps` near `weights` for inputs with these moments.

    Args:
        weights: [..., inputs, outputs].
        steps: [..., outputs].
        moments: [..., inputs, inputs].
    """

    def rounded(wanted: np.ndarray, steps: np.ndarray) -> np.ndarray:
        return np.clip(np.round(wanted / steps), -INT8, INT8) * steps

    compensation = Compensation.of(moments)
    columns = steps[..., None, :]
    fixed = compensation.ordered((weights == 0) | (np.abs(weights) >= INT8 * columns * (1 - 1e-6)))
    nearest = compensation.ordered(rounded(weights, columns))
    return compensation.choose(
        weights, lambda row, wanted: np.where(fixed[..., row, :], nearest[..., row, :], rounded(wanted, steps))
    )


def _tied(weights: np.ndarray, steps: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Round like `_compensated`, but keep equal weights of an output equal; there are moments for each part."""
    result = np.empty_like(weights)
    alike = defaultdict(list)  # outputs by the number of their values: those of a number are rounded together
    for output, column in enumerate(weights.T):
        book, indices = np.unique(column, return_inverse=True)
        members = (indices[:, None] == np.arange(len(book))).astype(np.float32).reshape(*moments.shape[:2], -1)
        shared = (members.transpose(0, 2, 1) @ (moments @ members)).sum(axis=0)
        alike[len(book)].append((output, book, indices, shared))
    for group in alike.values():
        outputs, books, indices, shared = (np.stack(column) for column in zip(*group, strict=True))
        rounded = _compensated(books[..., None], steps[outputs, None], shared)[..., 0]
        result[:, outputs] = np.take_along_axis(rounded, indices, -1).T
    return result
