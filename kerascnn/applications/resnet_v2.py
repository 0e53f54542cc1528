"""Residual networks with full pre-activation (He et al. 2016, Identity Mappings, arXiv:1603.05027)."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._preactivation import basic, bottleneck
from kerascnn.applications._residual import UNITS
from kerascnn.building.blocks import bn_relu, conv, max_pool
from kerascnn.building.network import DATA_FORMAT, Network
from kerascnn.building.options import ResidualOptions, builder

Stem = Literal["paper", "timm", "keras", "pytorchcv"] | None


@builder
def resnet18_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Pre-activation ResNet-18. `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet18_v2", UNITS[18], options, stem)


@builder
def resnet34_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Pre-activation ResNet-34. `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet34_v2", UNITS[34], options, stem)


@builder
def resnet50_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Pre-activation ResNet-50.

    The stages that `features=` gives are sums, not yet activated, but for the last.

    Args:
        stem: where the first activation (BN and ReLU) is, and how the pooling before it pads.
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
        **options: see `ResidualOptions`.
    """
    return _resnet_v2("resnet50_v2", UNITS[50], options, stem, stride_in_last_unit, conv_bias)


@builder
def resnet101_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Pre-activation ResNet-101. Options as for `resnet50_v2`."""
    return _resnet_v2("resnet101_v2", UNITS[101], options, stem, stride_in_last_unit, conv_bias)


@builder
def resnet152_v2(
    *,
    stem: Stem = None,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Pre-activation ResNet-152. Options as for `resnet50_v2`."""
    return _resnet_v2("resnet152_v2", UNITS[152], options, stem, stride_in_last_unit, conv_bias)


@builder
def resnet200_v2(*, stem: Stem = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Pre-activation ResNet-200 (Table 5). `stem` and the rest as for `resnet50_v2`."""
    return _resnet_v2("resnet200_v2", (3, 24, 36, 3), options, stem)


def _resnet_v2(
    name: str,
    units: tuple[int, int, int, int],
    options: ResidualOptions,
    stem: Stem,
    stride_in_last_unit: bool | None = None,
    conv_bias: bool | None = None,
) -> keras.Model:
    choices: dict[str, Any] = {"stem": (stem, "paper", ("paper", "timm", "keras", "pytorchcv"))}
    if name in ("resnet50_v2", "resnet101_v2", "resnet152_v2"):
        choices["stride_in_last_unit"] = (stride_in_last_unit, False, (True, False))
        choices["conv_bias"] = (conv_bias, False, (True, False))
    net = Network(name, options, choices)
    late = net.choices.get("stride_in_last_unit", False)
    bias = net.choices.get("conv_bias", False)
    x = _stem(net, bias)
    join = net.join(sum(units))
    for stage, count in enumerate(units, start=1):
        for i in range(1, count + 1):
            strides = 2 if (i == count and stage < 4 if late else i == 1 and stage > 1) else 1
            # "paper": the stem has activated already what the first unit takes
            activate = not (stage == i == 1 and net.choices["stem"] == "paper")
            width, block = 32 * 2**stage, f"conv{stage + 1}_block{i}"
            if name in ("resnet18_v2", "resnet34_v2"):
                x = basic(x, width, strides, block, join, activate=activate)
            else:
                x = bottleneck(x, width, strides, block, join, activate=activate, bias=bias)
        if stage < 4:
            net.stage(f"stage{stage}", x)
    return net.classifier(net.stage("stage4", bn_relu(x, name="post")))


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
