"""Quantize the layers of a network one after another, each so that it makes up for what those before it have lost.

A layer of a few bits does not get the inputs that its weights were trained for. So its weights are first moved to those
that give the original's outputs from the inputs that it does get, as far as a linear layer can (least squares).
OPTQ rounds them, with steps that are chosen by the error that is left and not by the largest weight; single weights are
then moved as long as that helps; and the bias takes up the mean error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.images import ROUNDING_PHOTOS
from export.quantization.observation import in_parts, layers_of, sampled
from export.quantization.optq import DAMPING, Compensation
from export.quantization.passing import Passage
from export.quantization.steps import INT4, INT8
from export.varying import VIEWS, with_varied

if TYPE_CHECKING:
    from tensorflow.compat.v1 import NodeDef as Node

    from export.quantization.network import Network
    from export.tracing.freezing import FrozenGraph

SAMPLES = 65536  # places of all images together at which a layer's inputs are looked at
SMALL = 0.05  # of all weights: those of the smallest kernels, which keep eight bits in an int4 file
SHRUNK = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # steps to try, as shares of what reaches the largest weight
SWEEPS = 2  # over the weights of a layer, to move single ones


@dataclass
class _Moments:
    """Products and sums of the inputs that a layer gets, and of those that it should get.

    Attributes:
        own: [groups * parts, inputs, inputs], the products of those that it gets.
        crossed: The same shape, of those that it gets with those that it should get.
        sums: [2, groups * parts, inputs], of those that it gets and of those that it should get.
        rows: How many of either were seen.
    """

    own: Any = 0.0
    crossed: Any = 0.0
    sums: Any = 0.0
    rows: int = 0

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        self.own = self.own + np.matmul(got.transpose(0, 2, 1), got)
        self.crossed = self.crossed + np.matmul(got.transpose(0, 2, 1), wanted)
        self.sums = self.sums + np.stack([got.sum(axis=1), wanted.sum(axis=1)])
        self.rows += got.shape[1]


def all_in_four_bits(frozen: FrozenGraph) -> dict[str, int]:
    """Return the levels of a network in which whatever can has four bits; depthwise kernels have eight in LiteRT."""
    dense = layers_of(frozen)
    depthwise = [name for name in frozen.kernels if _is_depthwise(frozen, name)]
    return dict.fromkeys(dense, INT4) | dict.fromkeys(depthwise, INT8)


def mostly_four_bits(frozen: FrozenGraph, cost: Callable[[np.ndarray, int], float]) -> dict[str, int]:
    """Return the levels of an int4 file: four bits for most of the weights, and eight where that is worth it.

    A kernel of mostly zeros is smaller in eight bits, because its file can leave zeros out. The smallest kernels have
    hardly any bytes to save, but cost as much divergence as large ones: SMALL of the weights keep eight bits.

    Args:
        frozen: The network.
        cost: Says how many bytes a kernel takes with a number of levels.
    """
    levels = all_in_four_bits(frozen)
    sizes = {name: frozen.kernels[name].size for name, number in levels.items() if number == INT4}
    spare = SMALL * sum(sizes.values())
    for name in sorted(sizes, key=sizes.__getitem__):
        spare -= sizes[name]
        if spare >= 0 or cost(frozen.kernels[name], INT8) <= cost(frozen.kernels[name], levels[name]):
            levels[name] = INT8
    return levels


def quantize(
    network: Network, images: np.ndarray, levels: Mapping[str, int], *, alone: bool = False
) -> dict[str, np.ndarray]:
    """Put kernels on few steps.

    Args:
        network: The network.
        images: float32 [n, height, width, channels], as it takes them. Few are shown in varied copies too.
        levels: INT4, INT8 or more, which is float16, by the name of a kernel; other kernels stay as they are. Zeros
            stay zero, except in four bits.
        alone: Round each layer for the inputs that the original gives it.

    Returns:
        The new kernels, and the biases that make up for them, by name.
    """
    count = min(len(images), ROUNDING_PHOTOS)
    images = with_varied(images[np.arange(count) * len(images) // count], VIEWS)
    changed: dict[str, np.ndarray] = {}
    passages = [Passage(network, images, values) for values in ([{}] if alone else [{}, changed])]
    kernels = [name for name in network.layers if levels.get(name) in (INT4, INT8)]
    while kernels:
        source = network.layers[kernels[0]].input[0]
        group = [name for name in kernels if network.layers[name].input[0] == source]
        kernels = [name for name in kernels if name not in group]
        moments = _observed(network, passages, group)
        for name in group:
            changed |= _layer(network, name, moments[name], levels[name])
    return changed | {name: value for name, value in nearest(network, levels).items() if name not in changed}


def nearest(network: Network, levels: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return kernels on the nearest of their steps, which takes no time and gives files of nearly the same size."""
    return {name: _nearest(network.frozen, name, number) for name, number in levels.items()}


