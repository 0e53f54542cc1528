"""The layers of an ensemble: what prepares its photo for one member, and what averages the members' answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

# ITU-R BT.601, the luma that Pillow's convert("L") computes
LUMA = (0.299, 0.587, 0.114)


@keras.saving.register_keras_serializable(package="kerascnn")
class PhotoPreparation(keras.layers.Layer):
    """What `kerascnn.photos.preprocessing.Preprocessing` does to a photo, inside the graph.

    Resizing is Pillow's, with its antialiasing, as two products with constant matrices: the layers and operators for
    resizing either do not antialias or do not exist in TFLite and ONNX. Only Pillow's rounding to whole levels is
    missing. Gray is made from RGB as Pillow makes it.

    Input: (batch, height, width, 3 or 1) with fixed sides, RGB or gray, 0 to 255.
    Output: (batch, *crop, channels), in float.

    Args:
        resize: (height, width), or None to leave the size.
        crop: (height, width) of the center crop after it, with a black border where it is larger, or None.
        interpolation: "bilinear", "bicubic" or "nearest".
        channel_order: of the output: "rgb", "bgr" or "gray".
        mean, std: one value a channel in that order, or one for all, on the scale 0 to 255.
    """

    def __init__(
        self,
        resize: Sequence[int] | None = None,
        crop: Sequence[int] | None = None,
        interpolation: str = "bilinear",
        channel_order: str = "rgb",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.resize = None if resize is None else tuple(resize)
        self.crop = None if crop is None else tuple(crop)
        self.interpolation, self.channel_order = interpolation, channel_order
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        x = inputs
        size = tuple(x.shape[1:3])
        resized = self.resize or size
        (down, above), (across, aside) = map(_center_window, resized, self.crop or resized)
        if resized == size:
            x = x[:, down, across]
        else:
            rows = resampling_matrix(size[0], resized[0], self.interpolation)[down]
            columns = resampling_matrix(size[1], resized[1], self.interpolation)[across]
            # Horizontally first, as Pillow does it. A constant on the right is a fully connected layer to TFLite.
            x = self._resample(ops.transpose(x, (0, 1, 3, 2)), columns)
            x = self._resample(ops.transpose(x, (0, 3, 2, 1)), rows)
            x = ops.transpose(x, (0, 3, 1, 2))
        if any(above + aside):
            x = ops.pad(x, [(0, 0), above, aside, (0, 0)])
        kernel, bias = self._normalization(x.shape[-1])
        x = ops.conv(x, ops.convert_to_tensor(kernel, x.dtype), padding="valid", data_format="channels_last")
        return x + ops.convert_to_tensor(bias, x.dtype)

    def _resample(self, x: Any, matrix: np.ndarray) -> Any:
        """The last axis of `x` resized."""
        x = ops.matmul(x, ops.convert_to_tensor(matrix.T, x.dtype))
        return ops.clip(x, 0.0, 255.0) if self.interpolation == "bicubic" else x  # which overshoots

    def _normalization(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Channel order, mean and scale as a 1x1 convolution: kernel and bias."""
        if self.channel_order == "gray" and channels == 3:
            order = np.asarray(LUMA, np.float64)[:, None]
        else:
            order = np.eye(channels)[:, :: -1 if self.channel_order == "bgr" else 1]
        std, mean = np.asarray(self.std, np.float64), np.asarray(self.mean, np.float64)
        bias = np.broadcast_to(-mean / std, order.shape[1:])
        return (order / std)[None, None].astype(np.float32), bias.astype(np.float32)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        sides = self.crop or self.resize or input_shape[1:3]
        return (input_shape[0], *sides, 1 if self.channel_order == "gray" else input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        names = ("resize", "crop", "interpolation", "channel_order", "mean", "std")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _center_window(size: int, crop: int) -> tuple[slice, tuple[int, int]]:
    """What a center crop keeps of one axis, and how much it adds before and after."""
    start = round((size - crop) / 2)
    first, last = max(start, 0), min(start + crop, size)
    return slice(first, last), (first - start, start + crop - last)


def resampling_matrix(size: int, target: int, interpolation: str = "bilinear") -> np.ndarray:
    """The (target, size) matrix by which Pillow resizes one axis: `matrix @ pixels`.

    Its filters widen with the reduction, so that every pixel counts.
    """
    scale = size / target
    centers = (np.arange(target) + 0.5) * scale
    if interpolation == "nearest":
        return np.eye(size, dtype=np.float32)[centers.astype(int)]
    filters: dict[str, Callable[[np.ndarray], np.ndarray]] = {"bilinear": _triangle, "bicubic": _cubic}
    distance = (np.arange(size) + 0.5 - centers[:, None]) / max(scale, 1.0)
    weights = filters[interpolation](np.abs(distance))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - distance, 0)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys 1981 with a = -1/2."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


@keras.saving.register_keras_serializable(package="kerascnn")
class WeightedMean(keras.layers.Layer):
    """The mean of several tensors of one shape, each with its share; the shares add up to one.

    Input: a list of tensors, as many as `shares`; output: one tensor of their shape.
    """

    def __init__(self, shares: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.shares = tuple(shares)

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        terms = [share * x for share, x in zip(self.shares, inputs, strict=True)]
        return sum(terms[1:], terms[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "shares": self.shares}
