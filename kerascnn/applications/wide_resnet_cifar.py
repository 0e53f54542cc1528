"""Wide residual networks for CIFAR-10 (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._preactivation import Basic
from kerascnn.applications._residual import stages
from kerascnn.building.blocks import bn_relu, conv
from kerascnn.building.head import dropout_rate, pooled
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder

__all__ = [
    "wide_resnet16_4_cifar",
    "wide_resnet16_8_cifar",
    "wide_resnet28_10_cifar",
    "wide_resnet40_4_cifar",
    "wide_resnet40_10_cifar",
]


@builder
def wide_resnet16_4_cifar(*, dropout: float = 0.0, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-16-4 (Table 1): 16 layers, 4 times as wide, 10 classes unless `classes` says otherwise.

    Args:
        dropout: The rate of dropout between the convolutions of each unit (section 2.4), 0 by default; the paper uses
            0.3 where it has any on CIFAR.
        **options: See `ResidualOptions`.
    """
    return _wide_resnet("wide_resnet16_4_cifar", 16, 4, options, dropout)


@builder
def wide_resnet40_4_cifar(*, dropout: float = 0.0, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-40-4. Options as for `wide_resnet16_4_cifar`."""
    return _wide_resnet("wide_resnet40_4_cifar", 40, 4, options, dropout)


@builder
def wide_resnet16_8_cifar(*, dropout: float = 0.0, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-16-8. Options as for `wide_resnet16_4_cifar`."""
    return _wide_resnet("wide_resnet16_8_cifar", 16, 8, options, dropout)


@builder
def wide_resnet28_10_cifar(*, dropout: float = 0.0, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-28-10. Options as for `wide_resnet16_4_cifar`."""
    return _wide_resnet("wide_resnet28_10_cifar", 28, 10, options, dropout)


@builder
def wide_resnet40_10_cifar(*, dropout: float = 0.0, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-40-10, which the authors trained with dropout. Options as for `wide_resnet16_4_cifar`."""
    return _wide_resnet("wide_resnet40_10_cifar", 40, 10, options, dropout)


def _wide_resnet(name: str, depth: int, factor: int, options: ResidualOptions, dropout: float) -> keras.Model:
    """Build Table 1: 3x3 convolution, three stages of (depth - 4) / 6 units B(3, 3), BN and ReLU after the last sum."""
    net = Network(name, options)
    x = conv(net.input, 16, 3, padding=1, use_bias=False, activation=None, name="conv1_conv")
    unit = Basic(dropout=dropout_rate(name, dropout))
    x = stages(net, net.stage("stem", x), [(depth - 4) // 6] * 3, unit, width=16 * factor)
    return pooled(net, net.stage("stage3", bn_relu(x, name="post")))
