"""Squeeze-and-excitation networks (Hu, Shen & Sun 2017, arXiv:1709.01507)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._residual import UNITS, Basic, Bottleneck, Unit, first_pool, stages
from kerascnn.building.blocks import DATA_FORMAT, conv, conv_bn_relu
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = [
    "senet154",
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnext50_32x4d",
    "seresnext101_32x4d",
]

Padding = Literal[0, 1] | None

REDUCTION = 16  # r, the ratio of all the paper's models


@builder
def seresnet18(*, relu_before_se: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build SE-ResNet-18, which is not in the paper: its module in ResNet-18.

    Args:
        relu_before_se: False squeezes the sum's branch as it is, as the paper's Figure 3 and its Caffe networks do (the
            default); True after a ReLU, as in timm's `legacy_seresnet18` and `legacy_seresnet34`.
        **options: See `ResidualOptions`.
    """
    return _se_basic("seresnet18", 18, options, relu_before_se)


@builder
def seresnet34(*, relu_before_se: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build SE-ResNet-34, which is not in the paper: its module in ResNet-34. Options as for `seresnet18`."""
    return _se_basic("seresnet34", 34, options, relu_before_se)


@builder
def seresnet50(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build SE-ResNet-50 (Table 1).

    Args:
        stride_in_1x1: True puts a unit's stride on its first 1x1 convolution, as in the authors' Caffe network (the
            default); False on its 3x3, as in timm's `seresnet50`.
        pool_padding: Zeros around the map before the stem's pooling: 0 as in the authors' Caffe network, whose last
            window reaches over the far edge instead (the default); 1 as in timm's `seresnet50`.
        **options: See `ResidualOptions`.
    """
    return _se_resnet("seresnet50", 50, options, stride_in_1x1, pool_padding)


@builder
def seresnet101(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build SE-ResNet-101. Options as for `seresnet50`."""
    return _se_resnet("seresnet101", 101, options, stride_in_1x1, pool_padding)


@builder
def seresnet152(
    *, stride_in_1x1: bool | None = None, pool_padding: Padding = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Build SE-ResNet-152. Options as for `seresnet50`."""
    return _se_resnet("seresnet152", 152, options, stride_in_1x1, pool_padding)


@builder
def seresnext50_32x4d(*, pool_padding: Padding = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build SE-ResNeXt-50 32x4d (Table 1), strides on the 3x3. `pool_padding` as for `seresnet50`."""
    return _se_resnext("seresnext50_32x4d", 50, options, pool_padding)


@builder
def seresnext101_32x4d(*, pool_padding: Padding = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build SE-ResNeXt-101 32x4d, strides on the 3x3. `pool_padding` as for `seresnet50`."""
    return _se_resnext("seresnext101_32x4d", 101, options, pool_padding)


@builder
def senet154(*, pool_padding: Padding = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build SENet-154 (appendix): a 64x4d SE-ResNeXt-152, altered. `pool_padding` as for `seresnet50`.

    Three 3x3 convolutions are the stem, the first 1x1 convolution of a unit has half the width, 3x3 convolutions are
    the strided projections, and dropout of 0.2 is before the classifier.
    """
    net = Network("senet154", options, {"pool_padding": Choice(pool_padding, 0, (0, 1))})
    unit = Bottleneck((2, 4, 4), groups=64, shortcut_kernel=3, attention=squeeze_excite)
    x = conv_bn_relu(net.input, 64, 3, strides=2, padding=1, name="conv1_1")
    x = conv_bn_relu(x, 64, 3, padding=1, name="conv1_2")
    x = conv_bn_relu(x, 128, 3, padding=1, name="conv1_3")
    return _finish(net, x, 152, unit, dropout=0.2)


def squeeze_excite(x: KerasTensor, name: str) -> KerasTensor:
    """Scale each channel by what the averages of all channels say of it (section 3, Figure 3)."""
    y = layers.GlobalAveragePooling2D(keepdims=True, data_format=DATA_FORMAT, name=f"{name}_se_pool")(x)
    y = conv(y, x.shape[-1] // REDUCTION, 1, name=f"{name}_se_down")
    y = conv(y, x.shape[-1], 1, activation="sigmoid", name=f"{name}_se_up")
    return layers.Multiply(name=f"{name}_se_scale")([x, y])


def _se_basic(name: str, depth: int, options: ResidualOptions, relu_before_se: bool | None) -> keras.Model:
    net = Network(name, options, {"relu_before_se": Choice(relu_before_se, False)})

    def attention(x: KerasTensor, name: str) -> KerasTensor:
        if net.choices["relu_before_se"]:
            x = layers.Activation("relu", name=f"{name}_2_relu")(x)
        return squeeze_excite(x, name)

    return _se_network(net, depth, Basic(attention=attention))


def _se_resnet(
    name: str, depth: int, options: ResidualOptions, stride_in_1x1: bool | None, pool_padding: Padding
) -> keras.Model:
    choices = {"pool_padding": Choice(pool_padding, 0, (0, 1)), "stride_in_1x1": Choice(stride_in_1x1, True)}
    net = Network(name, options, choices)
    return _se_network(net, depth, Bottleneck(stride_in_1x1=net.choices["stride_in_1x1"], attention=squeeze_excite))


def _se_resnext(name: str, depth: int, options: ResidualOptions, pool_padding: Padding) -> keras.Model:
    net = Network(name, options, {"pool_padding": Choice(pool_padding, 0, (0, 1))})
    return _se_network(net, depth, Bottleneck((2, 2, 4), groups=32, attention=squeeze_excite))


def _se_network(net: Network, depth: int, unit: Unit) -> keras.Model:
    return _finish(net, conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1"), depth, unit)


def _finish(net: Network, x: KerasTensor, depth: int, unit: Unit, dropout: float = 0.0) -> keras.Model:
    net.stage("stem", x)
    return pooled(net, stages(net, first_pool(net, x), UNITS[depth], unit), dropout)
