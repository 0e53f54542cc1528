"""What the layers of a frozen graph receive when it runs on the calibration images: one run for all that need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.quantization.optq import Window
from export.tracing.activations import batches, largest_of, runner, transposes

if TYPE_CHECKING:
    from tensorflow.compat.v1 import NodeDef as Node

    from export.tracing.freezing import FrozenGraph

SAMPLES = 4096
PART = 1152  # inputs that make up for one another: a 3x3 convolution of 128 channels; the work grows with the square


@dataclass(frozen=True)
class LayerInput:
    """What a layer receives.

    Attributes:
        moments: [groups * parts, inputs of a part, inputs of a part]: second moments.
        tests: [groups, samples, inputs]: samples of the images that are held back for the test.
    """

    moments: np.ndarray
    tests: np.ndarray

    def divided(self, factors: np.ndarray) -> LayerInput:
        """Return what the layer receives once each of its input channels [groups * channels] is divided by a factor."""
        groups, _, inputs = self.tests.shape
        each = 1 / factors.reshape(groups, -1)
        each = np.tile(each, inputs // each.shape[1])  # the channels of one place of the kernel lie together
        parts = each.reshape(len(self.moments), -1)
        return LayerInput(self.moments * parts[:, :, None] * parts[:, None, :], self.tests * each[:, None, :])


@dataclass(frozen=True)
class Observation:
    """What a run on the calibration images showed.

    Attributes:
        inputs: of each layer that can be rounded and reads what the images decide, by the name of its kernel.
        largest: the largest value of each channel, in the even images and in the odd ones, by the name of the node.
    """

    inputs: dict[str, LayerInput]
    largest: dict[str, list[np.ndarray]]


def observe(frozen: FrozenGraph, input_name: str, calibration: np.ndarray, nodes: Sequence[str] = ()) -> Observation:
    """Run a graph on images, and keep what is needed of the activations.

    Args:
        frozen: the graph.
        input_name: its input.
        calibration: float32 [n, H, W, C], n >= 4: every fourth image is held back for tests.
        nodes: names of nodes whose largest values are wanted.
    """
    layers = layers_of(frozen)
    run = runner(frozen, input_name, sorted({node.input[0] for node in layers.values()}), nodes)
    random = np.random.default_rng(0)
    places = -(-SAMPLES // len(calibration))
    moments: dict[str, Any] = dict.fromkeys(layers, 0.0)
    tests: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    largest = {name: [np.zeros(1, np.float32)] * 2 for name in nodes}
    first = 0
    for batch in batches(calibration):
        values = run(batch)
        for name, node in layers.items():
            seen = values[node.input[0]]
            is_test = _numbers(seen, first, len(batch)) % 4 == 3
            for testing in (False, True):
                (images,) = (is_test == testing).nonzero()
                if not len(images):
                    continue
                rows = sampled(seen, images, frozen.kernels[name].shape, node, places * len(images), random)
                if testing:
                    tests[name].append(rows)
                else:
                    parts = in_parts(rows)
                    moments[name] += np.matmul(parts.transpose(0, 2, 1), parts)
        for name in nodes:
            tops = values[largest_of(name)]
            is_odd = _numbers(tops, first, len(batch)) % 2
            for half in (0, 1):
                largest[name][half] = np.maximum(largest[name][half], tops[is_odd == half].max(axis=0, initial=0))
        first += len(batch)
    inputs = {name: LayerInput(moments[name], np.concatenate(rows, axis=1)) for name, rows in tests.items() if rows}
    return Observation(inputs, largest)


def _numbers(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """Number the images that `values` are of, a batch of `count` that begins with the number `first`."""
    rows = np.arange(len(values))
    if values.ndim == 2:  # a dense layer may read many places of an image: all of the first one, then of the second
        return first + rows // max(len(values) // count, 1)
    # A dilated convolution may run on more images that are smaller: the first piece of each, then the second.
    return first + rows % count


def layers_of(frozen: FrozenGraph) -> dict[str, Node]:
    """Return the operation of each kernel that can be rounded, by kernel."""
    layers = {}
    for name in frozen.kernels:
        (node, position), *others = frozen.readers[name]
        if not others and position == 1 and node.op in ("Conv2D", "MatMul") and not transposes(node):
            layers[name] = node
    return layers


def sampled(
    values: np.ndarray,
    images: np.ndarray,
    shape: tuple[int, ...],
    node: Node,
    count: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Return random inputs of a layer, as the rows that meet its kernel.

    Args:
        values: what the layer receives.
        images: the numbers of those to look at.
        shape: of the kernel.
        node: the layer's operation.
        count: how many places a convolution is looked at; a dense layer has one an image.
        random: chooses the places.

    Returns:
        [groups, count, inputs].
    """
    if len(shape) == 2:
        return values[None, images]
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
    return window.sample(values, images, channels, count, random)


def in_parts(rows: np.ndarray) -> np.ndarray:
    """Split the inputs of `rows` [groups, count, inputs] in equal parts: [groups * parts, count, at most PART]."""
    groups, count, inputs = rows.shape
    parts = next(parts for parts in range(-(-inputs // PART), inputs + 1) if inputs % parts == 0)
    return rows.reshape(groups, count, parts, -1).transpose(0, 2, 1, 3).reshape(groups * parts, count, -1)
