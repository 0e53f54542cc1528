"""BN-Inception, also called Inception v2 (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, average_pool, concatenate, conv_bn_relu, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["bn_inception"]

# filters of the 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3 and pool projection (0: none), Figure 5
MODULES = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    # With these projections 4c and 4d have 608 channels, where the paper prints 576; projections of 96 would give that.
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
STAGES = {"3b": "stage2", "4d": "stage3", "5b": "stage4"}


@builder
def bn_inception(*, pool_counts_padding: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build BN-Inception (Figure 5): batch normalization after each convolution, two 3x3 in place of a 5x5.

    Args:
        pool_counts_padding: False (the default) averages over the pixels within the map, as TensorFlow does; True
            counts the zeros around it, as Caffe and the weights trained with Caffe do. The paper does not say.
        **options: See `ModelOptions`.
    """
    net = Network("bn_inception", options, {"pool_counts_padding": Choice(pool_counts_padding, False)})
    x = net.stage("stem", conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1_7x7_s2"))
    x = max_pool(x, 3, 2, ceil=True, name="pool1_3x3_s2")
    x = conv_bn_relu(x, 64, 1, name="conv2_3x3_reduce")
    x = net.stage("stage1", conv_bn_relu(x, 192, 3, padding=1, name="conv2_3x3"))
    x = max_pool(x, 3, 2, ceil=True, name="pool2_3x3_s2")
    for name in MODULES:
        x = _module(x, name, net.choices["pool_counts_padding"])
        if name in STAGES:
            net.stage(STAGES[name], x)
    return pooled(net, x)


def _module(x: KerasTensor, name: str, count_padding: bool) -> KerasTensor:
    """Build an inception module. Without 1x1 convolution and projection it halves the map."""
    ones, threes_reduce, threes, doubles_reduce, doubles, projection = MODULES[name]
    last = name == "5b"
    name = f"inception_{name}"
    strides = 1 if ones else 2
    branches = [conv_bn_relu(x, ones, 1, name=f"{name}_1x1")] if ones else []

    y = conv_bn_relu(x, threes_reduce, 1, name=f"{name}_3x3_reduce")
    branches.append(conv_bn_relu(y, threes, 3, strides=strides, padding=1, name=f"{name}_3x3"))

    y = conv_bn_relu(x, doubles_reduce, 1, name=f"{name}_double_3x3_reduce")
    y = conv_bn_relu(y, doubles, 3, padding=1, name=f"{name}_double_3x3_1")
    branches.append(conv_bn_relu(y, doubles, 3, strides=strides, padding=1, name=f"{name}_double_3x3_2"))

    if strides == 2:
        # On an even map this is Caffe's rounding up; on an odd one it gives the size of the convolutions, as it must.
        y = layers.ZeroPadding2D(((0, 2), (0, 2)), data_format=DATA_FORMAT, name=f"{name}_pool_pad")(x)
        branches.append(max_pool(y, 3, 2, name=f"{name}_pool"))
    else:
        if last:
            y = max_pool(x, 3, 1, padding=1, name=f"{name}_pool")
        else:
            y = average_pool(x, 3, padding=1, count_padding=count_padding, name=f"{name}_pool")
        branches.append(conv_bn_relu(y, projection, 1, name=f"{name}_pool_proj"))
    return concatenate(branches, name=f"{name}_output")
