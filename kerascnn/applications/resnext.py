"""ResNeXt: aggregated residual transformations (Xie et al. 2016, arXiv:1611.05431)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._residual import Bottleneck, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder

__all__ = ["resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"]


@builder
def resnext50_32x4d(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-50 of cardinality 32, 4 channels a group (Table 1). Options: `ResidualOptions`."""
    return _resnext("resnext50_32x4d", 50, 32, 4, options)


@builder
def resnext101_32x4d(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-101 of cardinality 32, 4 channels a group (Table 3). Options: `ResidualOptions`."""
    return _resnext("resnext101_32x4d", 101, 32, 4, options)


@builder
def resnext101_32x8d(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-101 of cardinality 32, 8 channels a group, as torchvision made it. Options: `ResidualOptions`."""
    return _resnext("resnext101_32x8d", 101, 32, 8, options)


@builder
def resnext101_64x4d(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-101 of cardinality 64, 4 channels a group (Table 4). Options: `ResidualOptions`."""
    return _resnext("resnext101_64x4d", 101, 64, 4, options)


def _resnext(name: str, depth: int, cardinality: int, group_width: int, options: ResidualOptions) -> keras.Model:
    return resnet(Network(name, options), depth, aggregated(cardinality, group_width))


def aggregated(cardinality: int, group_width: int) -> Bottleneck:
    """Return form (c) of Figure 3, one grouped convolution; `group_width` is conv2_x's and doubles with the stages."""
    # The stride is on the 3x3, as in the authors' Torch network.
    inner = cardinality * group_width // 64
    return Bottleneck((inner, inner, 4), groups=cardinality)
