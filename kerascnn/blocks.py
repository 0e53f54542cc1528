"""Blocks that several families share. Padding is given in pixels, as the papers and Caffe give it."""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from kerascnn.building import DATA_FORMAT


def conv(
    x: KerasTensor,
    filters: int,
    kernel: int,
    *,
    strides: int = 1,
    padding: int = 0,
    groups: int = 1,
    use_bias: bool = True,
    activation: str | None = "relu",
    name: str,
) -> KerasTensor:
    """A square convolution with `padding` zeros on each side, and ReLU unless `activation` says otherwise."""
    same = padding > 0 and strides == 1 and 2 * padding == kernel - 1
    if padding and not same:
        # "same" pads a strided convolution one pixel later than Caffe and torch do, which shifts every map.
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same" if same else "valid",
        groups=groups,
        use_bias=use_bias,
        activation=activation,
        kernel_initializer="he_normal",
        data_format=DATA_FORMAT,
        name=name,
    )(x)


def batch_norm(x: KerasTensor, *, name: str, epsilon: float = 1e-5, momentum: float = 0.9) -> KerasTensor:
    """Batch normalisation with the epsilon and momentum of Caffe and torch (whose 0.1 is 1 - momentum)."""
    return layers.BatchNormalization(axis=-1, epsilon=epsilon, momentum=momentum, name=name)(x)


def conv_bn_relu(
    x: KerasTensor,
    filters: int,
    kernel: int,
    *,
    strides: int = 1,
    padding: int = 0,
    groups: int = 1,
    relu: bool = True,
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
    x = batch_norm(x, name=f"{name}_bn")
    return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x


def max_pool(
    x: KerasTensor, size: int, strides: int, *, padding: int = 0, ceil: bool = False, name: str
) -> KerasTensor:
    """Max pooling of a non-negative map (what follows a ReLU), on which zero padding acts as none.

    With `ceil` the last window may reach over the edge, as in Caffe: ceil((n - size) / strides) + 1 windows a side.
    """
    # One stride of zeros less one at the far edge gives the ceiling for every n; where n fits exactly it is left out.
    after = [
        padding + (strides - 1 if ceil and (n is None or (n + 2 * padding - size) % strides) else 0)
        for n in x.shape[1:3]
    ]
    if padding or any(after):
        x = layers.ZeroPadding2D(
            ((padding, after[0]), (padding, after[1])), data_format=DATA_FORMAT, name=f"{name}_pad"
        )(x)
    return layers.MaxPooling2D(size, strides, padding="valid", data_format=DATA_FORMAT, name=name)(x)


def concatenate(branches: list[KerasTensor], *, name: str) -> KerasTensor:
    """Join maps along their channels."""
    return layers.Concatenate(axis=-1, name=name)(branches)


def add(x: KerasTensor, y: KerasTensor, *, name: str) -> KerasTensor:
    """Sum of two maps of the same shape."""
    return keras.layers.Add(name=name)([x, y])
