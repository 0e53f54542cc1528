"""Residual networks for ImageNet (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor

from kerascnn.applications._residual import basic, bottleneck, resnet
from kerascnn.building import ModelOptions, Network
from kerascnn.registry import register


@register
def resnet18(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-18 with projection shortcuts where the shape changes (option B). Options: `ModelOptions`."""
    return resnet(Network("resnet18", options), 18, basic)


@register
def resnet34(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-34 with projection shortcuts where the shape changes (option B). Options: `ModelOptions`."""
    return resnet(Network("resnet34", options), 34, basic)


@register
def resnet50(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-50 (Table 1).

    Args:
        stride_in_1x1: True puts a unit's stride on its first 1x1 convolution, as in the paper (the default); False on
            its 3x3, as in torchvision (ResNet v1.5): the same weights, 6 % more work.
        **options: see `kerascnn.building.ModelOptions`.
    """
    return _bottlenecks("resnet50", 50, options, stride_in_1x1)


@register
def resnet101(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-101 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet101", 101, options, stride_in_1x1)


@register
def resnet152(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-152 (Table 1). Options as for `resnet50`."""
    return _bottlenecks("resnet152", 152, options, stride_in_1x1)


def _bottlenecks(name: str, depth: int, options: ModelOptions, stride_in_1x1: bool | None) -> keras.Model:
    net = Network(name, options, {"stride_in_1x1": (stride_in_1x1, True, (True, False))})

    def unit(x: KerasTensor, width: int, strides: int, name: str) -> KerasTensor:
        widths = (width, width, 4 * width)
        return bottleneck(x, widths, strides, name, stride_in_1x1=net.choices["stride_in_1x1"])

    return resnet(net, depth, unit)
