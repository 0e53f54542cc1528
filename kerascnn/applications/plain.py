"""The plain networks that ResNet is compared with on ImageNet (He et al. 2015, arXiv:1512.03385, section 4.1)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._residual import Basic, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder

__all__ = ["plain18", "plain34"]


@builder
def plain18(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-18 without its shortcuts. Options: `ModelOptions`."""
    return resnet(Network("plain18", options), 18, Basic(shortcut=None))


@builder
def plain34(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-34 without its shortcuts. Options: `ModelOptions`."""
    return resnet(Network("plain34", options), 34, Basic(shortcut=None))
