"""Residual networks with full pre-activation (He et al. 2016, Identity Mappings, arXiv:1603.05027)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._preactivation import Basic, Bottleneck
from kerascnn.applications._residual import UNITS, Unit, stages
from kerascnn.building.blocks import DATA_FORMAT, bn_relu, conv, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = ["resnet18_v2", "resnet34_v2", "resnet50_v2", "resnet101_v2", "resnet152_v2", "resnet200_v2"]

Stem = Literal["paper", "timm", "keras", "pytorchcv"] | None


@builder
def resnet18_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build pre-activation ResNet-18. `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet18_v2", 18, options, stem)


@builder
def resnet34_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build pre-activation ResNet-34. `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet34_v2", 34, options, stem)


@builder
def resnet50_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Build pre-activation ResNet-50.

    The stages that `features=` gives are sums, not yet activated, but for the last.

    Args:
        stem: Where the first activation (BN and ReLU) is, and how the pooling before it pads.
            "paper" (the default): right after conv1, before the pooling and the split into branch and shortcut, as the
            paper's appendix says and the ImageNet network of fb.resnet.torch, its code's base, has it.
            "timm": in the first unit, after pooling whose padding never wins; a unit without projection (18 and 34
            layers) takes its shortcut before it.
            "keras": as "timm", but zeros around the map take part in the pooling.
            "pytorchcv": both after conv1 and in the first unit.
        stride_in_last_unit: False strides in the first unit of stages 2 to 4, as in the paper (the default); True in
            the last unit of stages 1 to 3, as in keras.applications.
        conv_bias: False for convolutions without bias (the default); True for biases on conv1, the last convolution of
            each unit and the projections, as in keras.applications.
        **options: See `ResidualOptions`.
    """
    return _resnet_v2("resnet50_v2", 50, options, stem, stride_in_last_unit=stride_in_last_unit, conv_bias=conv_bias)


@builder
def resnet101_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Build pre-activation ResNet-101. Options as for `resnet50_v2`."""
    return _resnet_v2("resnet101_v2", 101, options, stem, stride_in_last_unit=stride_in_last_unit, conv_bias=conv_bias)


@builder
def resnet152_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Build pre-activation ResNet-152. Options as for `resnet50_v2`."""
    return _resnet_v2("resnet152_v2", 152, options, stem, stride_in_last_unit=stride_in_last_unit, conv_bias=conv_bias)


@builder
def resnet200_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build pre-activation ResNet-200 (Table 5). `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet200_v2", 200, options, stem)


def _resnet_v2(name: str, depth: int, options: ResidualOptions, stem: Stem, **flags: bool | None) -> keras.Model:
    """Build stem, four stages of units, BN and ReLU after the last sum, and the classifier."""
    choices = {option: Choice(given, False) for option, given in flags.items()}
    net = Network(name, options, {"stem": Choice(stem, "paper", ("paper", "timm", "keras", "pytorchcv")), **choices})
    bias = net.choices.get("conv_bias", False)
    activated = net.choices["stem"] == "paper"  # the stem has activated already what the first unit takes
    unit: Unit = Basic(activated) if depth < 50 else Bottleneck(activated, bias=bias)
    late = net.choices.get("stride_in_last_unit", False)
    x = stages(net, _stem(net, bias), UNITS.get(depth, (3, 24, 36, 3)), unit, stride_in_last_unit=late)
    return pooled(net, net.stage("stage4", bn_relu(x, name="post")))


def _stem(net: Network, bias: bool) -> KerasTensor:
    stem = net.choices["stem"]
    x = conv(net.input, 64, 7, strides=2, padding=3, use_bias=bias, activation=None, name="conv1_conv")
    if stem in ("paper", "pytorchcv"):
        x = bn_relu(x, name="conv1")
    net.stage("stem", x)
    if stem != "timm":
        return max_pool(x, 3, 2, padding=1, name="pool1")
    # The map has negative values: every window around a pixel, of which "same" pads none with zeros, then every second.
    x = layers.MaxPooling2D(3, 1, padding="same", data_format=DATA_FORMAT, name="pool1_max")(x)
    return layers.MaxPooling2D(1, 2, data_format=DATA_FORMAT, name="pool1")(x)
