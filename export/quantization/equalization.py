"""Rescale channels so that each one uses the int8 steps of the tensor it is part of.

An activation tensor has one int8 step, set by its largest channel; a channel that stays ten times smaller is left with
25 of the 255 steps. ReLU, max pooling and concatenation commute with a positive factor for each channel, so it can be
divided out of the kernel and bias that make the channel and multiplied into the kernels that read it (Nagel et al.,
2019, arXiv:1906.04721): the network's function stays the same.

How far to go is measured. A channel's largest value is well known in the first layers, from thousands of pixels a
photo, and hardly in the last ones, where a channel answers to a few kinds of photo: scaled up in full, it would
saturate on the next photo of that kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from export.tracing.activations import batches, runner, transposed

if TYPE_CHECKING:
    from export.tracing.graph import FrozenGraph

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST = 1e-3  # of the tensor's largest value: a channel that is nearly always 0 is not blown up further
STEPS = 255
PIXELS = 400  # of one image and tensor, that the noise is measured on
IMAGES = 24  # that the noise is measured on
COMMUTING = ("Identity", "Relu", "MaxPool", "AvgPool", "Pad")


@dataclass(frozen=True)
class _Site:
    """A ReLU whose channels can be rescaled.

    Attributes:
        name: the ReLU.
        kernel, bias: what makes its input; `bias` is None or the name of a constant.
        readers: (kernel, groups, first channel) of each layer that reads it.
        shared: name of the concatenation it ends in, or its own: tensors that share one int8 step.
    """

    name: str
    kernel: str
    bias: str | None
    readers: tuple[tuple[str, int, int], ...]
    shared: str


def equalize(frozen: FrozenGraph, input_name: str, calibration: np.ndarray) -> FrozenGraph:
    """The same function, with channels rescaled where that lowers the int8 noise on images held back for the test.

    Args:
        calibration: float32 [n, H, W, C], n >= 2: ranges come from one half, the noise is measured on the other.
    """
    sites = _sites(frozen)
    if not sites:
        return frozen
    run = runner(frozen, input_name, [site.name for site in sites])
    halves = [_largest(run, sites, calibration[half::2]) for half in (0, 1)]
    tops = _tops(sites, halves[0])
    noise = {site.name: np.zeros(len(STRENGTHS)) for site in sites}
    energies = {site.name: _energy(frozen, site, len(halves[0][site.name])) for site in sites}
    for batch in batches(calibration[1 :: 2 * math.ceil(len(calibration) / (2 * IMAGES))]):
        for name, values in run(batch).items():
            scales = [_scales(halves[0][name], tops[name], strength) for strength in STRENGTHS]
            noise[name] += [_noise(values, scale * tops[name], energies[name]) for scale in scales]
    largest = {name: np.maximum(*(half[name] for half in halves)) for name in noise}
    top = _tops(sites, largest)
    best = {name: STRENGTHS[int(np.argmin(values))] for name, values in noise.items()}
    return _rescaled(frozen, sites, {name: _scales(largest[name], top[name], best[name]) for name in best})


def _sites(frozen: FrozenGraph) -> list[_Site]:
    """Every ReLU that a layer makes alone and that only layers read, past operations that a factor commutes with."""
    graph = _Graph(frozen)
    sites = []
    for node in frozen.graph_def.node:
        if node.op != "Relu" or (made := graph.origin(node)) is None:
            continue
        readers = list(graph.readers(node.name, 0))
        known = tuple(reader for reader in readers if reader is not None)
        # A factor for each input of a layer would make many values of the few that its weights share.
        if readers and None not in readers and not any(name in frozen.shared for name, *_ in known):
            sites.append(_Site(node.name, *made, known, graph.concatenation(node.name) or node.name))
    return sites


class _Graph:
    """Lookups in a frozen graph: producers, consumers and channels of its tensors."""

    def __init__(self, frozen: FrozenGraph):
        import tensorflow as tf

        self.kernels = frozen.kernels
        self.nodes = {node.name: node for node in frozen.graph_def.node}
        self.consumers: dict[str, list[tuple[Any, int]]] = {}
        for node in frozen.graph_def.node:
            for position, name in enumerate(node.input):
                self.consumers.setdefault(name, []).append((node, position))
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen.graph_def, name="")
        self.channels = {name: _last_size(graph.get_operation_by_name(name)) for name in self.nodes}

    def constant(self, name: str) -> np.ndarray | None:
        import tensorflow as tf

        node = self.nodes.get(name)
        return tf.make_ndarray(node.attr["value"].tensor) if node is not None and node.op == "Const" else None

    def alone(self, name: str) -> bool:
        return len(self.consumers.get(name, ())) == 1

    def origin(self, relu: Any) -> tuple[str, str | None] | None:
        """(kernel, bias) of the layer that makes the input of `relu` and nothing else."""
        name, bias = relu.input[0], None
        while self.alone(name) and name in self.nodes:
            node = self.nodes[name]
            if node.op in ("Conv2D", "MatMul"):
                kernel = node.input[1]
                usable = kernel in self.kernels and self.alone(kernel) and not transposed(node)
                return (kernel, bias) if usable else None
            if node.op in ("BiasAdd", "AddV2") and bias is None:
                value = self.constant(node.input[1])
                if value is None or value.size != self.channels[name] or not self.alone(node.input[1]):
                    return None
                bias = node.input[1]
            elif node.op != "Identity":
                return None
            name = node.input[0]
        return None

    def readers(self, name: str, offset: int) -> Iterator[tuple[str, int, int] | None]:
        """(kernel, groups, first channel) of every layer that reads tensor `name`; None for any other reader."""
        consumers = self.consumers.get(name, ())
        if not consumers:
            yield None  # the network's output
        for node, position in consumers:
            if node.op in ("Conv2D", "MatMul"):
                kernel = self.kernels.get(node.input[1])
                if position or kernel is None or not self.alone(node.input[1]) or transposed(node):
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
        """The first concatenation after tensor `name`."""
        for node, _ in self.consumers.get(name, ()):
            if node.op == "ConcatV2":
                return node.name
            if node.op in COMMUTING and (found := self.concatenation(node.name)):
                return found
        return None

    def _is_spatial_mean(self, node: Any) -> bool:
        axes = self.constant(node.input[1]) if node.op == "Mean" else None
        return axes is not None and sorted(axes.ravel()) == [1, 2]

    def _joins_channels(self, node: Any) -> bool:
        axis = self.constant(node.input[-1])
        return axis is not None and int(axis) in (3, -1)


def _last_size(operation: Any) -> int:
    shape = operation.outputs[0].shape if operation.outputs else None
    return shape[-1] or 0 if shape is not None and shape.rank else 0


def _largest(run: Any, sites: list[_Site], images: np.ndarray) -> dict[str, np.ndarray]:
    """The largest value of each channel."""
    largest: dict[str, Any] = {site.name: 0.0 for site in sites}
    for batch in batches(images):
        for name, values in run(batch).items():
            largest[name] = np.maximum(largest[name], values.reshape(-1, values.shape[-1]).max(axis=0))
    return largest


def _tops(sites: list[_Site], largest: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest value of the tensors that share a step, for each site; 1 where all are 0."""
    shared: dict[str, float] = {}
    for site in sites:
        shared[site.shared] = max(shared.get(site.shared, 0.0), float(largest[site.name].max()))
    return {site.name: shared[site.shared] or 1.0 for site in sites}


