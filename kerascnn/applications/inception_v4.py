"""Inception v4 (Szegedy et al. 2016, arXiv:1602.07261)."""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor

from kerascnn.applications._inception import AVERAGE, MAX, Branches, Conv, Modules, google
from kerascnn.building.blocks import concatenate
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["inception_v4"]

# Figure 4, on 35x35 maps
MODULE_A: Branches = {
    "branch0": [Conv(96, 1)],
    "branch1": [Conv(64, 1), Conv(96, 3)],
    "branch2": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
    "branch3": [AVERAGE, Conv(96, 1)],
}

# Figure 7 with k, l, m, n = 192, 224, 256, 384 (Table 1): 35x35 to 17x17 maps
REDUCTION_A: Branches = {
    "branch0": [Conv(384, 3, strides=2)],
    "branch1": [Conv(192, 1), Conv(224, 3), Conv(256, 3, strides=2)],
    "pool": [MAX],
}

# Figure 5, on 17x17 maps; the order of 1x7 and 7x1 is that of the authors' code
MODULE_B: Branches = {
    "branch0": [Conv(384, 1)],
    "branch1": [Conv(192, 1), Conv(224, (1, 7)), Conv(256, (7, 1))],
    "branch2": [Conv(192, 1), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))],
    "branch3": [AVERAGE, Conv(128, 1)],
}

# Figure 8: 17x17 to 8x8 maps
REDUCTION_B: Branches = {
    "branch0": [Conv(192, 1), Conv(192, 3, strides=2)],
    "branch1": [Conv(256, 1), Conv(256, (1, 7)), Conv(320, (7, 1)), Conv(320, 3, strides=2)],
    "pool": [MAX],
}

# Figure 6, on 8x8 maps
PAIR = (Conv(256, (1, 3)), Conv(256, (3, 1)))
MODULE_C: Branches = {
    "branch0": [Conv(256, 1)],
    "branch1": [Conv(384, 1), PAIR],
    "branch2": [Conv(384, 1), Conv(448, (3, 1)), Conv(512, (1, 3)), PAIR],
    "branch3": [AVERAGE, Conv(256, 1)],
}


@builder
def inception_v4(
    *,
    aux_logits: bool = False,
    bn_momentum: float | None = None,
    pool_counts_padding: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build Inception v4 (Figure 9): 4 A, 7 B and 3 C modules, with the reductions of Figures 7 and 8 between them.

    Args:
        aux_logits: True adds the auxiliary classifier of the authors' code for training, on the last 17x17 map; see
            `kerascnn.layers.auxiliary.AuxiliaryModel`. At inference and in exported files it does not exist.
        bn_momentum: What the moving statistics keep of themselves in a training step; 0.9997 (the default) as in the
            authors' code, which takes some 10,000 steps to forget where they began. 0.9 is what other packages have.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code and timm
            do; True counts the zeros around it.
        **options: See `ModelOptions`.
    """
    net = Network("inception_v4", options, {"pool_counts_padding": Choice(pool_counts_padding, False)})
    modules = Modules(google("inception_v4", bn_momentum), count_padding=net.choices["pool_counts_padding"])
    x = _stem(net, modules)
    for letter in "bcde":
        x = modules.build(x, f"mixed_5{letter}", MODULE_A)
    x = modules.build(net.stage("stage2", x), "mixed_6a", REDUCTION_A)
    for letter in "bcdefgh":
        x = modules.build(x, f"mixed_6{letter}", MODULE_B)
    auxiliary = modules.auxiliary(net, x, aux_logits)
    x = modules.build(net.stage("stage3", x), "mixed_7a", REDUCTION_B)
    for letter in "bcd":
        x = modules.build(x, f"mixed_7{letter}", MODULE_C)
    return pooled(net, net.stage("stage4", x), dropout=0.2, auxiliary=auxiliary)


def _stem(net: Network, modules: Modules) -> KerasTensor:
    """Build Figure 3: 299x299 to 35x35."""
    unit = modules.unit
    x = unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
    x = unit(x, 32, 3, name="conv_2a_3x3")
    x = net.stage("stem", unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
    x = modules.build(x, "mixed_3a", {"pool": [MAX], "branch1": [Conv(96, 3, strides=2)]})
    net.stage("stage1", x)

    branch0 = unit(x, 64, 1, name="mixed_4a_branch0_0")
    branch0 = unit(branch0, 96, 3, name="mixed_4a_branch0_1")
    branch1 = unit(x, 64, 1, name="mixed_4a_branch1_0")
    branch1 = unit(branch1, 64, (1, 7), padding=(0, 3), name="mixed_4a_branch1_1")
    branch1 = unit(branch1, 64, (7, 1), padding=(3, 0), name="mixed_4a_branch1_2")
    branch1 = unit(branch1, 96, 3, name="mixed_4a_branch1_3")
    x = concatenate([branch0, branch1], name="mixed_4a")
    return modules.build(x, "mixed_5a", {"branch0": [Conv(192, 3, strides=2)], "pool": [MAX]})
