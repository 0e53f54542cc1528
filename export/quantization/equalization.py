"""Rescale channels so that each one uses the int8 steps of the tensor it is part of.

An activation tensor has one int8 step, set by its largest channel; a channel that stays ten times smaller is left with
25 of the 255 steps. ReLU, max pooling and concatenation commute with a positive factor for each channel, so it can be
divided out of the kernel and bias that make the channel and multiplied into the kernels that read it (Nagel et al.
2019, arXiv:1906.04721): the network's function stays the same.

The strength of the rescaling is measured. In the first layers thousands of pixels a photo tell a channel's largest
value. In the last ones a channel answers to a few kinds of photo: scaled up in full, it would saturate on the next
photo of that kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from export.tracing.activations import batches, runner, transposes
from export.tracing.freezing import copy_of

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.compat.v1 import NodeDef as Node

    from export.tracing.freezing import FrozenGraph

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST = 1e-3  # of the tensor's largest value: a channel that is nearly always 0 is not scaled up further
STEPS = 255
PIXELS = 400  # of one image and tensor, to measure the noise on
IMAGES = 24  # to measure the noise on
COMMUTING = ("Identity", "Relu", "MaxPool", "AvgPool", "Pad")


@dataclass(frozen=True)
class Site:
    """A ReLU whose channels can be rescaled.

    Attributes:
        name: of the ReLU.
        kernel: of the layer that makes its input.
        bias: of that layer, the name of a constant; None without one.
        readers: (kernel, groups, first channel) of each layer that reads it.
        shared: name of the concatenation that it ends in, or its own: tensors that share one int8 step.
    """

    name: str
    kernel: str
    bias: str | None
    readers: tuple[tuple[str, int, int], ...]
    shared: str


@dataclass(frozen=True)
class Equalized:
    """A graph with rescaled channels.

    Attributes:
        frozen: the graph.
        factors: what each channel [channels] that enters a layer was divided by, by the name of the layer's kernel.
    """

    frozen: FrozenGraph
    factors: dict[str, np.ndarray]


def equalize(
    frozen: FrozenGraph,
    sites: Sequence[Site],
    input_name: str,
    calibration: np.ndarray,
    largest: Mapping[str, Sequence[np.ndarray]],
) -> Equalized:
    """Rescale the channels of a graph where that lowers the int8 noise on images held back for the test.

    Args:
        frozen: the graph; it is left as it was.
        sites: the ReLUs whose channels can be rescaled; at least one.
        input_name: the graph's input.
        calibration: float32 [n, H, W, C], n >= 2.
        largest: the largest value of each channel of each site in the even images, from which the ranges come, and in
            the odd ones, on which the noise is measured; by the name of the site.
    """
    run = runner(frozen, input_name, [site.name for site in sites])
    first = {name: even for name, (even, _) in largest.items()}
    tops = _tops(sites, first)
    noise = {site.name: np.zeros(len(STRENGTHS)) for site in sites}
    energies = {site.name: _energy(frozen, site, len(first[site.name])) for site in sites}
    for batch in batches(calibration[1 :: 2 * math.ceil(len(calibration) / (2 * IMAGES))]):
        for name, values in run(batch).items():
            scales = [_scales(first[name], tops[name], strength) for strength in STRENGTHS]
            noise[name] += [_noise(values, scale * tops[name], energies[name]) for scale in scales]
    both = {name: np.maximum(*halves) for name, halves in largest.items()}
    tops = _tops(sites, both)
    best = {name: STRENGTHS[int(np.argmin(values))] for name, values in noise.items()}
    return _rescaled(frozen, sites, {name: _scales(both[name], tops[name], best[name]) for name in best})


def find_sites(frozen: FrozenGraph) -> list[Site]:
    """Find each ReLU that a layer feeds alone and only layers read, past operations that commute with a factor."""
    graph = _Graph(frozen)
    sites = []
    for node in frozen.graph_def.node:
        if node.op != "Relu" or (origin := graph.origin(node)) is None:
            continue
        readers = list(graph.readers(node.name, 0))
        layers = tuple(reader for reader in readers if reader is not None)
        # A factor for each input of a layer would make many values of the few that its weights share.
        if readers and None not in readers and not any(name in frozen.shared for name, *_ in layers):
            sites.append(Site(node.name, *origin, layers, graph.concatenation(node.name) or node.name))
    return sites


class _Graph:
    """Lookups in a frozen graph: producers, consumers and channels of its tensors."""

    def __init__(self, frozen: FrozenGraph):
        import tensorflow as tf

        self.kernels = frozen.kernels
        self.nodes = {node.name: node for node in frozen.graph_def.node}
        self.consumers = frozen.readers
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen.graph_def, name="")
        self.channels = {name: _last_size(graph.get_operation_by_name(name)) for name in self.nodes}

    def constant(self, name: str) -> np.ndarray | None:
        import tensorflow as tf

        node = self.nodes.get(name)
        return tf.make_ndarray(node.attr["value"].tensor) if node is not None and node.op == "Const" else None

    def read_once(self, name: str) -> bool:
        return len(self.consumers.get(name, ())) == 1

    def origin(self, relu: Node) -> tuple[str, str | None] | None:
        """Return (kernel, bias) of the layer whose output only `relu` reads; None where there is no such layer."""
        name, bias = relu.input[0], None
        while self.read_once(name) and name in self.nodes:
            node = self.nodes[name]
            if node.op in ("Conv2D", "MatMul"):
                kernel = node.input[1]
                usable = kernel in self.kernels and self.read_once(kernel) and not transposes(node)
                return (kernel, bias) if usable else None
            if node.op in ("BiasAdd", "AddV2") and bias is None:
                value = self.constant(node.input[1])
                if value is None or value.size != self.channels[name] or not self.read_once(node.input[1]):
                    return None
                bias = node.input[1]
            elif node.op != "Identity":
                return None
            name = node.input[0]
        return None

    def readers(self, name: str, offset: int) -> Iterator[tuple[str, int, int] | None]:
        """Yield (kernel, groups, first channel) of every layer that reads tensor `name`, and None for other readers."""
        consumers = self.consumers.get(name, ())
        if not consumers:
            yield None  # the network's output
        for node, position in consumers:
            if node.op in ("Conv2D", "MatMul"):
                kernel = self.kernels.get(node.input[1])
                if position or kernel is None or not self.read_once(node.input[1]) or transposes(node):
                    yield None
                else:
                    yield node.input[1], self.channels[name] // kernel.shape[-2], offset
            elif position == 0 and (node.op in COMMUTING or self._is_spatial_mean(node)):
                yield from self.readers(node.name, offset)
            elif node.op == "ConcatV2" and self._joins_channels(node):
                before = sum(self.channels[other] for other in node.input[:position])
                yield from self.readers(node.name, offset + before)
            else:
                yield None

    def concatenation(self, name: str) -> str | None:
        """Return the first concatenation after tensor `name`; None where there is none."""
        for node, _ in self.consumers.get(name, ()):
            if node.op == "ConcatV2":
                return node.name
            if node.op in COMMUTING and (origin := self.concatenation(node.name)):
                return origin
        return None

    def _is_spatial_mean(self, node: Node) -> bool:
        axes = self.constant(node.input[1]) if node.op == "Mean" else None
        return axes is not None and sorted(axes.ravel()) == [1, 2]

    def _joins_channels(self, node: Node) -> bool:
        axis = self.constant(node.input[-1])
        return axis is not None and int(axis) in (3, -1)


def _last_size(operation: tf.Operation) -> int:
    shape = operation.outputs[0].shape if operation.outputs else None
    return shape[-1] or 0 if shape is not None and shape.rank else 0


def _tops(sites: Sequence[Site], largest: dict[str, np.ndarray]) -> dict[str, float]:
    """Return for each site the largest value of the tensors that share its step; 1 where all are 0."""
    tops: dict[str, float] = {}
    for site in sites:
        tops[site.shared] = max(tops.get(site.shared, 0.0), float(largest[site.name].max()))
    return {site.name: tops[site.shared] or 1.0 for site in sites}


def _scales(largest: np.ndarray, top: float, strength: float) -> np.ndarray:
    """Return what to divide each channel by: in full strength, all channels then reach `top`."""
    return np.maximum(largest / top, LEAST) ** strength


def _energy(frozen: FrozenGraph, site: Site, channels: int) -> np.ndarray:
    """Return E [channels, channels]: e @ E @ e is the noise that errors e make in the layers that read them."""
    energy = np.zeros((channels, channels), np.float32)
    for name, groups, first in site.readers:
        grouped = _by_input(frozen.kernels[name], groups)
        inputs = grouped.shape[1]
        whole = np.zeros((groups * inputs, groups * inputs), np.float32)
        for group in range(groups):
            rows = grouped[:, :, group].transpose(1, 0, 2).reshape(inputs, -1)
            block = slice(group * inputs, (group + 1) * inputs)
            whole[block, block] = rows @ rows.T
        energy += whole[first : first + channels, first : first + channels]
    return energy


def _noise(values: np.ndarray, full: np.ndarray, energy: np.ndarray) -> float:
    """Return the noise, summed over images, of `values` [n, ..., channels] in int8 with full scales `full`."""
    pixels = values.reshape(len(values), -1, values.shape[-1])
    pixels = pixels[:, :: math.ceil(pixels.shape[1] / PIXELS)]
    errors = np.minimum(np.round(pixels * (STEPS / full)), STEPS) * (full / STEPS) - pixels
    flat = errors.reshape(-1, errors.shape[-1])
    powers = np.einsum("pc,pc->p", flat @ energy, flat).reshape(len(values), -1).sum(axis=1)
    # The noise of each image counts, not its square: one photo that saturates must not outweigh all others.
    return float(np.sqrt(np.maximum(powers, 0)).sum())


def _rescaled(frozen: FrozenGraph, sites: Sequence[Site], scales: dict[str, np.ndarray]) -> Equalized:
    import tensorflow as tf

    kernels = dict(frozen.kernels)
    factors: dict[str, np.ndarray] = {}
    graph_def = copy_of(frozen.graph_def)
    constants = {node.name: node.attr["value"].tensor for node in graph_def.node if node.op == "Const"}
    for site in sites:
        scale = scales[site.name].astype(np.float32)
        kernels[site.kernel] = kernels[site.kernel] / scale
        if site.bias is not None:
            tensor = constants[site.bias]
            tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(tensor) / scale))
        for name, groups, first in site.readers:
            ones = np.ones(groups * kernels[name].shape[-2], np.float32)
            factors.setdefault(name, ones)[first : first + len(scale)] = scale
    for name, factor in factors.items():
        grouped = _by_input(kernels[name], len(factor) // kernels[name].shape[-2])
        columns = factor.reshape(grouped.shape[2], -1).T[..., None]
        kernels[name] = (grouped * columns).reshape(kernels[name].shape)
    return Equalized(replace(frozen, graph_def=graph_def, kernels=kernels), factors)


def _by_input(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return a kernel as [taps, inputs of a group, groups, outputs of a group]."""
    return kernel.reshape(-1, kernel.shape[-2], groups, kernel.shape[-1] // groups)
