"""The plain networks that ResNet is compared with on CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications.resnet_cifar import stack
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder

__all__ = ["plain20_cifar", "plain32_cifar", "plain44_cifar", "plain56_cifar", "plain110_cifar"]


@builder
def plain20_cifar(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-20 without its shortcuts. Options: `ModelOptions`."""
    return stack(Network("plain20_cifar", options), 20, None)


@builder
def plain32_cifar(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-32 without its shortcuts. Options: `ModelOptions`."""
    return stack(Network("plain32_cifar", options), 32, None)


@builder
def plain44_cifar(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-44 without its shortcuts. Options: `ModelOptions`."""
    return stack(Network("plain44_cifar", options), 44, None)


@builder
def plain56_cifar(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-56 without its shortcuts. Options: `ModelOptions`."""
    return stack(Network("plain56_cifar", options), 56, None)


@builder
def plain110_cifar(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build ResNet-110 without its shortcuts. Options: `ModelOptions`."""
    return stack(Network("plain110_cifar", options), 110, None)
