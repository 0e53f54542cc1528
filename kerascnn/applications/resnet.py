"""Residual networks for ImageNet, and the plain ones beside them (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from functools import partial
from typing import Literal, Unpack

import keras
from keras import KerasTensor

from kerascnn.applications._residual import basic, bottleneck, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, ResidualOptions, builder
from kerascnn.layers.stochastic_depth import Join

Widening = Literal["A", "B"] | None


@builder
def resnet18(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-18 (Table 1).

    Args:
        shortcut: "B" (the default) projects where the shape changes, as in the authors' deeper networks and all public
            weights; "A" widens with channels of zeros, without weights, as in Table 2.
        **options: see `ResidualOptions`.
    """
    return _basics("resnet18", 18, options, shortcut)


@builder
def resnet34(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-34 (Table 1). Options as for `resnet18`; Table 3 has it with either shortcut."""
    return _basics("resnet34", 34, options, shortcut)


@builder
def plain18(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-18 without its shortcuts (section 4.1). Options: `ModelOptions`."""
    return resnet(Network("plain18", options), 18, partial(basic, shortcut=None))


@builder
def plain34(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-34 without its shortcuts (section 4.1). Options: `ModelOptions`."""
    return resnet(Network("plain34", options), 34, partial(basic, shortcut=None))


@builder
def resnet50(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-50 (Table 1).

    Args:
        stride_in_1x1: True puts a unit's stride on its first 1x1 convolution, as in the paper (the default); False on
            its 3x3, as in torchvision (ResNet v1.5): the same weights, 6 % more work.
        **options: see `ResidualOptions`.
    """
    return _bottlenecks("resnet50", 50, options, stride_in_1x1)


@builder
def resnet101(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-101 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet101", 101, options, stride_in_1x1)


@builder
def resnet152(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-152 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet152", 152, options, stride_in_1x1)


def _basics(name: str, depth: int, options: ResidualOptions, shortcut: Widening) -> keras.Model:
    net = Network(name, options, {"shortcut": (shortcut, "B", ("A", "B"))})
    return resnet(net, depth, partial(basic, shortcut=net.choices["shortcut"]))


def _bottlenecks(name: str, depth: int, options: ResidualOptions, stride_in_1x1: bool | None) -> keras.Model:
    net = Network(name, options, {"stride_in_1x1": (stride_in_1x1, True, (True, False))})

    def unit(x: KerasTensor, width: int, strides: int, name: str, join: Join) -> KerasTensor:
        widths = (width, width, 4 * width)
        return bottleneck(x, widths, strides, name, join, stride_in_1x1=net.choices["stride_in_1x1"])

    return resnet(net, depth, unit)
