"""Inception-ResNet v2 (Szegedy et al. 2016, arXiv:1602.07261)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import average_pool, batch_norm, concatenate, conv, conv_bn_relu, max_pool
from kerascnn.building.network import Network
from kerascnn.building.options import ResidualOptions, builder
from kerascnn.layers.stochastic_depth import Join

Unit = Callable[..., KerasTensor]


@builder
def inception_resnet_v2(
    *, bn_scale: bool | None = None, pool_counts_padding: bool | None = None, **options: Unpack[ResidualOptions]
) -> keras.Model:
    """Inception-ResNet v2 (Figure 15), in the form of the authors' code, which all published weights have.

    That code differs from the paper's figures: the stem is Inception v3's, there are 10, 20 and 10 residual units where
    the paper draws 5, 10 and 5, and an Inception-A module precedes them.

    Args:
        bn_scale: False leaves out the scale (gamma) of batch normalisation, as the authors' code and keras.applications
            do: 30,272 parameters fewer. True (the default) keeps it.
        pool_counts_padding: False (the default) averages over the pixels within the map, as the authors' code, Keras
            and timm do; True counts the zeros around it.
        **options: see `ResidualOptions`.
    """
    choices = {
        "bn_scale": (bn_scale, True, (True, False)),
        "pool_counts_padding": (pool_counts_padding, False, (True, False)),
    }
    net = Network("inception_resnet_v2", options, choices)
    unit = partial(conv_bn_relu, epsilon=1e-3, scale=net.choices["bn_scale"])
    residual = partial(_residual, join=net.join(40))

    x = unit(net.input, 32, 3, strides=2, name="conv_1a_3x3")
    x = unit(x, 32, 3, name="conv_2a_3x3")
    x = net.stage("stem", unit(x, 64, 3, padding=1, name="conv_2b_3x3"))
    x = max_pool(x, 3, 2, name="pool1")
    x = unit(x, 80, 1, name="conv_3b_1x1")
    x = net.stage("stage1", unit(x, 192, 3, name="conv_4a_3x3"))
    x = max_pool(x, 3, 2, name="pool2")

    pooled = average_pool(x, 3, padding=1, count_padding=net.choices["pool_counts_padding"], name="mixed_5b_pool")
    x = _inception_a(x, pooled, unit, "mixed_5b")
    for i in range(1, 11):
        x = residual(x, _block35(x, unit, f"block35_{i}"), 0.17, f"block35_{i}")
    x = _reduction_a(net.stage("stage2", x), unit, "mixed_6a")
    for i in range(1, 21):
        x = residual(x, _block17(x, unit, f"block17_{i}"), 0.1, f"block17_{i}")
    x = _reduction_b(net.stage("stage3", x), unit, "mixed_7a")
    for i in range(1, 10):
        x = residual(x, _block8(x, unit, f"block8_{i}"), 0.2, f"block8_{i}")
    # The last unit is neither scaled nor rectified.
    x = residual(x, _block8(x, unit, "block8_10"), 1.0, "block8_10", relu=False)

    x = conv(x, 1536, 1, use_bias=False, activation=None, name="conv_7b")
    x = batch_norm(x, epsilon=1e-3, scale=net.choices["bn_scale"], name="conv_7b_bn")
    x = layers.Activation("relu", name="conv_7b_ac")(x)
    return net.classifier(net.stage("stage4", x), dropout=0.2)


def _residual(x: KerasTensor, y: KerasTensor, scale: float, name: str, *, relu: bool = True, join: Join) -> KerasTensor:
    """Add a residual, brought to the channels of `x` and scaled down so that training is stable (section 3.3)."""
    y = conv(y, x.shape[-1], 1, activation=None, name=f"{name}_conv")
    if scale != 1:
        y = layers.Rescaling(scale, name=f"{name}_scale")(y)
    x = join(x, y, name=f"{name}_add")
    return layers.Activation("relu", name=f"{name}_ac")(x) if relu else x


def _block35(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """The branches of Inception-ResNet-A (Figure 16), on 35x35 maps."""
    branch0 = unit(x, 32, 1, name=f"{name}_branch0")
    branch1 = unit(x, 32, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 32, 3, padding=1, name=f"{name}_branch1_1")
    branch2 = unit(x, 32, 1, name=f"{name}_branch2_0")
    branch2 = unit(branch2, 48, 3, padding=1, name=f"{name}_branch2_1")
    branch2 = unit(branch2, 64, 3, padding=1, name=f"{name}_branch2_2")
    return concatenate([branch0, branch1, branch2], name=f"{name}_mixed")


def _block17(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """The branches of Inception-ResNet-B (Figure 17), on 17x17 maps."""
    branch0 = unit(x, 192, 1, name=f"{name}_branch0")
    branch1 = unit(x, 128, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 160, (1, 7), padding=(0, 3), name=f"{name}_branch1_1")
    branch1 = unit(branch1, 192, (7, 1), padding=(3, 0), name=f"{name}_branch1_2")
    return concatenate([branch0, branch1], name=f"{name}_mixed")


def _block8(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """The branches of Inception-ResNet-C (Figure 19), on 8x8 maps."""
    branch0 = unit(x, 192, 1, name=f"{name}_branch0")
    branch1 = unit(x, 192, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 224, (1, 3), padding=(0, 1), name=f"{name}_branch1_1")
    branch1 = unit(branch1, 256, (3, 1), padding=(1, 0), name=f"{name}_branch1_2")
    return concatenate([branch0, branch1], name=f"{name}_mixed")


def _inception_a(x: KerasTensor, pooled: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    branch0 = unit(x, 96, 1, name=f"{name}_branch0")
    branch1 = unit(x, 48, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 64, 5, padding=2, name=f"{name}_branch1_1")
    branch2 = unit(x, 64, 1, name=f"{name}_branch2_0")
    branch2 = unit(branch2, 96, 3, padding=1, name=f"{name}_branch2_1")
    branch2 = unit(branch2, 96, 3, padding=1, name=f"{name}_branch2_2")
    branch3 = unit(pooled, 64, 1, name=f"{name}_branch3")
    return concatenate([branch0, branch1, branch2, branch3], name=name)


def _reduction_a(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """Figure 7 with k, l, m, n = 256, 256, 384, 384 (Table 1): 35x35 to 17x17 maps."""
    branch0 = unit(x, 384, 3, strides=2, name=f"{name}_branch0")
    branch1 = unit(x, 256, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 256, 3, padding=1, name=f"{name}_branch1_1")
    branch1 = unit(branch1, 384, 3, strides=2, name=f"{name}_branch1_2")
    return concatenate([branch0, branch1, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)


def _reduction_b(x: KerasTensor, unit: Unit, name: str) -> KerasTensor:
    """Figure 18: 17x17 to 8x8 maps."""
    branch0 = unit(x, 256, 1, name=f"{name}_branch0_0")
    branch0 = unit(branch0, 384, 3, strides=2, name=f"{name}_branch0_1")
    branch1 = unit(x, 256, 1, name=f"{name}_branch1_0")
    branch1 = unit(branch1, 288, 3, strides=2, name=f"{name}_branch1_1")
    branch2 = unit(x, 256, 1, name=f"{name}_branch2_0")
    branch2 = unit(branch2, 288, 3, padding=1, name=f"{name}_branch2_1")
    branch2 = unit(branch2, 320, 3, strides=2, name=f"{name}_branch2_2")
    return concatenate([branch0, branch1, branch2, max_pool(x, 3, 2, name=f"{name}_pool")], name=name)
