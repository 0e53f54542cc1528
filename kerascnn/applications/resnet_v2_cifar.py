"""Residual networks with full pre-activation for CIFAR-10 (He et al. 2016, Identity Mappings, arXiv:1603.05027)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras

from kerascnn.applications._preactivation import Basic, Bottleneck
from kerascnn.applications._residual import Unit, stages
from kerascnn.building.blocks import bn_relu, conv
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = ["resnet110_v2_cifar", "resnet164_v2_cifar", "resnet1001_v2_cifar"]


@builder
def resnet110_v2_cifar(
    *,
    shortcut: Literal["A", "B"] | None = None,
    stem: Literal["paper", "pytorchcv"] | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Build pre-activation ResNet-110 (Table 3), of basic units, 10 classes unless `classes` says otherwise.

    Args:
        shortcut: "B" (the default) widens a shortcut with a projection, as in pytorchcv; "A" with channels of zeros
            around the activated map, as fb.resnet.torch does for CIFAR (opts.lua, line 80; models/preresnet.lua, line
            36), which the paper's code is made of. The paper does not say which of them its ResNet-110 has.
        stem: "paper" (the default) activates once right after conv1, before the split into branch and shortcut
            (appendix); "pytorchcv" in the first unit's branch.
        **options: See `ResidualOptions`.
    """
    choices = {"shortcut": Choice(shortcut, "B", ("A", "B")), "stem": Choice(stem, "paper", ("paper", "pytorchcv"))}
    net = Network("resnet110_v2_cifar", options, choices)
    activated = net.choices["stem"] == "paper"
    return _resnet(net, (110 - 2) // 6, Basic(activated, net.choices["shortcut"]), activated)


@builder
def resnet164_v2_cifar(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build pre-activation ResNet-164 (Table 3), of bottleneck units, 10 classes unless `classes` says otherwise.

    Args:
        stride_in_1x1: True (the default) puts a unit's stride on its first 1x1 convolution, as in the authors' code
            (github.com/KaimingHe/resnet-1k-layers, resnet-pre-act.lua, lines 43 and 70); False on its 3x3, as in
            `resnet50_v2` and pytorchcv: the same weights, 1 % more work.
        **options: See `ResidualOptions`.
    """
    return _bottlenecks("resnet164_v2_cifar", 164, options, stride_in_1x1)


@builder
def resnet1001_v2_cifar(*, stride_in_1x1: bool | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build pre-activation ResNet-1001 (Table 4). Options as for `resnet164_v2_cifar`.

    Building it takes many seconds, and loading a saved one `sys.setrecursionlimit(10_000)` before.
    """
    return _bottlenecks("resnet1001_v2_cifar", 1001, options, stride_in_1x1)


def _bottlenecks(name: str, depth: int, options: ResidualOptions, stride_in_1x1: bool | None) -> keras.Model:
    net = Network(name, options, {"stride_in_1x1": Choice(stride_in_1x1, True)})
    return _resnet(net, (depth - 2) // 9, Bottleneck(True, net.choices["stride_in_1x1"]), activated=True)


def _resnet(net: Network, units: int, unit: Unit, activated: bool) -> keras.Model:
    """Build a 3x3 convolution, three stages of so many units, BN and ReLU after the last sum."""
    x = conv(net.input, 16, 3, padding=1, use_bias=False, activation=None, name="conv1_conv")
    if activated:
        x = bn_relu(x, name="conv1")
    x = stages(net, net.stage("stem", x), [units] * 3, unit, width=16)
    return pooled(net, net.stage("stage3", bn_relu(x, name="post")))
