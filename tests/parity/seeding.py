"""Weights and inputs that are the same everywhere: legacy NumPy streams, which NumPy promises never to change."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerascnn.weights.fitting import following_normalization


def values(key: str, shape: Sequence[int]) -> np.ndarray:
    """Random values for one array of a torch checkpoint, by its key.

    Kernels keep the scale of what they are applied to; normalisations have statistics, scales and shifts that no
    mistake in the mapping would leave unnoticed, and are damped so that deep residual networks do not grow.
    """
    uniform = np.random.RandomState(zlib.crc32(key.encode())).random_sample(tuple(shape)).astype(np.float32)
    if key.endswith("running_var"):
        return uniform + 0.5
    if len(shape) == 1 and key.endswith("weight"):
        return 0.4 * uniform + 0.2
    if len(shape) == 1:
        return uniform - 0.5
    fan_in = int(np.prod(shape[1:]))
    return (uniform - 0.5) * np.float32((12 * 2 / fan_in) ** 0.5)


def images(side: int, channels: int = 3, count: int = 2) -> np.ndarray:
    """Input of zero mean, shape (count, side, side, channels)."""
    stream = np.random.RandomState(side)
    return (2 * stream.random_sample((count, side, side, channels)) - 1).astype(np.float32)


def shapes(model: Any, names: Mapping[str, str], *, conv_biases: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a torch checkpoint for a model of ours, found without torch.

    Args:
        model: ours.
        names: layer -> prefix of the keys.
        conv_biases: also a bias for every convolution before a batch normalisation (networks that keep them).
    """
    import keras

    found: dict[str, tuple[int, ...]] = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        prefix = names[layer.name]
        if isinstance(layer, keras.layers.BatchNormalization):
            for name in ("weight", "bias", "running_mean", "running_var"):
                found[f"{prefix}.{name}"] = tuple(layer.moving_mean.shape)
            continue
        kernel = tuple(layer.kernel.shape)
        order = (3, 2, 0, 1) if len(kernel) == 4 else (1, 0)
        found[f"{prefix}.weight"] = tuple(kernel[i] for i in order)
        if layer.use_bias or (conv_biases and following_normalization(model, layer)):
            found[f"{prefix}.bias"] = (kernel[-1],)
    return found


def state_dict(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Seeded values for every key."""
    return {key: values(key, shape) for key, shape in shapes.items()}