def _scales(largest: np.ndarray, top: float, strength: float) -> np.ndarray:
    """What to divide each channel by: in full strength, all channels then reach `top`."""
    return np.maximum(largest / top, LEAST) ** strength


def _energy(frozen: FrozenGraph, site: _Site, channels: int) -> np.ndarray:
    """The matrix E [channels, channels] for which e @ E @ e is the noise that errors e make in the layers behind."""
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
    """Noise, summed over images, of the int8 version of `values` [n, ..., channels] with full scales `full`."""
    pixels = values.reshape(len(values), -1, values.shape[-1])
    pixels = pixels[:, :: math.ceil(pixels.shape[1] / PIXELS)]
    errors = np.minimum(np.round(pixels * (STEPS / full)), STEPS) * (full / STEPS) - pixels
    flat = errors.reshape(-1, errors.shape[-1])
    powers = np.einsum("pc,pc->p", flat @ energy, flat).reshape(len(values), -1).sum(axis=1)
    # The noise of each image counts, not its square: one photo that saturates must not outweigh all others.
    return float(np.sqrt(np.maximum(powers, 0)).sum())


def _rescaled(frozen: FrozenGraph, sites: list[_Site], scales: dict[str, np.ndarray]) -> FrozenGraph:
    import tensorflow as tf

    kernels = dict(frozen.kernels)
    graph_def = type(frozen.graph_def)()
    graph_def.CopyFrom(frozen.graph_def)
    constants = {node.name: node.attr["value"].tensor for node in graph_def.node if node.op == "Const"}
    for site in sites:
        scale = scales[site.name].astype(np.float32)
        kernels[site.kernel] = kernels[site.kernel] / scale
        if site.bias is not None:
            tensor = constants[site.bias]
            tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(tensor) / scale))
        for name, groups, first in site.readers:
            grouped = _by_input(kernels[name], groups)
            factors = np.ones(groups * grouped.shape[1], np.float32)
            factors[first : first + len(scale)] = scale
            kernels[name] = (grouped * factors.reshape(groups, -1).T[..., None]).reshape(kernels[name].shape)
    return replace(frozen, graph_def=graph_def, kernels=kernels)


def _by_input(kernel: np.ndarray, groups: int) -> np.ndarray:
    """A kernel as [taps, inputs of a group, groups, outputs of a group]."""
    return kernel.reshape(-1, kernel.shape[-2], groups, kernel.shape[-1] // groups)
