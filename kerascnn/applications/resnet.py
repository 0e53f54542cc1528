"""Residual networks for ImageNet (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.blocks import add, conv_bn_relu, max_pool
from kerascnn.building import ModelOptions, Network
from kerascnn.registry import register

# residual units in conv2_x, conv3_x, conv4_x, conv5_x, Table 1
DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}


@register
def resnet18(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-18 with projection shortcuts where the shape changes (option B). Options: `ModelOptions`."""
    return _basic("resnet18", options)


@register
def resnet34(**options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-34 with projection shortcuts where the shape changes (option B). Options: `ModelOptions`."""
    return _basic("resnet34", options)


@register
def resnet50(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-50 (Table 1).

    Args:
        stride_in_1x1: True puts a unit's stride on its first 1x1 convolution, as in the paper (the default); False on
            its 3x3, as in torchvision (ResNet v1.5): the same weights, 6 % more work.
        **options: see `kerascnn.building.ModelOptions`.
    """
    return _bottleneck("resnet50", options, stride_in_1x1)


@register
def resnet101(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-101 (Table 1). Options as for `resnet50`."""
    return _bottleneck("resnet101", options, stride_in_1x1)


@register
def resnet152(*, stride_in_1x1: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """ResNet-152 (Table 1). Options as for `resnet50`."""
    return _bottleneck("resnet152", options, stride_in_1x1)


def _basic(name: str, options: ModelOptions) -> keras.Model:
    net = Network(name, options)

    def unit(x: KerasTensor, width: int, strides: int, name: str) -> KerasTensor:
        y = conv_bn_relu(x, width, 3, strides=strides, padding=1, name=f"{name}_1")
        y = conv_bn_relu(y, width, 3, padding=1, relu=False, name=f"{name}_2")
        return _join(x, y, strides, name)

    return _stages(net, unit)


def _bottleneck(name: str, options: ModelOptions, stride_in_1x1: bool | None) -> keras.Model:
    net = Network(name, options, {"stride_in_1x1": (stride_in_1x1, True, (True, False))})
    early = net.choices["stride_in_1x1"]

    def unit(x: KerasTensor, width: int, strides: int, name: str) -> KerasTensor:
        y = conv_bn_relu(x, width, 1, strides=strides if early else 1, name=f"{name}_1")
        y = conv_bn_relu(y, width, 3, strides=1 if early else strides, padding=1, name=f"{name}_2")
        y = conv_bn_relu(y, 4 * width, 1, relu=False, name=f"{name}_3")
        return _join(x, y, strides, name)

    return _stages(net, unit)


def _join(x: KerasTensor, y: KerasTensor, strides: int, name: str) -> KerasTensor:
    if x.shape[-1] != y.shape[-1] or strides > 1:
        x = conv_bn_relu(x, y.shape[-1], 1, strides=strides, relu=False, name=f"{name}_0")
    return layers.Activation("relu", name=f"{name}_out")(add(x, y, name=f"{name}_add"))


def _stages(net: Network, unit: Callable[[KerasTensor, int, int, str], KerasTensor]) -> keras.Model:
    x = net.stage("stem", conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1"))
    x = max_pool(x, 3, 2, padding=1, name="pool1")
    for stage, depth in enumerate(DEPTHS[net.variant.name], start=1):
        for i in range(1, depth + 1):
            strides = 2 if stage > 1 and i == 1 else 1
            x = unit(x, 32 * 2**stage, strides, f"conv{stage + 1}_block{i}")
        net.stage(f"stage{stage}", x)
    return net.classifier(x)
