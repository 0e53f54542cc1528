"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications._inception import AVERAGE, MAX, Branches, Conv, Modules, google
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["inception_v3"]


def _module_35(projection: int) -> Branches:
    """Figure 5, on 35x35 maps; its 5x5 is kept in one branch, as in the authors' code."""
    return {
        "branch1x1": [Conv(64, 1)],
        "branch5x5": [Conv(48, 1), Conv(64, 5)],
        "branch3x3dbl": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
        "branch_pool": [AVERAGE, Conv(projection, 1)],
    }


# Figure 10: 35x35 to 17x17 maps, convolutions and pooling side by side
REDUCTION_35: Branches = {
    "branch3x3": [Conv(384, 3, strides=2)],
    "branch3x3dbl": [Conv(64, 1), Conv(96, 3), Conv(96, 3, strides=2)],
    "pool": [MAX],
}


def _module_17(width: int) -> Branches:
    """Figure 6, on 17x17 maps: n x n convolutions as 1 x n and n x 1, with n = 7."""
    row, column = Conv(width, (1, 7)), Conv(width, (7, 1))
    return {
        "branch1x1": [Conv(192, 1)],
        "branch7x7": [Conv(width, 1), row, Conv(192, (7, 1))],
        "branch7x7dbl": [Conv(width, 1), column, row, column, Conv(192, (1, 7))],
        "branch_pool": [AVERAGE, Conv(192, 1)],
    }


# 17x17 to 8x8 maps
REDUCTION_17: Branches = {
    "branch3x3": [Conv(192, 1), Conv(320, 3, strides=2)],
    "branch7x7x3": [Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, strides=2)],
    "pool": [MAX],
}

# Figure 7, on 8x8 maps: 1x3 and 3x1 convolutions side by side
MODULE_8: Branches = {
    "branch1x1": [Conv(320, 1)],
    "branch3x3": [Conv(384, 1), (Conv(384, (1, 3)), Conv(384, (3, 1)))],
    "branch3x3dbl": [Conv(448, 1), Conv(384, 3), (Conv(384, (1, 3)), Conv(384, (3, 1)))],
    "branch_pool": [AVERAGE, Conv(192, 1)],
}


@builder
def inception_v3(
    *,
    aux_logits: bool = False,
    bn_scale: bool | None = None,
    bn_momentum: float | None = None,
    pool_counts_padding: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build Inception v3 (Table 1 and Figures 5 to 7).

    Args:
        aux_logits: True adds the auxiliary classifier of Figure 8 for training, see
            `kerascnn.layers.auxiliary.AuxiliaryModel`; at inference and in exported files it does not exist.
        bn_scale: False leaves out the scale (gamma) of batch normalization, as the authors' code and keras.applications
            do: 17,216 parameters fewer. True (the default) keeps it.
        bn_momentum: What the moving statistics keep of themselves in a training step; 0.9997 (the default) as in the
            authors' code, which takes some 10,000 steps to forget where they began. 0.9 is what other packages have.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code does;
            True counts the zeros around it, as torchvision and timm do.
        **options: See `ModelOptions`.
    """
    choices = {"bn_scale": Choice(bn_scale, True), "pool_counts_padding": Choice(pool_counts_padding, False)}
    net = Network("inception_v3", options, choices)
    modules = Modules(
        google("inception_v3", bn_momentum, net.choices["bn_scale"]), net.choices["pool_counts_padding"], first=1
    )

    x = modules.stem(net)
    for i, projection in enumerate((32, 64, 64)):
        x = modules.build(x, f"mixed{i}", _module_35(projection))
    x = modules.build(net.stage("stage2", x), "mixed3", REDUCTION_35)
    for i, width in enumerate((128, 160, 160, 192), start=4):
        x = modules.build(x, f"mixed{i}", _module_17(width))
    net.stage("stage3", x)
    auxiliary = modules.auxiliary(net, x, aux_logits)
    x = modules.build(x, "mixed8", REDUCTION_17)
    for i in (9, 10):
        x = modules.build(x, f"mixed{i}", MODULE_8)
    return pooled(net, net.stage("stage4", x), dropout=0.2, auxiliary=auxiliary)
