"""The residual networks' common frame (He et al. 2015, Table 1): stem, four stages of units, classifier.

ResNet, Wide ResNet, ResNeXt and SENet differ in their units' widths, groups and attention, which each says in its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import add, conv_bn_relu, max_pool
from kerascnn.building.network import DATA_FORMAT, Network
from kerascnn.layers.normalization import ChannelPadding
from kerascnn.layers.stochastic_depth import Join

# residual units in conv2_x, conv3_x, conv4_x, conv5_x, by the network's depth
UNITS: Mapping[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

# (map, width of the stage, such as 64, 128, 256, 512, stride, name, how the branch is added) -> map
Unit = Callable[[KerasTensor, int, int, str, Join], KerasTensor]
Attention = Callable[[KerasTensor, str], KerasTensor]
# where the shape changes: zeros (option A), zeros after averages, or a projection (option B); None for a plain network,
# without shortcuts
Shortcut = Literal["A", "average", "B"] | None


def basic(
    x: KerasTensor,
    width: int,
    strides: int,
    name: str,
    join: Join = add,
    *,
    attention: Attention | None = None,
    shortcut: Shortcut = "B",
) -> KerasTensor:
    """Two 3x3 convolutions and the shortcut."""
    y = conv_bn_relu(x, width, 3, strides=strides, padding=1, name=f"{name}_1")
    y = conv_bn_relu(y, width, 3, padding=1, relu=False, name=f"{name}_2")
    return _join(x, y, strides, name, join, 1, attention, shortcut)


def bottleneck(
    x: KerasTensor,
    widths: tuple[int, int, int],
    strides: int,
    name: str,
    join: Join = add,
    *,
    groups: int = 1,
    stride_in_1x1: bool = False,
    shortcut_kernel: int = 1,
    attention: Attention | None = None,
) -> KerasTensor:
    """1x1, 3x3 and 1x1 convolutions of these widths and the shortcut.

    The stride is the 3x3 convolution's, or the first 1x1 convolution's with `stride_in_1x1`; `shortcut_kernel` is the
    side of the strided projections' kernels.
    """
    reduced, middle, out = widths
    early, late = (strides, 1) if stride_in_1x1 else (1, strides)
    y = conv_bn_relu(x, reduced, 1, strides=early, name=f"{name}_1")
    y = conv_bn_relu(y, middle, 3, strides=late, padding=1, groups=groups, name=f"{name}_2")
    y = conv_bn_relu(y, out, 1, relu=False, name=f"{name}_3")
    return _join(x, y, strides, name, join, shortcut_kernel if strides > 1 else 1, attention)


def _join(
    x: KerasTensor,
    y: KerasTensor,
    strides: int,
    name: str,
    join: Join,
    kernel: int,
    attention: Attention | None,
    shortcut: Shortcut = "B",
) -> KerasTensor:
    """Sum of the branch `y` and the shortcut from `x`, then ReLU."""
    if attention:
        y = attention(y, name)
    if shortcut == "average":
        x = averaged(x, y.shape[-1], strides, name)
    elif shortcut == "A":
        x = padded(x, y.shape[-1], strides, name)
    elif shortcut == "B" and (x.shape[-1] != y.shape[-1] or strides > 1):
        x = conv_bn_relu(x, y.shape[-1], kernel, strides=strides, padding=kernel // 2, relu=False, name=f"{name}_0")
    return layers.Activation("relu", name=f"{name}_out")(join(x, y, name=f"{name}_add") if shortcut else y)


def padded(x: KerasTensor, channels: int, strides: int, name: str) -> KerasTensor:
    """The parameter-free shortcut of option A: every `strides`-th pixel, and channels of zeros."""
    if strides > 1:
        x = layers.MaxPooling2D(1, strides, data_format=DATA_FORMAT, name=f"{name}_0_pool")(x)
    if more := channels - x.shape[-1]:
        # The paper does not say on which side the zeros go, which changes no more than the order of the channels: half
        # on each, as in the public weights (akamaster's).
        x = ChannelPadding((more // 2, more - more // 2), name=f"{name}_0_pad")(x)
    return x


def averaged(x: KerasTensor, channels: int, strides: int, name: str) -> KerasTensor:
    """The shortcut of stochastic depth's paper: averages of `strides` x `strides` pixels, then channels of zeros."""
    if strides > 1:
        # "same" for odd sides only, whose last row and column the convolutions keep too
        x = layers.AveragePooling2D(strides, padding="same", data_format=DATA_FORMAT, name=f"{name}_0_pool")(x)
    if more := channels - x.shape[-1]:
        x = ChannelPadding((0, more), name=f"{name}_0_pad")(x)
    return x


def resnet(net: Network, depth: int, unit: Unit) -> keras.Model:
    """The whole of a network of that depth: 7x7 stem and 3x3 pooling, stages of `unit`, classifier."""
    x = net.stage("stem", conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1"))
    x = max_pool(x, 3, 2, padding=1, name="pool1")
    return net.classifier(stages(net, x, UNITS[depth], unit))


def stages(net: Network, x: KerasTensor, units: Sequence[int], unit: Unit, width: int = 64) -> KerasTensor:
    """conv2_x and on, of so many units; each but the first doubles the width and halves the map in its first unit."""
    join = net.join(sum(units))
    for stage, count in enumerate(units, start=1):
        for i in range(1, count + 1):
            strides = 2 if stage > 1 and i == 1 else 1
            x = unit(x, width * 2 ** (stage - 1), strides, f"conv{stage + 1}_block{i}", join)
        net.stage(f"stage{stage}", x)
    return x
