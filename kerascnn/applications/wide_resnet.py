"""Wide residual networks for ImageNet (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor

from kerascnn.applications._residual import bottleneck, resnet
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder
from kerascnn.layers.stochastic_depth import Join


@builder
def wide_resnet50_2(**options: Unpack[ResidualOptions]) -> keras.Model:
    """WRN-50-2-bottleneck: ResNet-50 with the inner width doubled. Options: `ResidualOptions`."""
    return _wide_resnet("wide_resnet50_2", 50, 2, options)


@builder
def wide_resnet101_2(**options: Unpack[ResidualOptions]) -> keras.Model:
    """ResNet-101 with the inner width doubled, as torchvision made it; not in the paper. Options: `ResidualOptions`."""
    return _wide_resnet("wide_resnet101_2", 101, 2, options)


def _wide_resnet(name: str, depth: int, factor: int, options: ResidualOptions) -> keras.Model:
    def unit(x: KerasTensor, width: int, strides: int, name: str, join: Join) -> KerasTensor:
        # Stride on the 3x3, as in the authors' Torch network, which like this one is not pre-activated.
        return bottleneck(x, (factor * width, factor * width, 4 * width), strides, name, join)

    return resnet(Network(name, options), depth, unit)
