"""AlexNet (Krizhevsky, Sutskever & Hinton 2012) and the one-tower net of "One weird trick" (arXiv:1404.5997)."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, conv, max_pool
from kerascnn.building.head import flattened
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder
from kerascnn.layers import AdaptiveAveragePooling2D, LocalResponseNormalization

__all__ = ["alexnet", "alexnet_owt", "alexnet_owt_krizhevsky"]


@builder
def alexnet(
    *,
    groups: int | None = None,
    lrn_average: bool | None = None,
    lrn_bias: int | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build AlexNet of 2012 (section 3.5), its two GPUs as two groups of channels.

    The paper prints images of 224x224. Its map sizes (55, 27, 13) follow from them by the rule of its authors' code,
    which rounds up, so that the last window reaches over the edge (github.com/akrizhevsky/cuda-convnet2, layer.py, line
    1097); so it is here. From 227x227, Caffe's size and the default, they follow without rounding.

    Args:
        groups: Groups of conv2, conv4 and conv5: 2 as in the paper (the default), or 1 for one tower.
        lrn_average: False (the default) normalizes by the sum of the squares in a window of five channels, as the
            paper's formula (section 3.3); True by their average, as in cuda-convnet2 (layer.py, line 1331) and Caffe.
            Which one was run in 2012 is not known.
        lrn_bias: What is added to the squares: 2 as in the paper (the default), or 1 as in Caffe's network.
        **options: See `ModelOptions`.
    """
    choices = {
        "groups": Choice(groups, 2, (1, 2)),
        "lrn_average": Choice(lrn_average, False),
        "lrn_bias": Choice(lrn_bias, 2, (1, 2)),
    }
    net = Network("alexnet", options, choices)
    groups, alpha = net.choices["groups"], 1e-4 / 5 if net.choices["lrn_average"] else 1e-4
    normalize = partial(LocalResponseNormalization, alpha=alpha, bias=net.choices["lrn_bias"])
    x = net.stage("stem", conv(_whole_windows(net.input), 96, 11, strides=4, name="conv1"))
    x = normalize(name="norm1")(x)
    x = max_pool(x, 3, 2, ceil=True, name="pool1")
    x = net.stage("stage1", conv(x, 256, 5, padding=2, groups=groups, name="conv2"))
    x = normalize(name="norm2")(x)
    x = max_pool(x, 3, 2, ceil=True, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = conv(x, 384, 3, padding=1, groups=groups, name="conv4")
    x = net.stage("stage2", conv(x, 256, 3, padding=1, groups=groups, name="conv5"))
    x = max_pool(x, 3, 2, ceil=True, name="pool5")
    return flattened(net, x)  # dropout as in section 4.2


@builder
def alexnet_owt(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build the one-tower AlexNet of 2014 as torchvision has it, without normalization, dropout before dense layers.

    `alexnet_owt_krizhevsky` is the author's; the widths (64-192-384-256-256) are the same.

    Options: `ModelOptions`. Other sizes than 224 are pooled to 6x6 before fc6, as torchvision does.
    """
    net = Network("alexnet_owt", options)
    x = net.stage("stem", conv(net.input, 64, 11, strides=4, padding=2, name="conv1"))
    x = max_pool(x, 3, 2, name="pool1")
    x = net.stage("stage1", conv(x, 192, 5, padding=2, name="conv2"))
    x = max_pool(x, 3, 2, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = conv(x, 256, 3, padding=1, name="conv4")
    x = net.stage("stage2", conv(x, 256, 3, padding=1, name="conv5"))
    x = max_pool(x, 3, 2, name="pool5")
    if not net.features_only and None not in x.shape[1:3] and x.shape[1:3] != (6, 6):
        x = AdaptiveAveragePooling2D((6, 6), name="avg_pool")(x)
    return flattened(net, x, dropout="in")  # as torchvision does


@builder
def alexnet_owt_krizhevsky(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build the one-tower AlexNet of 2014 as its author has it, with local response normalization.

    Source: github.com/akrizhevsky/cuda-convnet2, layers/layers-imagenet-1gpu.cfg, widths included (conv4 has 256
    filters there, line 81). conv1 and the pools round up; the first map is rectified after its pool, and normalized
    before; normalization averages the squares of five channels; dropout is on the outputs of the hidden layers.

    Options: `ModelOptions`.
    """
    net = Network("alexnet_owt_krizhevsky", options)
    alpha = 1e-4 / 5  # the file's scale by the window's size (layer.py, line 1331)
    x = conv(_whole_windows(net.input), 64, 11, strides=4, activation=None, name="conv1")
    x = net.stage("stem", LocalResponseNormalization(alpha=alpha, name="norm1")(x))
    # The zeros beyond the edge do not win where all values are negative, because ReLU comes next.
    x = layers.Activation("relu", name="relu1")(max_pool(x, 3, 2, ceil=True, name="pool1"))
    x = net.stage("stage1", conv(x, 192, 5, padding=2, name="conv2"))
    x = LocalResponseNormalization(alpha=alpha, name="norm2")(x)
    x = max_pool(x, 3, 2, ceil=True, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = conv(x, 256, 3, padding=1, name="conv4")
    x = net.stage("stage2", conv(x, 256, 3, padding=1, name="conv5"))
    return flattened(net, max_pool(x, 3, 2, ceil=True, name="pool5"))


def _whole_windows(x: KerasTensor) -> KerasTensor:
    """Add zeros at the far edges, so that 11x11 windows four apart cover every pixel."""
    ends = [3 if side is None else -(side - 11) % 4 for side in x.shape[1:3]]
    if not any(ends):
        return x
    padding = tuple((0, end) for end in ends)
    return layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name="conv1_pad")(x)
