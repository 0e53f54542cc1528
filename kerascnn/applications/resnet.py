"""Residual networks for ImageNet (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras

from kerascnn.applications._residual import Basic, Bottleneck, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

Widening = Literal["A", "B"] | None
Padding = Literal[0, 1] | None


@builder
def resnet18(
    *, shortcut: Widening = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-18 (Table 1).

    Args:
        shortcut: "B" (the default) projects where the shape changes, as in the authors' deeper networks and all public
            weights; "A" widens with channels of zeros, without weights, as in Table 2.
        pool_padding: As for `resnet50`. The authors published no file of this network.
        **options: See `ResidualOptions`.
    """
    return _basics("resnet18", 18, options, shortcut, pool_padding)


@builder
def resnet34(
    *, shortcut: Widening = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-34 (Table 1). Options as for `resnet18`; Table 3 has it with either shortcut."""
    return _basics("resnet34", 34, options, shortcut, pool_padding)


@builder
def resnet50(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-50 (Table 1).

    Args:
        stride_in_1x1: True puts a unit's stride on its first 1x1 convolution, as in the paper (the default); False on
            its 3x3, as in torchvision (ResNet v1.5): the same weights, 6 % more work.
        pool_padding: Zeros around the map before the stem's pooling: 0 as in the authors' Caffe network, whose last
            window reaches over the far edge instead (the default; github.com/KaimingHe/deep-residual-networks,
            prototxt/ResNet-50-deploy.prototxt, lines 48 to 58); 1 as in torchvision, timm and keras.applications.
        **options: See `ResidualOptions`.
    """
    return _bottlenecks("resnet50", 50, options, stride_in_1x1, pool_padding)


@builder
def resnet101(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-101 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet101", 101, options, stride_in_1x1, pool_padding)


@builder
def resnet152(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build ResNet-152 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet152", 152, options, stride_in_1x1, pool_padding)


def _basics(name: str, depth: int, options: ResidualOptions, shortcut: Widening, pool_padding: Padding) -> keras.Model:
    choices = {"shortcut": Choice(shortcut, "B", ("A", "B")), "pool_padding": Choice(pool_padding, 0, (0, 1))}
    net = Network(name, options, choices)
    return resnet(net, depth, Basic(net.choices["shortcut"]))


def _bottlenecks(
    name: str, depth: int, options: ResidualOptions, stride_in_1x1: bool | None, pool_padding: Padding
) -> keras.Model:
    choices = {"stride_in_1x1": Choice(stride_in_1x1, True), "pool_padding": Choice(pool_padding, 0, (0, 1))}
    net = Network(name, options, choices)
    return resnet(net, depth, Bottleneck(stride_in_1x1=net.choices["stride_in_1x1"]))
