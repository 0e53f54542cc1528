"""Wide residual networks for ImageNet (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._residual import Bottleneck, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder

__all__ = ["wide_resnet50_2", "wide_resnet101_2"]

# The stride is on the 3x3, as in the authors' Torch network, which like this one is not pre-activated.
WIDE = Bottleneck((2, 2, 4))


@builder
def wide_resnet50_2(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build WRN-50-2-bottleneck: ResNet-50 with the inner width doubled. Options: `ResidualOptions`."""
    return resnet(Network("wide_resnet50_2", options), 50, WIDE)


@builder
def wide_resnet101_2(**options: Unpack[ResidualOptions]) -> keras.Model:
    """Build ResNet-101 with the inner width doubled, as torchvision made it; not in the paper.

    Options: `ResidualOptions`.
    """
    return resnet(Network("wide_resnet101_2", options), 101, WIDE)
