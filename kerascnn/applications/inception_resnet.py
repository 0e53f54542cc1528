"""Inception-ResNet v1 and v2 (Szegedy et al. 2016, arXiv:1602.07261)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._inception import AVERAGE, MAX, Branches, Conv, Modules, google
from kerascnn.building.blocks import batch_norm, conv, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ResidualOptions, builder
from kerascnn.layers.stochastic_depth import Join

__all__ = ["inception_resnet_v1", "inception_resnet_v2"]


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


# Figures 10, 11 and 13, the units of v1
BLOCK_35_V1 = Block({**BLOCK_35.branches, "branch2": [Conv(32, 1), Conv(32, 3), Conv(32, 3)]}, scale=0.17)
BLOCK_17_V1 = Block(
    {"branch0": [Conv(128, 1)], "branch1": [Conv(128, 1), Conv(128, (1, 7)), Conv(128, (7, 1))]}, scale=0.1
)
BLOCK_8_V1 = Block(
    {"branch0": [Conv(192, 1)], "branch1": [Conv(192, 1), Conv(192, (1, 3)), Conv(192, (3, 1))]}, scale=0.2
)

# Figure 7 with k, l, m, n = 192, 192, 256, 384 (Table 1)
REDUCTION_A_V1: Branches = {**REDUCTION_A, "branch1": [Conv(192, 1), Conv(192, 3), Conv(256, 3, strides=2)]}

# Figure 12
REDUCTION_B_V1: Branches = {
    "branch0": [Conv(256, 1), Conv(384, 3, strides=2)],
    "branch1": [Conv(256, 1), Conv(256, 3, strides=2)],
    "branch2": [Conv(256, 1), Conv(256, 3), Conv(256, 3, strides=2)],
    "pool": [MAX],
}


@builder
def inception_resnet_v1(*, bn_momentum: float | None = None, **options: Unpack[ResidualOptions]) -> keras.Model:
    """Build Inception-ResNet v1 (Figure 15), the cheaper of the two: stem of Figure 14, 5, 10 and 5 residual units.

    Google published no code of it. The scales of the residuals are those of v2's; the paper says no more than 0.1 to
    0.3. Implementations for faces have a sixth C unit and an embedding, which the paper does not.

    Args:
        bn_momentum: As for `inception_v3`.
        **options: See `ResidualOptions`.
    """
    net = Network("inception_resnet_v1", options)
    modules = Modules(google("inception_resnet_v1", bn_momentum))
    units = Residuals(modules, iter(net.joins(20)))
    unit = modules.unit
    x = unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
    x = unit(x, 32, 3, name="conv_2a_3x3")
    x = net.stage("stem", unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
    x = max_pool(x, 3, 2, name="pool1")
    x = unit(x, 80, 1, name="conv_3b_1x1")
    x = net.stage("stage1", unit(x, 192, 3, name="conv_4a_3x3"))
    x = units.build(unit(x, 256, 3, strides=2, name="conv_4b_3x3"), BLOCK_35_V1, "block35", 5)
    x = modules.build(net.stage("stage2", x), "mixed_6a", REDUCTION_A_V1)
    x = units.build(x, BLOCK_17_V1, "block17", 10)
    x = modules.build(net.stage("stage3", x), "mixed_7a", REDUCTION_B_V1)
    x = units.build(x, BLOCK_8_V1, "block8", 5)
    return pooled(net, net.stage("stage4", x), dropout=0.2)


@dataclass(frozen=True)
class Residuals:
    """The residual units of a network, and what adds each branch to its shortcut."""

    modules: Modules
    joins: Iterator[Join]

    def build(self, x: KerasTensor, block: Block, name: str, count: int, last: bool = False) -> KerasTensor:
        """Build so many units; with `last` the last of them is neither scaled nor rectified."""
        for i in range(1, count + 1):
            x = self._unit(x, block, f"{name}_{i}", last and i == count)
        return x

    def _unit(self, x: KerasTensor, block: Block, name: str, last: bool) -> KerasTensor:
        """Add a residual, brought to the channels of `x` and scaled down so that training is stable (section 3.3)."""
        y = self.modules.build(x, name, block.branches, output=f"{name}_mixed")
        y = conv(y, x.shape[-1], 1, activation=None, name=f"{name}_conv")
        if not last:
            y = layers.Rescaling(block.scale, name=f"{name}_scale")(y)
        x = next(self.joins)(x, y, name=f"{name}_add")
        return x if last else layers.Activation("relu", name=f"{name}_ac")(x)


@builder
def inception_resnet_v2(
    *,
    aux_logits: bool = False,
    bn_scale: bool | None = None,
    bn_momentum: float | None = None,
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
        bn_momentum: What the moving statistics keep of themselves in a training step; 0.9997 (the default) as in the
            authors' code, which takes some 10,000 steps to forget where they began. 0.9 is what other packages have.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code, Keras
            and timm do; True counts the zeros around it.
        **options: See `ResidualOptions`.
    """
    choices = {"bn_scale": Choice(bn_scale, True), "pool_counts_padding": Choice(pool_counts_padding, False)}
    net = Network("inception_resnet_v2", options, choices)
    norm = google("inception_resnet_v2", bn_momentum, net.choices["bn_scale"])
    modules = Modules(norm, net.choices["pool_counts_padding"])
    units = Residuals(modules, iter(net.joins(40)))

    x = modules.build(modules.stem(net), "mixed_5b", INCEPTION_A)
    x = units.build(x, BLOCK_35, "block35", 10)
    x = modules.build(net.stage("stage2", x), "mixed_6a", REDUCTION_A)
    x = units.build(x, BLOCK_17, "block17", 20)
    auxiliary = modules.auxiliary(net, x, aux_logits)
    x = modules.build(net.stage("stage3", x), "mixed_7a", REDUCTION_B)
    x = units.build(x, BLOCK_8, "block8", 10, last=True)

    x = conv(x, 1536, 1, use_bias=False, activation=None, name="conv_7b")
    x = layers.Activation("relu", name="conv_7b_ac")(batch_norm(x, norm=norm, name="conv_7b_bn"))
    return pooled(net, net.stage("stage4", x), dropout=0.2, auxiliary=auxiliary)
