"""Inception v3 (Szegedy et al. 2015, arXiv:1512.00567)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import average_pool, concatenate, conv_bn_relu, max_pool
from kerascnn.building.network import DATA_FORMAT, Network
from kerascnn.building.options import ModelOptions, builder

Unit = Callable[..., KerasTensor]


@builder
def inception_v3(
    *,
    aux_logits: bool = False,
    bn_scale: bool | None = None,
    pool_counts_padding: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Inception v3 (Table 1 and Figures 5 to 7).

    Args:
        aux_logits: True adds the auxiliary classifier of Figure 8 for training, see
            `kerascnn.layers.auxiliary.AuxiliaryModel`; at inference and in exported files it does not exist.
        bn_scale: False leaves out the scale (gamma) of batch normalisation, as the authors' code and keras.applications
            do: 17,216 parameters fewer. True (the default) keeps it.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code does;
            True counts the zeros around it, as torchvision and timm do.
        **options: see `ModelOptions`.
    """
    choices = {
        "bn_scale": (bn_scale, True, (True, False)),
        "pool_counts_padding": (pool_counts_padding, False, (True, False)),
    }
    net = Network("inception_v3", options, choices)
    unit = partial(conv_bn_relu, epsilon=1e-3, scale=net.choices["bn_scale"])
    pool = partial(average_pool, size=3, padding=1, count_padding=net.choices["pool_counts_padding"])

    x = unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
    x = unit(x, 32, 3, name="conv_2a_3x3")
    x = net.stage("stem", unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
    x = max_pool(x, 3, 2, name="pool1")
    x = unit(x, 80, 1, name="conv_3b_1x1")
    x = net.stage("stage1", unit(x, 192, 3, name="conv_4a_3x3"))
    x = max_pool(x, 3, 2, name="pool2")

    for i, projection in enumerate((32, 64, 64)):
        x = _module_35(x, projection, unit, pool, f"mixed{i}")
    net.stage("stage2", x)
    x = _reduction_35(x, unit, "mixed3")
    for i, width in enumerate((128, 160, 160, 192), start=4):
        x = _module_17(x, width, unit, pool, f"mixed{i}")
    net.stage("stage3", x)
    auxiliary = {"aux": _auxiliary(net, x, unit)} if net.wants_auxiliary(aux_logits) else None
    x = _reduction_17(x, unit, "mixed8")
    for i in (9, 10):
        x = _module_8(x, unit, pool, f"mixed{i}")
    return net.classifier(net.stage("stage4", x), dropout=0.2, auxiliary=auxiliary)


def _module_35(x: KerasTensor, projection: int, unit: Unit, pool: Unit, name: str) -> KerasTensor:
    """Figure 5, on 35x35 maps; its 5x5 is kept in one branch, as in the authors' code."""
    branch1 = unit(x, 64, 1, name=f"{name}_branch1x1")
    branch2 = unit(x, 48, 1, name=f"{name}_branch5x5_1")
    branch2 = unit(branch2, 64, 5, padding=2, name=f"{name}_branch5x5_2")
    branch3 = unit(x, 64, 1, name=f"{name}_branch3x3dbl_1")
    branch3 = unit(branch3, 96, 3, padding=1, name=f"{name}_branch3x3dbl_2")
    branch3 = unit(branch3, 96, 3, padding=1, name=f"{name}_branch3x3dbl_3")
    branch4 = unit(pool(x, name=f"{name}_pool"), projection, 1, name=f"{name}_branch_pool")
    return concatenate([branch1, branch2, branch3, branch4], name=name)


def _reduction_35(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """Figure 10: 35x35 to 17x17 maps, convolutions and pooling side by side."""
    branch1 = unit(x, 384, 3, strides=2, name=f"{name}_branch3x3")
    branch2 = unit(x, 64, 1, name=f"{name}_branch3x3dbl_1")
    branch2 = unit(branch2, 96, 3, padding=1, name=f"{name}_branch3x3dbl_2")
    branch2 = unit(branch2, 96, 3, strides=2, name=f"{name}_branch3x3dbl_3")
    return concatenate([branch1, branch2, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)


def _module_17(x: KerasTensor, width: int, unit: Unit, pool: Unit, name: str) -> KerasTensor:
    """Figure 6, on 17x17 maps: n x n convolutions as 1 x n and n x 1, with n = 7."""
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    branch1 = unit(x, 192, 1, name=f"{name}_branch1x1")
    branch2 = unit(x, width, 1, name=f"{name}_branch7x7_1")
    branch2 = unit(branch2, width, **row, name=f"{name}_branch7x7_2")
    branch2 = unit(branch2, 192, **column, name=f"{name}_branch7x7_3")
    branch3 = unit(x, width, 1, name=f"{name}_branch7x7dbl_1")
    branch3 = unit(branch3, width, **column, name=f"{name}_branch7x7dbl_2")
    branch3 = unit(branch3, width, **row, name=f"{name}_branch7x7dbl_3")
    branch3 = unit(branch3, width, **column, name=f"{name}_branch7x7dbl_4")
    branch3 = unit(branch3, 192, **row, name=f"{name}_branch7x7dbl_5")
    branch4 = unit(pool(x, name=f"{name}_pool"), 192, 1, name=f"{name}_branch_pool")
    return concatenate([branch1, branch2, branch3, branch4], name=name)


def _reduction_17(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """17x17 to 8x8 maps."""
    branch1 = unit(x, 192, 1, name=f"{name}_branch3x3_1")
    branch1 = unit(branch1, 320, 3, strides=2, name=f"{name}_branch3x3_2")
    branch2 = unit(x, 192, 1, name=f"{name}_branch7x7x3_1")
    branch2 = unit(branch2, 192, (1, 7), padding=(0, 3), name=f"{name}_branch7x7x3_2")
    branch2 = unit(branch2, 192, (7, 1), padding=(3, 0), name=f"{name}_branch7x7x3_3")
    branch2 = unit(branch2, 192, 3, strides=2, name=f"{name}_branch7x7x3_4")
    return concatenate([branch1, branch2, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)


def _module_8(x: KerasTensor, unit: Unit, pool: Unit, name: str) -> KerasTensor:
    """Figure 7, on 8x8 maps: 1x3 and 3x1 convolutions side by side."""
    row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
    branch1 = unit(x, 320, 1, name=f"{name}_branch1x1")
    branch2 = unit(x, 384, 1, name=f"{name}_branch3x3_1")
    branch2a = unit(branch2, 384, **row, name=f"{name}_branch3x3_2a")
    branch2b = unit(branch2, 384, **column, name=f"{name}_branch3x3_2b")
    branch3 = unit(x, 448, 1, name=f"{name}_branch3x3dbl_1")
    branch3 = unit(branch3, 384, 3, padding=1, name=f"{name}_branch3x3dbl_2")
    branch3a = unit(branch3, 384, **row, name=f"{name}_branch3x3dbl_3a")
    branch3b = unit(branch3, 384, **column, name=f"{name}_branch3x3dbl_3b")
    branch4 = unit(pool(x, name=f"{name}_pool"), 192, 1, name=f"{name}_branch_pool")
    return concatenate([branch1, branch2a, branch2b, branch3a, branch3b, branch4], name=name)


def _auxiliary(net: Network, x: KerasTensor, unit: Unit) -> KerasTensor:
    """Figure 8, on the last 17x17 map."""
    net.require_fixed_size(x)
    if min(x.shape[1:3]) < 17:
        raise ValueError(
            f"The auxiliary classifier of inception_v3 needs a map of at least 17x17; it is {x.shape[1]}x{x.shape[2]} "
            "for this input. The smallest input that it works with is 299x299."
        )
    x = average_pool(x, 5, 3, name="aux_pool")
    x = unit(x, 128, 1, name="aux_conv0")
    x = unit(x, 768, 5, name="aux_conv1")
    x = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="aux_avg_pool")(x)
    return net.predictions(x, "aux")
