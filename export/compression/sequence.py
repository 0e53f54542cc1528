"""Share the weights of one layer after another, each on what the layers before it now make of the photos.

A layer that is shared on the inputs of the original network knows nothing of the errors that reach it. Here its target
is the output that it had in the original network, from the inputs that it gets in the compressed one: least squares
finds the weights that come nearest to that, and those are shared. Frantar et al. 2023 (OPTQ, arXiv:2210.17323) take the
inputs of the compressed network; Zhang, Zhou & Saab 2022 (arXiv:2201.11113) the outputs of the original as well.
Weights that were pruned belong to the target, so that what is left of a layer makes up for them. SqueezeNet at 350 kB
diverges about half as much as when all layers are shared on the original inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.compression.clustering import bits_by_layer, round_to_half, share
from export.compression.networks import copy, kernel_layers, path_of
from export.compression.passing import Passage
from export.compression.sensitivity import Sensitivity, damped, due, measure, rows_of
from export.quantization.optq import DAMPING
from kerascnn.weights.container import half

if TYPE_CHECKING:
    import keras

PLACES = 16384  # of the photos at which a layer's inputs are compared with those in the original network
TRUST = 0.5  # of the correction of a layer's weights, which is measured on few photos
_LARGEST_HALF = 65504


@dataclass(frozen=True)
class Reference:
    """The network before any change, and what was measured of it.

    Attributes:
        model: with weights of its own.
        images: photos, float32 [n, height, width, channels], as the model takes them.
        sensitivities: of its kernels on the photos, by `layer/weight`.
        seed: of the random places at which inputs are looked at.
    """

    model: keras.Model
    images: np.ndarray
    sensitivities: Mapping[str, Sensitivity]
    seed: int = 0

    @classmethod
    def of(
        cls,
        model: keras.Model,
        images: np.ndarray,
        sensitivities: Mapping[str, Sensitivity] | None,
        seed: int,
        step: Callable[[str], None],
    ) -> Reference:
        """Copy the model as it is now, and measure it unless it was measured before."""
        return cls(copy(model), images, sensitivities or measure(model, images, seed=seed, step=step), seed)


def cluster_in_sequence(
    model: keras.Model,
    reference: Reference,
    bits: int | Mapping[str, int],
    *,
    price: float,
    step: Callable[[str], None] = lambda text: None,
) -> None:
    """Share weights like `clustering.cluster`, in the order of the layers; biases make up for their layer's mean error.

    Args:
        model: changed in place. Its zeros stay zeros, its other weights are replaced.
        reference: the network before any change.
        bits: as for `cluster`.
        price: as for `cluster`.
        step: called with a sentence on the progress.

    Raises:
        RequestError: bits are not 1 to 8, or there is no such layer.
    """
    numbers = bits_by_layer(model, bits)
    layers = zip(kernel_layers(model), kernel_layers(reference.model), strict=True)
    pairs = [(ours, theirs) for ours, theirs in layers if path_of(ours) in numbers]
    passage = Passage((model, reference.model), reference.images)
    pairs.sort(key=lambda pair: passage.position(pair[0]))
    for number, (ours, theirs) in enumerate(pairs):
        step(f"sharing weights in order, layer {number + 1} of {len(pairs)}")
        inputs = _inputs(passage, ours, reference, number)
        scale = reference.sensitivities[path_of(ours)].scale
        _share_layer(ours, theirs, inputs, 2 ** numbers[path_of(ours)], price, scale)
    round_to_half(model)


class _Inputs:
    """Sums over places of the photos of a layer's inputs now, x, and in the original, y: x x', x y', x and y."""

    def __init__(self) -> None:
        self.own: Any = 0.0
        self.cross: Any = 0.0
        self.mean: Any = 0.0
        self.original: Any = 0.0
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, now: np.ndarray, before: np.ndarray) -> None:
        self._waiting.append((now, before))

    def sum(self, photos: int) -> None:
        now, before = (np.concatenate(rows, axis=1) for rows in zip(*self._waiting, strict=True))
        weight = 1 / (self._waiting[0][0].shape[1] * photos)
        across = now.transpose(0, 2, 1)
        self.own = self.own + weight * np.matmul(across, now)
        self.cross = self.cross + weight * np.matmul(across, before)
        self.mean = self.mean + weight * now.sum(axis=1)
        self.original = self.original + weight * before.sum(axis=1)
        self._waiting.clear()


def _inputs(passage: Passage, layer: keras.Layer, reference: Reference, number: int) -> _Inputs:
    photos = len(reference.images)
    count = max(1, PLACES // photos)
    inputs = _Inputs()
    for i, values in enumerate(passage.inputs(layer)):
        # the same places in both
        seed = (reference.seed, i, number)
        inputs.add(*(rows_of(value, layer, count, np.random.default_rng(seed)) for value in values))
        if due(i, photos, count):
            inputs.sum(photos)
    return inputs


def _share_layer(
    ours: keras.Layer, theirs: keras.Layer, inputs: _Inputs, values: int, price: float, scale: float
) -> None:
    kernel = np.asarray(theirs.kernel, np.float32)
    groups, rows, _ = inputs.own.shape

    def by_group(array: np.ndarray) -> np.ndarray:
        return np.stack(np.split(array.reshape(rows, -1), groups, axis=1))  # [groups, rows, outputs of a group]

    weights, moments = by_group(kernel), damped(inputs.own)
    power = np.einsum("grr->g", moments)[:, None, None] / rows
    ridge = (DAMPING * power + 1e-12) * np.eye(rows, dtype=np.float32)
    missing = np.matmul(inputs.cross - inputs.own, weights)
    target = weights + TRUST * np.linalg.solve(moments + ridge, missing)
    joined = np.concatenate(list(target), axis=1).reshape(kernel.shape).astype(np.float32)
    shared = share(joined, values, price, Sensitivity(moments, scale), zero=np.asarray(ours.kernel) == 0)
    ours.kernel.assign(shared)
    if ours.bias is not None:
        wanted = np.einsum("gr,gro->go", inputs.original, weights)
        error = wanted - np.einsum("gr,gro->go", inputs.mean, by_group(shared))
        bias = np.asarray(theirs.bias, np.float32)
        corrected = bias + error.reshape(bias.shape).astype(np.float32)
        ours.bias.assign(half(corrected) if np.abs(corrected).max() < _LARGEST_HALF else corrected)
