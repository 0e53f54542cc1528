"""The residual networks' common frame (He et al. 2015, arXiv:1512.03385, Table 1): stem, stages of units, classifier.

ResNet, Wide ResNet, ResNeXt and SENet differ in the widths, groups and attention of their units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, conv_bn_relu, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.layers import ChannelPadding
from kerascnn.layers.stochastic_depth import Join

# residual units in conv2_x, conv3_x, conv4_x, conv5_x, by the network's depth
UNITS: Mapping[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@dataclass(frozen=True)
class Place:
    """Where a residual unit stands in its network.

    Attributes:
        name: What the names of its layers begin with.
        width: That of its stage, such as 64, 128, 256 and 512.
        strides: 2 where the unit halves the map.
        join: What adds its branch to its shortcut.
        first: Whether it is the first unit of the network.
    """

    name: str
    width: int
    strides: int
    join: Join
    first: bool


Unit = Callable[[KerasTensor, Place], KerasTensor]
Attention = Callable[[KerasTensor, str], KerasTensor]
# where the shape changes: zeros (option A), zeros after averages, or a projection (option B); None for a plain network,
# without shortcuts
Shortcut = Literal["A", "average", "B"] | None


@dataclass(frozen=True)
class Basic:
    """A unit of two 3x3 convolutions and the shortcut."""

    shortcut: Shortcut = "B"
    attention: Attention | None = None

    def __call__(self, x: KerasTensor, place: Place) -> KerasTensor:
        """Build the unit on `x`."""
        y = conv_bn_relu(x, place.width, 3, strides=place.strides, padding=1, name=f"{place.name}_1")
        y = conv_bn_relu(y, place.width, 3, padding=1, relu=False, name=f"{place.name}_2")
        return _join(x, self.attention(y, place.name) if self.attention else y, place, self.shortcut)


@dataclass(frozen=True)
class Bottleneck:
    """A unit of 1x1, 3x3 and 1x1 convolutions and the shortcut.

    Attributes:
        widths: Those of the convolutions, in widths of the stage.
        groups: Those of the 3x3 convolution.
        stride_in_1x1: Whether the stride is the first 1x1 convolution's, and not the 3x3 convolution's.
        shortcut_kernel: Side of the kernel of strided projections.
        attention: What the branch goes through at its end.
    """

    widths: tuple[int, int, int] = (1, 1, 4)
    groups: int = 1
    stride_in_1x1: bool = False
    shortcut_kernel: int = 1
    attention: Attention | None = None

    def __call__(self, x: KerasTensor, place: Place) -> KerasTensor:
        """Build the unit on `x`."""
        name = place.name
        reduced, middle, out = (factor * place.width for factor in self.widths)
        early, late = (place.strides, 1) if self.stride_in_1x1 else (1, place.strides)
        y = conv_bn_relu(x, reduced, 1, strides=early, name=f"{name}_1")
        y = conv_bn_relu(y, middle, 3, strides=late, padding=1, groups=self.groups, name=f"{name}_2")
        y = conv_bn_relu(y, out, 1, relu=False, name=f"{name}_3")
        y = self.attention(y, name) if self.attention else y
        return _join(x, y, place, "B", self.shortcut_kernel if place.strides > 1 else 1)


def _join(x: KerasTensor, y: KerasTensor, place: Place, shortcut: Shortcut, kernel: int = 1) -> KerasTensor:
    """Add the branch `y` to the shortcut from `x`, then ReLU."""
    name, channels, strides = place.name, y.shape[-1], place.strides
    if shortcut == "average":
        x = averaged(x, channels, strides, name)
    elif shortcut == "A":
        x = padded(x, channels, strides, name)
    elif shortcut == "B" and (x.shape[-1] != channels or strides > 1):
        x = conv_bn_relu(x, channels, kernel, strides=strides, padding=kernel // 2, relu=False, name=f"{name}_0")
    return layers.Activation("relu", name=f"{name}_out")(place.join(x, y, name=f"{name}_add") if shortcut else y)


def padded(x: KerasTensor, channels: int, strides: int, name: str) -> KerasTensor:
    """Build the shortcut of option A, without parameters: every `strides`-th pixel, and channels of zeros."""
    if strides > 1:
        x = layers.MaxPooling2D(1, strides, data_format=DATA_FORMAT, name=f"{name}_0_pool")(x)
    if more := channels - x.shape[-1]:
        # The paper does not say on which side the zeros go, which changes no more than the order of the channels: half
        # on each, as in the public weights (akamaster's).
        x = ChannelPadding((more // 2, more - more // 2), name=f"{name}_0_pad")(x)
    return x


def averaged(x: KerasTensor, channels: int, strides: int, name: str) -> KerasTensor:
    """Build the shortcut of stochastic depth's paper: averages of `strides` x `strides` pixels, and zeros."""
    if strides > 1:
        # "same" for odd sides only, whose last row and column the convolutions keep too
        x = layers.AveragePooling2D(strides, padding="same", data_format=DATA_FORMAT, name=f"{name}_0_pool")(x)
    if more := channels - x.shape[-1]:
        x = ChannelPadding((0, more), name=f"{name}_0_pad")(x)
    return x


def resnet(net: Network, depth: int, unit: Unit) -> keras.Model:
    """Build a whole network of that depth: 7x7 stem and 3x3 pooling, stages of `unit`, classifier."""
    x = net.stage("stem", conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1"))
    return pooled(net, stages(net, first_pool(net, x, papers=1), UNITS[depth], unit))


def first_pool(net: Network, x: KerasTensor, papers: int = 0) -> KerasTensor:
    """Build the stem's 3x3 pooling with the zeros that the option `pool_padding` asks for, else `papers`.

    Without zeros it is Caffe's, whose last window reaches over the far edge; with them it is torch's.
    """
    padding = net.choices.get("pool_padding", papers)
    return max_pool(x, 3, 2, padding=padding, ceil=not padding, name="pool1")


def stages(
    net: Network, x: KerasTensor, units: Sequence[int], unit: Unit, width: int = 64, stride_in_last_unit: bool = False
) -> KerasTensor:
    """Build conv2_x and on, of so many units. Each stage but the first has half the map and twice the width.

    The first unit of those stages has the stride, or with `stride_in_last_unit` the last unit of the stage before.
    """
    joins = iter(net.joins(sum(units)))
    for stage, count in enumerate(units, start=1):
        for i in range(1, count + 1):
            strided = i == count and stage < len(units) if stride_in_last_unit else i == 1 and stage > 1
            name = f"conv{stage + 1}_block{i}"
            x = unit(x, Place(name, width * 2 ** (stage - 1), 1 + strided, next(joins), first=stage == i == 1))
        net.stage(f"stage{stage}", x)
    return x
