"""Inception-ResNet v2 (Szegedy et al. 2016, arXiv:1602.07261)."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._inception import AVERAGE, MAX, Branches, Conv, Modules
from kerascnn.building.blocks import Norm, batch_norm, conv
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder

__all__ = ["inception_resnet_v2"]


class Block(NamedTuple):
    """A residual unit: its branches, and what the residual is multiplied with before it is added."""

    branches: Branches
    scale: float


# Figure 16, on 35x35 maps
BLOCK_35 = Block(
    {
        "branch0": [Conv(32, 1)],
        "branch1": [Conv(32, 1), Conv(32, 3)],
        "branch2": [Conv(32, 1), Conv(48, 3), Conv(64, 3)],
    },
    scale=0.17,
)

# Figure 17, on 17x17 maps
BLOCK_17 = Block(
    {"branch0": [Conv(192, 1)], "branch1": [Conv(128, 1), Conv(160, (1, 7)), Conv(192, (7, 1))]},
    scale=0.1,
)

# Figure 19, on 8x8 maps
BLOCK_8 = Block(
    {"branch0": [Conv(192, 1)], "branch1": [Conv(192, 1), Conv(224, (1, 3)), Conv(256, (3, 1))]},
    scale=0.2,
)

INCEPTION_A: Branches = {
    "branch0": [Conv(96, 1)],
    "branch1": [Conv(48, 1), Conv(64, 5)],
    "branch2": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
    "branch3": [AVERAGE, Conv(64, 1)],
}

# Figure 7 with k, l, m, n = 256, 256, 384, 384 (Table 1): 35x35 to 17x17 maps
REDUCTION_A: Branches = {
    "branch0": [Conv(384, 3, strides=2)],
    "branch1": [Conv(256, 1), Conv(256, 3), Conv(384, 3, strides=2)],
    "pool": [MAX],
}

# Figure 18: 17x17 to 8x8 maps
REDUCTION_B: Branches = {
    "branch0": [Conv(256, 1), Conv(384, 3, strides=2)],
    "branch1": [Conv(256, 1), Conv(288, 3, strides=2)],
    "branch2": [Conv(256, 1), Conv(288, 3), Conv(320, 3, strides=2)],
    "pool": [MAX],
}


@builder
def inception_resnet_v2(
    *,
    aux_logits: bool = False,
    bn_scale: bool | None = None,
    pool_counts_padding: bool | None = None,
    **options: Unpack[ResidualOptions],
) -> keras.Model:
    """Build Inception-ResNet v2 (Figure 15), in the form of the authors' code, which all published weights have.

    That code differs from the paper's figures: the stem is Inception v3's, there are 10, 20 and 10 residual units where
    the paper draws 5, 10 and 5, and an Inception-A module precedes them.

    Args:
        aux_logits: True adds the auxiliary classifier of the authors' code for training, on the last 17x17 map; see
            `kerascnn.layers.auxiliary.AuxiliaryModel`. At inference and in exported files it does not exist.
        bn_scale: False leaves out the scale (gamma) of batch normalization, as the authors' code and keras.applications
            do: 30,272 parameters fewer. True (the default) keeps it.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code, Keras
            and timm do; True counts the zeros around it.
        **options: See `ResidualOptions`.
    """
    choices = {"bn_scale": Choice(bn_scale, True), "pool_counts_padding": Choice(pool_counts_padding, False)}
    net = Network("inception_resnet_v2", options, choices)
    norm = Norm(1e-3, net.choices["bn_scale"])
    modules = Modules(norm, net.choices["pool_counts_padding"])
    joins = iter(net.joins(40))

    def residual(x: KerasTensor, block: Block, name: str, last: bool = False) -> KerasTensor:
        """Add a residual, brought to the channels of `x` and scaled down so that training is stable (section 3.3)."""
        y = modules.build(x, name, block.branches, output=f"{name}_mixed")
        y = conv(y, x.shape[-1], 1, activation=None, name=f"{name}_conv")
        if not last:
            y = layers.Rescaling(block.scale, name=f"{name}_scale")(y)
        x = next(joins)(x, y, name=f"{name}_add")
        return x if last else layers.Activation("relu", name=f"{name}_ac")(x)

    x = modules.build(modules.stem(net), "mixed_5b", INCEPTION_A)
    for i in range(1, 11):
        x = residual(x, BLOCK_35, f"block35_{i}")
    x = modules.build(net.stage("stage2", x), "mixed_6a", REDUCTION_A)
    for i in range(1, 21):
        x = residual(x, BLOCK_17, f"block17_{i}")
    auxiliary = modules.auxiliary(net, x, aux_logits)
    x = modules.build(net.stage("stage3", x), "mixed_7a", REDUCTION_B)
    for i in range(1, 11):
        x = residual(x, BLOCK_8, f"block8_{i}", last=i == 10)  # the last unit is neither scaled nor rectified

    x = conv(x, 1536, 1, use_bias=False, activation=None, name="conv_7b")
    x = layers.Activation("relu", name="conv_7b_ac")(batch_norm(x, norm=norm, name="conv_7b_bn"))
    return pooled(net, net.stage("stage4", x), dropout=0.2, auxiliary=auxiliary)
