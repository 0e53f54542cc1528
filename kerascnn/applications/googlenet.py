"""GoogLeNet, also called Inception v1 (Szegedy et al. 2014, arXiv:1409.4842)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, Norm, average_pool, concatenate, conv, conv_bn_relu, max_pool
from kerascnn.building.head import dense, flat, pooled, predictions, wants_auxiliary
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder
from kerascnn.layers import LocalResponseNormalization

__all__ = ["googlenet", "googlenet_bn"]

# filters of the 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection convolutions, Table 1
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARY = {"4a": "aux1", "4d": "aux2"}  # section 5

Conv = Callable[..., KerasTensor]


@builder
def googlenet(*, aux_logits: bool = False, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build GoogLeNet (Table 1): convolutions with biases, local response normalization, no batch normalization.

    What the paper leaves open (the normalization's constants, rounding up in the pools) is as in the Caffe model zoo.

    Args:
        aux_logits: True adds the two auxiliary classifiers of section 5 for training, see
            `kerascnn.layers.auxiliary.AuxiliaryModel`; at inference and in exported files they do not exist.
        **options: See `ModelOptions`.
    """
    net = Network("googlenet", options)
    x = net.stage("stem", conv(net.input, 64, 7, strides=2, padding=3, name="conv1_7x7_s2"))
    x = max_pool(x, 3, 2, ceil=True, name="pool1_3x3_s2")
    x = _normalize(x, "pool1_norm1")
    x = conv(x, 64, 1, name="conv2_3x3_reduce")
    x = conv(x, 192, 3, padding=1, name="conv2_3x3")
    x = net.stage("stage1", _normalize(x, "conv2_norm2"))
    x = max_pool(x, 3, 2, ceil=True, name="pool2_3x3_s2")

    def auxiliary(x: KerasTensor, name: str) -> KerasTensor:
        if None not in x.shape[1:3] and min(x.shape[1:3]) < 5:
            raise ValueError(
                f"The auxiliary classifiers of googlenet pool over 5x5 of a map that is {x.shape[1]}x{x.shape[2]} for "
                "this input. The smallest input that they work with is 79x79."
            )
        return average_pool(x, 5, 3, name=f"{name}_ave_pool")

    return _modules(net, x, conv, auxiliary if wants_auxiliary(net, aux_logits) else None, five=5, pool4=3)


@builder
def googlenet_bn(*, aux_logits: bool = False, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the GoogLeNet of torchvision: batch normalization everywhere, and 3x3 convolutions in place of the 5x5.

    Its options are those of `googlenet`.
    """
    net = Network("googlenet_bn", options)
    unit = partial(conv_bn_relu, norm=Norm(epsilon=1e-3))
    x = net.stage("stem", unit(net.input, 64, 7, strides=2, padding=3, name="conv1_7x7_s2"))
    x = max_pool(x, 3, 2, ceil=True, name="pool1_3x3_s2")
    x = unit(x, 64, 1, name="conv2_3x3_reduce")
    x = net.stage("stage1", unit(x, 192, 3, padding=1, name="conv2_3x3"))
    x = max_pool(x, 3, 2, ceil=True, name="pool2_3x3_s2")

    def auxiliary(x: KerasTensor, name: str) -> KerasTensor:
        return layers.AdaptiveAveragePooling2D((4, 4), data_format=DATA_FORMAT, name=f"{name}_ave_pool")(x)

    return _modules(net, x, unit, auxiliary if wants_auxiliary(net, aux_logits) else None, five=3, pool4=2)


def _modules(
    net: Network,
    x: KerasTensor,
    unit: Conv,
    pool: Callable[[KerasTensor, str], KerasTensor] | None,
    five: int,
    pool4: int,
) -> keras.Model:
    """Build the inception modules and the classifiers, of which the auxiliary ones begin with `pool`."""
    auxiliary = {}
    for name in MODULES:
        if name == "4a":
            x = max_pool(net.stage("stage2", x), 3, 2, ceil=True, name="pool3_3x3_s2")
        if name == "5a":
            x = max_pool(net.stage("stage3", x), pool4, 2, ceil=True, name=f"pool4_{pool4}x{pool4}_s2")
        x = _module(x, unit, name, five)
        if pool and name in AUXILIARY:
            auxiliary[AUXILIARY[name]] = _auxiliary(net, pool(x, AUXILIARY[name]), unit, AUXILIARY[name])
    return pooled(net, net.stage("stage4", x), dropout=0.4, auxiliary=auxiliary)


def _module(x: KerasTensor, unit: Conv, name: str, five: int) -> KerasTensor:
    """Build an inception module with dimension reductions, Figure 2(b); `five` is the side of its largest kernel."""
    ones, threes_reduce, threes, fives_reduce, fives, projection = MODULES[name]
    name = f"inception_{name}"
    branch1 = unit(x, ones, 1, name=f"{name}_1x1")
    branch2 = unit(x, threes_reduce, 1, name=f"{name}_3x3_reduce")
    branch2 = unit(branch2, threes, 3, padding=1, name=f"{name}_3x3")
    branch3 = unit(x, fives_reduce, 1, name=f"{name}_5x5_reduce")
    branch3 = unit(branch3, fives, five, padding=five // 2, name=f"{name}_5x5")
    branch4 = max_pool(x, 3, 1, padding=1, name=f"{name}_pool")
    branch4 = unit(branch4, projection, 1, name=f"{name}_pool_proj")
    return concatenate([branch1, branch2, branch3, branch4], name=f"{name}_output")


def _auxiliary(net: Network, x: KerasTensor, unit: Conv, name: str) -> KerasTensor:
    x = flat(net, unit(x, 128, 1, name=f"{name}_conv"), f"{name}_flatten")
    x = layers.Dropout(0.7, name=f"{name}_dropout")(dense(x, 1024, f"{name}_fc"))
    return predictions(net, x, name)


def _normalize(x: KerasTensor, name: str) -> KerasTensor:
    # Caffe's alpha of 1e-4 is divided by the window of 5.
    return LocalResponseNormalization(alpha=2e-5, bias=1.0, name=name)(x)
