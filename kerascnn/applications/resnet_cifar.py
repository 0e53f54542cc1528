"""Residual networks for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras

from kerascnn.applications._residual import Basic, Bottleneck, Shortcut, stages
from kerascnn.building.blocks import conv_bn_relu
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = [
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet44_cifar",
    "resnet56_cifar",
    "resnet110_cifar",
    "resnet164_cifar",
    "resnet1202_cifar",
]

Widening = Literal["A", "B"] | None


@builder
def resnet20_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-20 for images of 32x32, 10 classes unless `classes` says otherwise.

    Args:
        shortcut: "A" (the paper's, the default) widens a shortcut with channels of zeros, without weights; "B" with a
            projection.
        **options: See `ResidualOptions`.
    """
    return _resnet("resnet20_cifar", 20, options, shortcut)


@builder
def resnet32_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-32. Options as for `resnet20_cifar`."""
    return _resnet("resnet32_cifar", 32, options, shortcut)


@builder
def resnet44_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-44. Options as for `resnet20_cifar`."""
    return _resnet("resnet44_cifar", 44, options, shortcut)


@builder
def resnet56_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-56. Options as for `resnet20_cifar`."""
    return _resnet("resnet56_cifar", 56, options, shortcut)


@builder
def resnet110_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-110. Options as for `resnet20_cifar`."""
    return _resnet("resnet110_cifar", 110, options, shortcut)


@builder
def resnet164_cifar(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-164 of bottleneck units, with which Identity Mappings (arXiv:1603.05027, Table 3) compares its own.

    Args:
        stride_in_1x1: True (the default) puts a unit's stride on its first 1x1 convolution, as in `resnet50` and in the
            authors' `resnet164_v2_cifar`; False on its 3x3, as in pytorchcv: the same weights, 1 % more work.
        **options: See `ResidualOptions`.
    """
    net = Network("resnet164_cifar", options, {"stride_in_1x1": Choice(stride_in_1x1, True)})
    x = net.stage("stem", conv_bn_relu(net.input, 16, 3, padding=1, name="conv1"))
    return pooled(net, stages(net, x, (18, 18, 18), Bottleneck(stride_in_1x1=net.choices["stride_in_1x1"]), width=16))


@builder
def resnet1202_cifar(*, shortcut: Widening = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-1202. Options as for `resnet20_cifar`.

    Building it takes many seconds, and loading a saved one `sys.setrecursionlimit(10_000)` before.
    """
    return _resnet("resnet1202_cifar", 1202, options, shortcut)


def _resnet(name: str, depth: int, options: ResidualOptions, shortcut: Widening) -> keras.Model:
    net = Network(name, options, {"shortcut": Choice(shortcut, "A", ("A", "B"))})
    return stack(net, depth, net.choices["shortcut"])


def stack(net: Network, depth: int, shortcut: Shortcut) -> keras.Model:
    """Build a 3x3 convolution, then 2n layers each on maps of 32, 16 and 8 pixels: 6n + 2 with the classifier."""
    x = net.stage("stem", conv_bn_relu(net.input, 16, 3, padding=1, name="conv1"))
    return pooled(net, stages(net, x, [(depth - 2) // 6] * 3, Basic(shortcut), width=16))
