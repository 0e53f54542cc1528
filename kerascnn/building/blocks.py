"""Blocks that several families share. Padding is given in pixels, as the papers and Caffe give it."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from kerascnn.building.network import DATA_FORMAT, INITIALIZER

Sides = int | tuple[int, int]  # one number for both sides, or (height, width)


def conv(
    x: KerasTensor,
    filters: int,
    kernel: Sides,
    *,
    strides: int = 1,
    padding: Sides = 0,
    groups: int = 1,
    dilation: int = 1,
    use_bias: bool = True,
    activation: str | None = "relu",
    name: str,
) -> KerasTensor:
    """A convolution with `padding` zeros on each side, and ReLU unless `activation` says otherwise."""
    same = (
        padding != 0
        and strides == 1
        and all(2 * p == k - 1 for p, k in zip(_pair(padding), _pair(kernel), strict=True))
    )
    if padding and not same:
        # "same" pads a strided convolution one pixel later than Caffe and torch do, which shifts every map.
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same" if same else "valid",
        groups=groups,
        dilation_rate=dilation,
        use_bias=use_bias,
        activation=activation,
        kernel_initializer=INITIALIZER,
        data_format=DATA_FORMAT,
        name=name,
    )(x)


def _pair(sides: Sides) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else sides


def batch_norm(
    x: KerasTensor, *, name: str, epsilon: float = 1e-5, momentum: float = 0.9, scale: bool = True
) -> KerasTensor:
    """Batch normalisation with the epsilon and momentum of Caffe and torch (whose 0.1 is 1 - momentum)."""
    return layers.BatchNormalization(axis=-1, epsilon=epsilon, momentum=momentum, scale=scale, name=name)(x)


def bn_relu(x: KerasTensor, *, name: str = "") -> KerasTensor:
    """Batch normalisation and ReLU before a convolution: layers `NAME_bn`, `NAME_relu`, or `bn`, `relu`."""
    prefix = f"{name}_" if name else ""
    return layers.Activation("relu", name=f"{prefix}relu")(batch_norm(x, name=f"{prefix}bn"))


def conv_bn_relu(
    x: KerasTensor,
    filters: int,
    kernel: Sides,
    *,
    strides: int = 1,
    padding: Sides = 0,
    groups: int = 1,
    relu: bool = True,
    epsilon: float = 1e-5,
    scale: bool = True,
    name: str,
) -> KerasTensor:
    """Convolution without bias, batch normalisation, ReLU: layers `NAME_conv`, `NAME_bn`, `NAME_relu`."""
    x = conv(
        x,
        filters,
        kernel,
        strides=strides,
        padding=padding,
        groups=groups,
        use_bias=False,
        activation=None,
        name=f"{name}_conv",
    )
    x = batch_norm(x, epsilon=epsilon, scale=scale, name=f"{name}_bn")
    return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x


def max_pool(
    x: KerasTensor, size: int, strides: int, *, padding: int = 0, ceil: bool = False, name: str
) -> KerasTensor:
    """Max pooling of a non-negative map (what follows a ReLU), on which zero padding acts as none.

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
    """Average pooling. A window at the edge is divided by the pixels in it, or with `count_padding` by all its places.

    Padding that is not counted needs stride 1 and windows centred on each pixel.
    """
    if padding and count_padding:
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name=f"{name}_pad")(x)
    padded = "same" if padding and not count_padding else "valid"
    return layers.AveragePooling2D(size, strides, padding=padded, data_format=DATA_FORMAT, name=name)(x)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Join maps along their channels."""
    return layers.Concatenate(axis=-1, name=name)(branches)


def add(x: KerasTensor, y: KerasTensor, *, name: str) -> KerasTensor:
    """Sum of two maps of the same shape."""
    return keras.layers.Add(name=name)([x, y])
