"""Round weights to int8 so that the errors of a channel cancel on the inputs that it really gets.

Rounding each weight to the nearest step is best for inputs that are noise, but the inputs of a convolution are
correlated: neighboring pixels are alike, and whole channels move together. OPTQ shifts the weights that are not rounded
yet to make up for each error. On SqueezeNet's photos it takes the noise that int8 weights put on the logits from -31 to
-40 dB.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from export.quantization.optq import Compensation, Window
from export.tracing.activations import batches, runner, transposes

if TYPE_CHECKING:
    from tensorflow.compat.v1 import NodeDef as Node

    from export.tracing.freezing import FrozenGraph

LEVELS = 127  # int8 without -128, symmetric, one step a channel: TFLite's rule for kernels
SAMPLES = 4096
PART = 1152  # inputs that make up for one another: a 3x3 convolution of 128 channels; the work grows with the square


def round_kernels(frozen: FrozenGraph, input_name: str, calibration: np.ndarray, levels: int = LEVELS) -> FrozenGraph:
    """Round the kernels of a graph to TFLite's int8 steps, where that helps on images held back for the test.

    Convolutions, grouped ones too, and dense layers are rounded; anything else, and a kernel for which nearest
    rounding is as good, stays as it is. Zeros stay zero, each channel keeps its largest weight, from which the
    converter computes the step, and weights of a channel that share a value go on sharing it (`FrozenGraph.shared`).

    Args:
        frozen: the graph; it is left as it was.
        input_name: its input.
        calibration: float32 [n, H, W, C], n >= 4: every fourth image is held back.
        levels: steps on either side of zero: int8's, or 7 for int4.
    """
    layers = _layers(frozen)
    run = runner(frozen, input_name, sorted({node.input[0] for node in layers.values()}))
    held_back = np.arange(len(calibration)) % 4 == 3
    random = np.random.default_rng(0)
    moments: dict[str, Any] = dict.fromkeys(layers, 0.0)
    tests: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    samples = -(-SAMPLES // len(calibration))
    for images, testing in ((calibration[~held_back], False), (calibration[held_back], True)):
        for batch in batches(images):
            values = run(batch)
            for name, node in layers.items():
                kernel = frozen.kernels[name]
                rows = _sample(values[node.input[0]], kernel.shape, node, samples * len(batch), random)
                if testing:
                    tests[name].append(rows)
                else:
                    parts = _parts(rows)
                    moments[name] += np.matmul(parts.transpose(0, 2, 1), parts)
    rounded = {}
    for name in layers:
        kernel, rows = frozen.kernels[name], np.concatenate(tests.pop(name), axis=1)
        rounded[name] = _rounded(kernel, moments.pop(name), rows, levels, shared=name in frozen.shared)
    return replace(frozen, kernels=frozen.kernels | rounded)


def _layers(frozen: FrozenGraph) -> dict[str, Node]:
    """Return the operation of each kernel that can be rounded, by kernel."""
    layers = {}
    for name in frozen.kernels:
        (node, position), *others = frozen.readers[name]
        if not others and position == 1 and node.op in ("Conv2D", "MatMul") and not transposes(node):
            layers[name] = node
    return layers


def _sample(
    values: np.ndarray, shape: tuple[int, ...], node: Node, count: int, random: np.random.Generator
) -> np.ndarray:
    """Return random inputs of a layer with a kernel of `shape`, as the rows that meet it: [groups, count, inputs]."""
    if len(shape) == 2:
        return values[None]
    height, width, channels, _ = shape
    _, down, across, _ = node.attr["strides"].list.i
    _, *dilations, _ = list(node.attr["dilations"].list.i) or [1, 1, 1, 1]
    margins: tuple[tuple[int, int], tuple[int, int]] | None = ((0, 0), (0, 0))
    if node.attr["padding"].s == b"EXPLICIT":
        _, _, top, bottom, left, right, *_ = node.attr["explicit_paddings"].list.i
        margins = ((top, bottom), (left, right))
    elif node.attr["padding"].s == b"SAME":
        margins = None
    window = Window((height, width), (down, across), (dilations[0], dilations[1]), margins)
    return window.sample(values, channels, count, random)


def _parts(rows: np.ndarray) -> np.ndarray:
    """Split the inputs of `rows` [groups, count, inputs] in equal parts: [groups * parts, count, at most PART]."""
    groups, count, inputs = rows.shape
    parts = next(parts for parts in range(-(-inputs // PART), inputs + 1) if inputs % parts == 0)
    return rows.reshape(groups, count, parts, -1).transpose(0, 2, 1, 3).reshape(groups * parts, count, -1)


def _rounded(kernel: np.ndarray, moments: np.ndarray, tests: np.ndarray, levels: int, *, shared: bool) -> np.ndarray:
    """Round `kernel`, or return it as it is where rounding to the nearest step is as good on `tests`.

    Args:
        kernel: with its outputs in the last dimension.
        moments: [groups * parts, inputs of a part, inputs of a part].
        tests: [groups, count, inputs].
        levels: steps on either side of zero.
        shared: whether equal weights of a channel are to stay equal.
    """
    weights = kernel.reshape(-1, kernel.shape[-1])
    steps = np.abs(weights).max(axis=0) / levels
    steps[steps == 0] = 1
    nearest = np.round(weights / steps) * steps
    ours = np.empty_like(weights)
    size, width = moments.shape[-1], weights.shape[1] // len(tests)
    for group, parts in enumerate(np.split(moments, len(tests))):
        columns = slice(group * width, (group + 1) * width)
        if shared:
            ours[:, columns] = _tied(weights[:, columns], steps[columns], parts, levels)
            continue
        for part, moment in enumerate(parts):
            rows = slice(part * size, (part + 1) * size)
            ours[rows, columns] = _compensated(weights[rows, columns], steps[columns], moment, levels)
    errors = [
        sum(
            float(np.square(rows @ part).sum(dtype=np.float64))
            for rows, part in zip(tests, np.split(weights - rounded, len(tests), axis=1), strict=True)
        )
        for rounded in (nearest, ours)
    ]
    return ours.reshape(kernel.shape) if errors[1] < errors[0] else kernel


def _compensated(weights: np.ndarray, steps: np.ndarray, moments: np.ndarray, levels: int) -> np.ndarray:
    """Return multiples of `steps` [outputs] near `weights` [inputs, outputs] for inputs with these moments."""

    def rounded(wanted: np.ndarray) -> np.ndarray:
        return np.clip(np.round(wanted / steps), -levels, levels) * steps

    fixed = (weights == 0) | (np.abs(weights) >= levels * steps * (1 - 1e-6))
    nearest = rounded(weights)
    return Compensation.of(moments).choose(
        weights, lambda row, wanted: np.where(fixed[row], nearest[row], rounded(wanted))
    )


def _tied(weights: np.ndarray, steps: np.ndarray, moments: np.ndarray, levels: int) -> np.ndarray:
    """Round like `_compensated`, but keep equal weights of an output equal; there are moments for each part."""
    result = np.empty_like(weights)
    for output, step in enumerate(steps):
        book, indices = np.unique(weights[:, output], return_inverse=True)
        members = (indices[:, None] == np.arange(len(book))).astype(np.float32).reshape(*moments.shape[:2], -1)
        shared = (members.transpose(0, 2, 1) @ (moments @ members)).sum(axis=0)
        result[:, output] = _compensated(book[:, None], np.array([step]), shared, levels)[indices, 0]
    return result
