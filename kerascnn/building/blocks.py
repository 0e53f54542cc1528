"""Blocks that several families share. Padding is given in pixels, as the papers and Caffe give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from keras import KerasTensor, layers

# The package is channels_last whatever keras.json says: the papers' tables, the weights and TFLite all are.
DATA_FORMAT: Literal["channels_last"] = "channels_last"

# He et al. 2015 (arXiv:1502.01852) give the variance, 2 / fan-in. Uniform, because drawing as many normal numbers as a
# large network has weights takes longer than the rest of building it.
INITIALIZER = "he_uniform"

Sides = int | tuple[int, int]  # one number for both sides, or (height, width)


class Window(TypedDict, total=False):
    """How a convolution goes over a map.

    Attributes:
        strides: Pixels from one window to the next; 1 by default.
        padding: Zeros on each side of the map, none by default; or "same", as TensorFlow pads: a strided convolution
            one pixel later than Caffe and torch do, which shifts every map.
        groups: Groups of channels that do not see each other; 1 by default.
        dilation: Pixels from one value of a window to the next; 1 by default.
    """

    strides: int
    padding: Sides | Literal["same"]
    groups: int
    dilation: int


@dataclass(frozen=True)
class Norm:
    """What a batch normalization is made with.

    Attributes:
        epsilon: Added to the variance; by default that of Caffe and torch.
        scale: Whether it multiplies by a weight (gamma).
        momentum: What the moving statistics keep of themselves in a step; by default that of Caffe's networks and
            torch (whose 0.1 is 1 - momentum).
        shift: Whether it adds a weight (beta).
    """

    epsilon: float = 1e-5
    scale: bool = True
    momentum: float = 0.9
    shift: bool = True


def conv(
    x: KerasTensor,
    filters: int,
    kernel: Sides,
    *,
    use_bias: bool = True,
    activation: str | None = "relu",
    name: str,
    **window: Unpack[Window],
) -> KerasTensor:
    """Add a convolution, with ReLU unless `activation` says otherwise."""
    strides, padding = window.get("strides", 1), window.get("padding", 0)
    if isinstance(padding, str):
        same = True
    else:
        halves = zip(_pair(padding), _pair(kernel), strict=True)
        same = padding != 0 and strides == 1 and all(2 * p == k - 1 for p, k in halves)
    if padding and not same:
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same" if same else "valid",
        groups=window.get("groups", 1),
        dilation_rate=window.get("dilation", 1),
        use_bias=use_bias,
        activation=activation,
        kernel_initializer=INITIALIZER,
        data_format=DATA_FORMAT,
        name=name,
    )(x)


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def batch_norm(x: KerasTensor, *, name: str, norm: Norm = Norm()) -> KerasTensor:
    """Add a batch normalization."""
    return layers.BatchNormalization(
        axis=-1, epsilon=norm.epsilon, momentum=norm.momentum, scale=norm.scale, center=norm.shift, name=name
    )(x)


def bn_relu(x: KerasTensor, *, name: str = "") -> KerasTensor:
    """Add batch normalization and ReLU before a convolution: layers `NAME_bn`, `NAME_relu`, or `bn`, `relu`."""
    prefix = f"{name}_" if name else ""
    return layers.Activation("relu", name=f"{prefix}relu")(batch_norm(x, name=f"{prefix}bn"))


def conv_bn_relu(
    x: KerasTensor,
    filters: int,
    kernel: Sides,
    *,
    relu: bool = True,
    norm: Norm = Norm(),
    name: str,
    **window: Unpack[Window],
) -> KerasTensor:
    """Add a convolution without bias, batch normalization, ReLU: layers `NAME_conv`, `NAME_bn`, `NAME_relu`."""
    x = conv(x, filters, kernel, use_bias=False, activation=None, name=f"{name}_conv", **window)
    x = batch_norm(x, name=f"{name}_bn", norm=norm)
    return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x


def max_pool(
    x: KerasTensor, size: int, strides: int, *, padding: int = 0, ceil: bool = False, name: str
) -> KerasTensor:
    """Add max pooling of a map without negative values, such as a ReLU's, whose maxima zero padding does not change.

    With `ceil` the last window may reach over the edge, as in Caffe: ceil((n - size) / strides) + 1 windows a side.
    """
    # One stride of zeros less one at the far edge gives the ceiling for every n; where n fits exactly it is left out.
    same = padding > 0 and strides == 1 and 2 * padding == size - 1
    after = [
        padding + (strides - 1 if ceil and (n is None or (n + 2 * padding - size) % strides) else 0)
        for n in x.shape[1:3]
    ]
    if any(after) and not same:
        x = layers.ZeroPadding2D(
            ((padding, after[0]), (padding, after[1])), data_format=DATA_FORMAT, name=f"{name}_pad"
        )(x)
    padded = "same" if same else "valid"
    return layers.MaxPooling2D(size, strides, padding=padded, data_format=DATA_FORMAT, name=name)(x)


def average_pool(
    x: KerasTensor, size: int, strides: int = 1, *, padding: int = 0, count_padding: bool = False, name: str
) -> KerasTensor:
    """Add average pooling. A window at the edge is divided by the pixels in it, or with `count_padding` by all places.

    Padding that is not counted needs stride 1 and windows centered on each pixel.
    """
    if padding and count_padding:
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name=f"{name}_pad")(x)
    padded = "same" if padding and not count_padding else "valid"
    return layers.AveragePooling2D(size, strides, padding=padded, data_format=DATA_FORMAT, name=name)(x)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Join maps along their channels."""
    return layers.Concatenate(axis=-1, name=name)(branches)


def add(x: KerasTensor, y: KerasTensor, *, name: str) -> KerasTensor:
    """Add two maps of the same shape."""
    return layers.Add(name=name)([x, y])
