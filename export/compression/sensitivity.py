"""Measure on photos how much each weight matters.

The divergence between a network's answers before and after a small change d of its weights is d @ F @ d / 2, where F is
the Fisher information of the answers. For one layer it is taken as a Kronecker product (Martens & Grosse 2015,
arXiv:1503.05671): the second moments of the layer's inputs, and one number for all its outputs, chosen to give the
trace of F, which is measured with gradients. A number for each output would only say which classes the photos show: on
other photos, that costs SqueezeNet six times the divergence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from export.compression.networks import inputs_of, kernel_layers, kernels, log_probabilities, path_of
from export.quantization.optq import Compensation, Window

if TYPE_CHECKING:
    import keras

SAMPLES = 8192  # places of the photos at which a layer's inputs are looked at
SHRINKAGE = 0.1  # of the products of different inputs
_TOGETHER = 1024  # rows of a layer that are multiplied at once
EVERY = 25  # photos between two signs of life
DRAWS = 2  # random directions of the answers, for each photo


@dataclass(frozen=True)
class Sensitivity:
    """How much errors of one kernel matter; it is seen as a matrix [rows, outputs], whose outputs `groups` split.

    Attributes:
        moments: [groups, rows, rows], mean products of the inputs.
        scale: twice the divergence, in nats, of an error with power 1 at one of the outputs.
    """

    moments: np.ndarray
    scale: float

    @cached_property
    def compensation(self) -> Compensation:
        """How the inputs make up for one another: the costliest part of sharing a layer once more."""
        return Compensation.of(self.moments)

    def divergence(self, error: np.ndarray) -> float:
        """Return what an error of the kernel costs, in nats a photo.

        Args:
            error: with the shape of the kernel.
        """
        flat = error.reshape(self.moments.shape[-1], -1)
        parts = np.split(flat, len(self.moments), axis=1)
        power = sum(float(((m @ part) * part).sum()) for m, part in zip(self.moments, parts, strict=True))
        return 0.5 * self.scale * power

    def importance(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return for each weight of a kernel of `shape` twice what a squared unit of error costs."""
        groups, rows, _ = self.moments.shape
        power = np.repeat(np.einsum("grr->rg", self.moments), np.prod(shape) // (rows * groups), axis=1)
        return (self.scale * power).reshape(shape).astype(np.float32)


def indifferent(kernel: np.ndarray) -> Sensitivity:
    """Return the sensitivity without photos: all weights of a layer matter alike, each layer as much as its power."""
    rows = int(np.prod(kernel.shape[:-1]))
    return Sensitivity(np.eye(rows, dtype=np.float32)[None], 1.0 / (float(np.square(kernel).sum()) or 1.0))


def measure(
    model: keras.Model, images: np.ndarray, *, seed: int = 0, step: Callable[[str], None] = lambda text: None
) -> dict[str, Sensitivity]:
    """Measure the sensitivity of every kernel.

    Args:
        model: a functional model.
        images: float32 [n, height, width, channels], as the model takes them.
        seed: of the random directions and places.
        step: called with a sentence on the progress.

    Returns:
        Sensitivities by `layer/weight`.
    """
    moments = _moments(model, images, seed, step)
    fisher = _fisher(model, images, seed, step)
    sensitivities = {}
    for path, kernel in kernels(model).items():
        groups, rows, _ = moments[path].shape
        power = float(np.einsum("grr->", moments[path])) * np.prod(kernel.shape) / (groups * rows)
        sensitivities[path] = Sensitivity(damped(moments[path]), float(fisher[path].sum()) / max(power, 1e-30))
    return sensitivities


def damped(moments: np.ndarray) -> np.ndarray:
    """Make the mean products of different inputs, which few photos tell badly, a little smaller."""
    own = np.einsum("grr->gr", moments)[:, :, None] * np.eye(moments.shape[-1], dtype=np.float32)
    return ((1 - SHRINKAGE) * moments + SHRINKAGE * own).astype(np.float32)


def _fisher(model: keras.Model, images: np.ndarray, seed: int, step: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Return the diagonal of each kernel's Fisher information: mean squared gradients, one photo at a time."""
    import tensorflow as tf

    variables = kernels(model)
    answers = log_probabilities(model)

    @tf.function(reduce_retracing=True)
    def squares(image: tf.Tensor, noise: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            answer = answers(image[None])[0]
            share = tf.stop_gradient(tf.exp(answer))
            # a random direction with the covariance of the softmax, diag(p) - p p'
            direction = tf.sqrt(share) * noise - share * tf.reduce_sum(tf.sqrt(share) * noise)
            target = tf.reduce_sum(answer * direction)
        return [tf.square(g) for g in tape.gradient(target, [variable.value for variable in variables.values()])]

    random = np.random.default_rng(seed)
    totals = {path: np.zeros(variable.shape, np.float32) for path, variable in variables.items()}
    classes = int(np.prod(model.outputs[0].shape[1:]))
    for i, image in enumerate(images):
        if not i % EVERY:
            step(f"measuring which weights matter, photo {i + 1} of {len(images)}")
        for _ in range(DRAWS):
            noise = random.normal(size=classes).astype(np.float32)
            squared = squares(tf.constant(image), tf.constant(noise))
            for total, part in zip(totals.values(), squared, strict=True):
                total += part.numpy() / (DRAWS * len(images))
    return totals


def _moments(model: keras.Model, images: np.ndarray, seed: int, step: Callable[[str], None]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    layers = kernel_layers(model)
    run = tf.function(inputs_of(layers, model), reduce_retracing=True, autograph=False)
    random = np.random.default_rng(seed)
    count = max(1, SAMPLES // len(images))
    totals: list[Any] = [0.0] * len(layers)
    waiting: list[list[np.ndarray]] = [[] for _ in layers]
    for i, image in enumerate(images):
        if not i % EVERY:
            step(f"looking at the inputs of layers, photo {i + 1} of {len(images)}")
        for j, (layer, values) in enumerate(zip(layers, run(tf.constant(image[None])), strict=True)):
            waiting[j].append(rows_of(values.numpy(), layer, count, random))
        if due(i, len(images), count):
            for j, parts in enumerate(waiting):
                rows = np.concatenate(parts, axis=1)
                totals[j] = totals[j] + np.matmul(rows.transpose(0, 2, 1), rows) / (parts[0].shape[1] * len(images))
                parts.clear()
    return {path_of(layer): total for layer, total in zip(layers, totals, strict=True)}


def due(photo: int, photos: int, count: int) -> bool:
    """Return whether rows that were collected up to a photo are multiplied now: one product of many is quicker."""
    return photo + 1 == photos or not (photo + 1) % max(1, _TOGETHER // count)


def rows_of(values: np.ndarray, layer: keras.Layer, count: int, random: np.random.Generator) -> np.ndarray:
    """Return random inputs of a layer as the rows that meet its kernel: [groups, count, rows]."""
    if len(layer.kernel.shape) == 2:
        return values.reshape(1, -1, layer.kernel.shape[0])
    if layer.data_format == "channels_first":
        values = values.transpose(0, 2, 3, 1)
    height, width, channels, _ = layer.kernel.shape
    if type(layer).__name__ == "DepthwiseConv2D":
        channels = 1  # each channel is a group of its own
    margins = None if layer.padding == "same" else ((0, 0), (0, 0))
    window = Window((height, width), layer.strides, layer.dilation_rate, margins)
    return window.sample(values, np.arange(len(values)), channels, count, random)
