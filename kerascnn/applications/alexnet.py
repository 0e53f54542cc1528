"""AlexNet (Krizhevsky, Sutskever & Hinton 2012) and the one-tower net of "One weird trick" (arXiv:1404.5997)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.building.blocks import conv, max_pool
from kerascnn.building.head import flattened
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder
from kerascnn.layers import AdaptiveAveragePooling2D, LocalResponseNormalization

__all__ = ["alexnet", "alexnet_owt"]


@builder
def alexnet(*, groups: int | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build AlexNet of 2012 (section 3.5), its two GPUs as two groups of channels.

    The input is 227x227: the paper prints 224, from which its own map sizes (55, 27, 13) do not follow.

    Args:
        groups: Groups of conv2, conv4 and conv5: 2 as in the paper (the default), or 1 for one tower.
        **options: See `ModelOptions`.
    """
    net = Network("alexnet", options, {"groups": Choice(groups, 2, (1, 2))})
    groups = net.choices["groups"]
    x = net.stage("stem", conv(net.input, 96, 11, strides=4, name="conv1"))
    x = LocalResponseNormalization(name="norm1")(x)
    x = max_pool(x, 3, 2, name="pool1")
    x = net.stage("stage1", conv(x, 256, 5, padding=2, groups=groups, name="conv2"))
    x = LocalResponseNormalization(name="norm2")(x)
    x = max_pool(x, 3, 2, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = conv(x, 384, 3, padding=1, groups=groups, name="conv4")
    x = net.stage("stage2", conv(x, 256, 3, padding=1, groups=groups, name="conv5"))
    x = max_pool(x, 3, 2, name="pool5")
    return flattened(net, x)  # dropout as in section 4.2


@builder
def alexnet_owt(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build the one-tower AlexNet of 2014 with torchvision's widths (64-192-384-256-256), without normalization.

    Options: `ModelOptions`. Other sizes than 224 are pooled to 6x6 before fc6, as torchvision does.
    """
    net = Network("alexnet_owt", options)
    x = net.stage("stem", conv(net.input, 64, 11, strides=4, padding=2, name="conv1"))
    x = max_pool(x, 3, 2, name="pool1")
    x = net.stage("stage1", conv(x, 192, 5, padding=2, name="conv2"))
    x = max_pool(x, 3, 2, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = conv(x, 256, 3, padding=1, name="conv4")  # torchvision's width
    x = net.stage("stage2", conv(x, 256, 3, padding=1, name="conv5"))
    x = max_pool(x, 3, 2, name="pool5")
    if not net.features_only and None not in x.shape[1:3] and x.shape[1:3] != (6, 6):
        x = AdaptiveAveragePooling2D((6, 6), name="avg_pool")(x)
    return flattened(net, x, dropout="in")  # as torchvision does
