"""Share the weights of one layer after another, each on what the layers before it now make of the photos.

A layer that is shared on the inputs of the original network knows nothing of the errors that reach it. Here its target
is the output that it had in the original network, from the inputs that it gets in the compressed one: the weights that
come nearest to that are found by least squares, and those are shared (Frantar et al. 2023, OPTQ, arXiv:2210.17323, take
the inputs of the compressed network; Zhang, Zhou & Saab 2022, arXiv:2201.11113, the outputs of the original as well).
Weights that were pruned belong to the target, so that what is left of a layer makes up for them. SqueezeNet at 350 kB
diverges about half as much as when all layers are shared on the original inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export.compression.clustering import bits_by_layer, round_to_half, share
from export.compression.networks import kernel_layers
from export.compression.sensitivity import SAMPLES, Sensitivity, damped, rows_of
from kerascnn.keras_graph import inputs_of
from kerascnn.weights.container import half

if TYPE_CHECKING:
    import keras

STAGES = 24  # passes over the photos; the layers of one pass share their weights together
TRUST = 0.5  # of the correction of a layer's weights, which is measured on few photos
DAMPING = 0.01


def cluster_in_sequence(
    model: keras.Model,
    original: keras.Model,
    images: np.ndarray,
    bits: int | Mapping[str, int],
    *,
    price: float,
    sensitivities: Mapping[str, Sensitivity],
    seed: int = 0,
    step: Callable[[str], None] = lambda text: None,
) -> None:
    """Like `clustering.cluster`, in the order of the layers; biases make up for the mean error of their layer.

    Args:
        model: changed in place. Its zeros stay zeros, its other weights are replaced.
        original: the network before any change.
        images: photos, float32 [n, height, width, channels], as the model takes them.
        bits, price, sensitivities: as for `cluster`.
        seed: of the random places at which inputs are looked at.
        step: told how far it is.

    Raises:
        RequestError: bits are not 1 to 8, or there is no such layer.
    """
    wanted = bits_by_layer(model, bits)
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(kernel_layers(model), kernel_layers(original), strict=True)
        if f"{ours.name}/kernel" in wanted
    ]
    stages = np.array_split(np.arange(len(pairs)), min(STAGES, len(pairs)))
    for number, stage in enumerate(stages):
        step(f"sharing weights in order, part {number + 1} of {len(stages)}")
        part = [pairs[i] for i in stage]
        for (ours, theirs), inputs in zip(part, _inputs(model, original, part, images, seed), strict=True):
            path = f"{ours.name}/kernel"
            _share_one(ours, theirs, inputs, 2 ** wanted[path], price, sensitivities[path].scale)
    round_to_half(model)


class _Inputs:
    """Sums over places of the photos of a layer's inputs now, x, and in the original, y: x x', x y', x and y."""

    def __init__(self) -> None:
        self.own: Any = 0.0
        self.cross: Any = 0.0
        self.mean: Any = 0.0
        self.original: Any = 0.0

    def add(self, now: np.ndarray, before: np.ndarray, photos: int) -> None:
        share = 1 / (now.shape[1] * photos)
        self.own = self.own + share * np.matmul(now.transpose(0, 2, 1), now)
        self.cross = self.cross + share * np.matmul(now.transpose(0, 2, 1), before)
        self.mean = self.mean + share * now.sum(axis=1)
        self.original = self.original + share * before.sum(axis=1)


def _inputs(model: Any, original: Any, part: list[tuple[Any, Any]], images: np.ndarray, seed: int) -> list[_Inputs]:
    import keras
    import tensorflow as tf

    taps = [
        keras.Model(network.inputs, [inputs_of(layer)[0] for layer in layers])
        for network, layers in zip((model, original), zip(*part, strict=True), strict=True)
    ]
    run = tf.function(lambda image: [keras.tree.flatten(tap(image, training=False)) for tap in taps], autograph=False)
    count = max(1, SAMPLES // len(images))
    found = [_Inputs() for _ in part]
    for i, image in enumerate(images):
        for j, (now, before) in enumerate(zip(*run(tf.constant(image[None])), strict=True)):
            ours, theirs = (
                # the same places in both
                rows_of(values.numpy(), part[j][0], count, np.random.default_rng((seed, i, j)))
                for values in (now, before)
            )
            found[j].add(ours, theirs, len(images))
    return found


def _share_one(ours: Any, theirs: Any, inputs: _Inputs, values: int, price: float, scale: float) -> None:
    kernel, shape = np.asarray(theirs.kernel, np.float32), tuple(theirs.kernel.shape)
    groups, rows, _ = inputs.own.shape
    zero = np.asarray(ours.kernel) == 0
    weights = np.stack(np.split(kernel.reshape(rows, -1), groups, axis=1))  # [groups, rows, outputs of a group]
    moments = damped(inputs.own)
    ridge = DAMPING * np.einsum("grr->g", moments)[:, None, None] / rows * np.eye(rows)
    missing = np.matmul(inputs.cross - inputs.own, weights)
    target = weights + TRUST * np.linalg.solve(moments + ridge + 1e-12 * np.eye(rows), missing)
    joined = np.concatenate(list(target), axis=1).reshape(shape).astype(np.float32)
    shared = share(joined, values, price, Sensitivity(moments, scale), zero=zero)
    ours.kernel.assign(shared)
    if ours.bias is not None:
        now = np.stack(np.split(shared.reshape(rows, -1), groups, axis=1))
        error = np.einsum("gr,gro->go", inputs.original, weights) - np.einsum("gr,gro->go", inputs.mean, now)
        bias = np.asarray(theirs.bias, np.float32)
        corrected = bias + error.reshape(bias.shape).astype(np.float32)
        ours.bias.assign(half(corrected) if np.abs(corrected).max() < 65504 else corrected)
