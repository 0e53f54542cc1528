"""ResNeXt-29 for CIFAR-10 (Xie et al. 2016, arXiv:1611.05431, section 5.3)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._residual import stages
from kerascnn.applications.resnext import aggregated
from kerascnn.building.blocks import conv_bn_relu
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder

__all__ = ["resnext29_8x64d_cifar", "resnext29_16x64d_cifar"]


@builder
def resnext29_8x64d_cifar(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-29 of cardinality 8, 64 channels a group, 10 classes unless `classes` says otherwise.

    Its units are those of the ImageNet networks, as in the authors' code. The paper's CIFAR results are of
    pre-activated ones, of which that code's page says that they do worse.

    Options: `ResidualOptions`.
    """
    return _resnext("resnext29_8x64d_cifar", 8, options)


@builder
def resnext29_16x64d_cifar(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNeXt-29 of cardinality 16, 64 channels a group. The rest as for `resnext29_8x64d_cifar`."""
    return _resnext("resnext29_16x64d_cifar", 16, options)


def _resnext(name: str, cardinality: int, options: ResidualOptions) -> keras.Model:
    """Build a 3x3 convolution and three stages of three units, of 64, 128 and 256 channels a group."""
    net = Network(name, options)
    x = net.stage("stem", conv_bn_relu(net.input, 64, 3, padding=1, name="conv1"))
    return pooled(net, stages(net, x, (3, 3, 3), aggregated(cardinality, 64)))
