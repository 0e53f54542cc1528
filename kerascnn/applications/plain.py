"""The plain networks that ResNet is compared with on ImageNet (He et al. 2015, arXiv:1512.03385, section 4.1)."""

from __future__ import annotations

from typing import Literal, Unpack

import keras

from kerascnn.applications._residual import Basic, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["plain18", "plain34"]


@builder
def plain18(*, pool_padding: Literal[0, 1] | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-18 without its shortcuts. Options: `ModelOptions`, and `pool_padding` as for `resnet50`."""
    return _plain("plain18", 18, options, pool_padding)


@builder
def plain34(*, pool_padding: Literal[0, 1] | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-34 without its shortcuts. Options: `ModelOptions`, and `pool_padding` as for `resnet50`."""
    return _plain("plain34", 34, options, pool_padding)


def _plain(name: str, depth: int, options: ModelOptions, pool_padding: Literal[0, 1] | None) -> keras.Model:
    net = Network(name, options, {"pool_padding": Choice(pool_padding, 0, (0, 1))})
    return resnet(net, depth, Basic(shortcut=None))