def _observed(network: Network, passages: Sequence[Passage], group: Sequence[str]) -> dict[str, _Moments]:
    """Return the moments of the inputs of layers that read the same tensor, as they should be and as they are."""
    moments = {name: _Moments() for name in group}
    source = network.layers[group[0]].input[0]
    places = -(-SAMPLES // passages[0].count)
    for number, values in enumerate(zip(*(passage.inputs(source) for passage in passages), strict=True)):
        for name in group:
            shape, node = network.frozen.kernels[name].shape, network.layers[name]
            rows = [_rows(value, shape, node, places, number) for value in values]
            moments[name].add(rows[0], rows[-1])
    return moments


def _rows(values: np.ndarray, shape: tuple[int, ...], node: Node, places: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)  # the same places in both networks
    return in_parts(sampled(values, np.arange(len(values)), shape, node, places * len(values), random))


def _layer(network: Network, name: str, moments: _Moments, levels: int) -> dict[str, np.ndarray]:
    """Return the new kernel of a layer, and its new bias where it has one."""
    kernel = network.frozen.kernels[name]
    count, inputs, _ = moments.own.shape
    parts = int(np.prod(kernel.shape[:-1])) // inputs
    groups, outputs = count // parts, kernel.shape[-1] * parts // count
    weights = kernel.reshape(parts, inputs, groups, outputs).transpose(2, 0, 1, 3).reshape(count, inputs, outputs)
    wanted = weights + np.linalg.solve(_damped(moments.own), (moments.crossed - moments.own) @ weights)
    if levels == INT8:  # zeros are worth more: they are left out of a file
        wanted = np.where(weights == 0, 0, wanted)
    wanted = wanted.astype(np.float32)
    rounded = _rounded(wanted, moments.own, levels, parts)
    joined = rounded.reshape(groups, parts, inputs, outputs).transpose(1, 2, 0, 3).reshape(kernel.shape)
    if name not in network.biases:
        return {name: joined}
    got, asked = moments.sums[:, :, None] / moments.rows
    missing = (asked @ weights - got @ rounded).reshape(groups, parts, outputs).sum(axis=1).ravel()
    bias = network.biases[name]
    return {name: joined, bias: (network.values[bias] + missing).astype(np.float32)}


def _damped(moments: np.ndarray) -> np.ndarray:
    power = np.einsum("cii->c", moments) / moments.shape[-1]
    return moments + (DAMPING * power + 1e-30)[:, None, None] * np.eye(moments.shape[-1], dtype=np.float32)


def _rounded(wanted: np.ndarray, moments: np.ndarray, levels: int, parts: int) -> np.ndarray:
    """Return multiples of a step near the weights [groups * parts, inputs, outputs], all parts of an output alike."""
    count, _, outputs = wanted.shape

    def together(values: np.ndarray, of_parts: Any) -> np.ndarray:
        """Reduce [groups * parts, outputs] over the parts, and give the result to each of them."""
        reduced = of_parts(values.reshape(-1, parts, outputs), axis=1)
        return np.repeat(reduced, parts, axis=0)

    steps = together(np.abs(wanted).max(axis=1), np.max) / levels
    steps[steps == 0] = 1
    compensation = Compensation.of(moments)
    fixed = compensation.ordered((wanted == 0) & (levels == INT8))
    best, chosen, least = np.zeros_like(wanted), steps, np.full((count, outputs), np.inf)
    for share in SHRUNK if levels == INT4 else SHRUNK[:1]:
        tried = share * steps

        def on_steps(row: int, values: np.ndarray, tried: np.ndarray = tried) -> np.ndarray:
            numbers = np.clip(np.round(values / tried), -levels, levels)
            return np.where(fixed[:, row], 0, numbers * tried)

        rounded = compensation.choose(wanted, on_steps)
        errors = wanted - rounded
        lost = together(((moments @ errors) * errors).sum(axis=1), np.sum)
        better = lost < least
        least, chosen = np.where(better, lost, least), np.where(better, tried, chosen)
        best = np.where(better[:, None], rounded, best)
    return _moved(best, wanted, moments, chosen) if levels == INT4 else best


def _moved(rounded: np.ndarray, wanted: np.ndarray, moments: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Move single weights to other steps as long as that lowers the error."""
    power = np.maximum(np.einsum("cii->ci", moments), 1e-30)
    pull = moments @ (wanted - rounded)
    for _ in range(SWEEPS):
        for row in range(rounded.shape[1]):
            best = rounded[:, row] + pull[:, row] / power[:, row, None]
            moved = np.clip(np.round(best / steps), -INT4, INT4) * steps - rounded[:, row]
            if moved.any():
                rounded[:, row] += moved
                pull -= moments[:, :, row, None] * moved[:, None]
    return rounded


def _nearest(frozen: FrozenGraph, name: str, levels: int) -> np.ndarray:
    kernel = frozen.kernels[name]
    if levels > INT8:
        return kernel.astype(np.float16).astype(np.float32)
    inputs = (0, 1) if _is_depthwise(frozen, name) else tuple(range(kernel.ndim - 1))
    steps = np.abs(kernel).max(axis=inputs)
    steps = np.where(steps == 0, 1, steps) / levels
    return (np.round(kernel / steps) * steps).astype(np.float32)


def _is_depthwise(frozen: FrozenGraph, name: str) -> bool:
    return bool(frozen.readers[name][0][0].op == "DepthwiseConv2dNative")
