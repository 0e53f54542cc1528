"""Inception v4 (Szegedy et al. 2016, arXiv:1602.07261)."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import keras
from keras import KerasTensor

from kerascnn.building.blocks import average_pool, concatenate, conv_bn_relu, max_pool
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder

unit = partial(conv_bn_relu, epsilon=1e-3)


@builder
def inception_v4(*, pool_counts_padding: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Inception v4 (Figure 9): 4 A, 7 B and 3 C modules, with the reductions of Figures 7 and 8 between them.

    Args:
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code and timm
            do; True counts the zeros around it.
        **options: see `ModelOptions`.
    """
    net = Network("inception_v4", options, {"pool_counts_padding": (pool_counts_padding, False, (True, False))})
    pool = partial(average_pool, size=3, padding=1, count_padding=net.choices["pool_counts_padding"])

    x = _stem(net)
    for letter in "bcde":
        x = _module_a(x, pool(x, name=f"mixed_5{letter}_pool"), f"mixed_5{letter}")
    x = _reduction_a(net.stage("stage2", x), "mixed_6a")
    for letter in "bcdefgh":
        x = _module_b(x, pool(x, name=f"mixed_6{letter}_pool"), f"mixed_6{letter}")
    x = _reduction_b(net.stage("stage3", x), "mixed_7a")
    for letter in "bcd":
        x = _module_c(x, pool(x, name=f"mixed_7{letter}_pool"), f"mixed_7{letter}")
    return net.classifier(net.stage("stage4", x), dropout=0.2)


def _stem(net: Network) -> KerasTensor:
    """Figure 3: 299x299 to 35x35."""
    x = unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
    x = unit(x, 32, 3, name="conv_2a_3x3")
    x = net.stage("stem", unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
    y = unit(x, 96, 3, strides=2, name="mixed_3a_branch1")
    x = net.stage("stage1", concatenate([max_pool(x, 3, 2, name="mixed_3a_pool"), y], name="mixed_3a"))

    branch0 = unit(x, 64, 1, name="mixed_4a_branch0_0")
    branch0 = unit(branch0, 96, 3, name="mixed_4a_branch0_1")
    branch1 = unit(x, 64, 1, name="mixed_4a_branch1_0")
    branch1 = _row(branch1, 64, 7, "mixed_4a_branch1_1")
    branch1 = _column(branch1, 64, 7, "mixed_4a_branch1_2")
    branch1 = unit(branch1, 96, 3, name="mixed_4a_branch1_3")
    x = concatenate([branch0, branch1], name="mixed_4a")

    y = unit(x, 192, 3, strides=2, name="mixed_5a_branch0")
    return concatenate([y, max_pool(x, 3, 2, name="mixed_5a_pool")], name="mixed_5a")


def _row(x: KerasTensor, filters: int, length: int, name: str) -> KerasTensor:
    return unit(x, filters, (1, length), padding=(0, length // 2), name=name)


def _column(x: KerasTensor, filters: int, length: int, name: str) -> KerasTensor:
    return unit(x, filters, (length, 1), padding=(length // 2, 0), name=name)


def _module_a(x: KerasTensor, pooled: KerasTensor, name: str) -> KerasTensor:
    """Figure 4, on 35x35 maps."""
    branch0 = unit(x, 96, 1, name=f"{name}_branch0")
    branch1 = unit(x, 64, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 96, 3, padding=1, name=f"{name}_branch1_1")
    branch2 = unit(x, 64, 1, name=f"{name}_branch2_0")
    branch2 = unit(branch2, 96, 3, padding=1, name=f"{name}_branch2_1")
    branch2 = unit(branch2, 96, 3, padding=1, name=f"{name}_branch2_2")
    branch3 = unit(pooled, 96, 1, name=f"{name}_branch3")
    return concatenate([branch0, branch1, branch2, branch3], name=name)


def _reduction_a(x: KerasTensor, name: str) -> KerasTensor:
    """Figure 7 with k, l, m, n = 192, 224, 256, 384 (Table 1): 35x35 to 17x17 maps."""
    branch0 = unit(x, 384, 3, strides=2, name=f"{name}_branch0")
    branch1 = unit(x, 192, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 224, 3, padding=1, name=f"{name}_branch1_1")
    branch1 = unit(branch1, 256, 3, strides=2, name=f"{name}_branch1_2")
    return concatenate([branch0, branch1, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)


def _module_b(x: KerasTensor, pooled: KerasTensor, name: str) -> KerasTensor:
    """Figure 5, on 17x17 maps."""
    branch0 = unit(x, 384, 1, name=f"{name}_branch0")
    branch1 = unit(x, 192, 1, name=f"{name}_branch1_0")
    branch1 = _row(branch1, 224, 7, f"{name}_branch1_1")
    # The order of 1x7 and 7x1 is that of the authors' code.
    branch1 = _column(branch1, 256, 7, f"{name}_branch1_2")
    branch2 = unit(x, 192, 1, name=f"{name}_branch2_0")
    branch2 = _column(branch2, 192, 7, f"{name}_branch2_1")
    branch2 = _row(branch2, 224, 7, f"{name}_branch2_2")
    branch2 = _column(branch2, 224, 7, f"{name}_branch2_3")
    branch2 = _row(branch2, 256, 7, f"{name}_branch2_4")
    branch3 = unit(pooled, 128, 1, name=f"{name}_branch3")
    return concatenate([branch0, branch1, branch2, branch3], name=name)


def _reduction_b(x: KerasTensor, name: str) -> KerasTensor:
    """Figure 8: 17x17 to 8x8 maps."""
    branch0 = unit(x, 192, 1, name=f"{name}_branch0_0")
    branch0 = unit(branch0, 192, 3, strides=2, name=f"{name}_branch0_1")
    branch1 = unit(x, 256, 1, name=f"{name}_branch1_0")
    branch1 = _row(branch1, 256, 7, f"{name}_branch1_1")
    branch1 = _column(branch1, 320, 7, f"{name}_branch1_2")
    branch1 = unit(branch1, 320, 3, strides=2, name=f"{name}_branch1_3")
    return concatenate([branch0, branch1, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)


def _module_c(x: KerasTensor, pooled: KerasTensor, name: str) -> KerasTensor:
    """Figure 6, on 8x8 maps."""
    branch0 = unit(x, 256, 1, name=f"{name}_branch0")
    branch1 = unit(x, 384, 1, name=f"{name}_branch1_0")
    branch1a = _row(branch1, 256, 3, f"{name}_branch1_1a")
    branch1b = _column(branch1, 256, 3, f"{name}_branch1_1b")
    branch2 = unit(x, 384, 1, name=f"{name}_branch2_0")
    branch2 = _column(branch2, 448, 3, f"{name}_branch2_1")
    branch2 = _row(branch2, 512, 3, f"{name}_branch2_2")
    branch2a = _row(branch2, 256, 3, f"{name}_branch2_3a")
    branch2b = _column(branch2, 256, 3, f"{name}_branch2_3b")
    branch3 = unit(pooled, 256, 1, name=f"{name}_branch3")
    return concatenate([branch0, branch1a, branch1b, branch2a, branch2b, branch3], name=name)
