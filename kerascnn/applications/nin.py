"""Network in Network (Lin et al. 2013, arXiv:1312.4400).

1x1 convolutions follow each convolution, and no layer is fully connected.

Layer names are those of the authors' Caffe networks, where `cccp` is a 1x1 convolution ("cascaded cross channel
parametric pooling").
"""

from __future__ import annotations

from typing import Literal, Unpack

import keras
import numpy as np
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, average_pool, conv, max_pool
from kerascnn.building.head import averaged
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["nin", "nin_cifar"]


@builder
def nin(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build the ImageNet network of the Caffe model zoo; the paper describes only its CIFAR networks (section 4).

    Options: `ModelOptions`.
    """
    net = Network("nin", options)
    x = conv(net.input, 96, 11, strides=4, name="conv1")
    x = net.stage("stage1", _cascade(x, {"cccp1": 96, "cccp2": 96}))
    x = max_pool(x, 3, 2, ceil=True, name="pool1")
    x = conv(x, 256, 5, padding=2, name="conv2")
    x = net.stage("stage2", _cascade(x, {"cccp3": 256, "cccp4": 256}))
    x = max_pool(x, 3, 2, ceil=True, name="pool2")
    x = conv(x, 384, 3, padding=1, name="conv3")
    x = net.stage("stage3", _cascade(x, {"cccp5": 384, "cccp6": 384}))
    x = max_pool(x, 3, 2, ceil=True, name="pool3")
    x = layers.Dropout(0.5, name="drop")(x)
    x = conv(x, 1024, 3, padding=1, name="conv4")
    x = net.stage("stage4", _cascade(x, {"cccp7": 1024}))
    return _classifier(x, net, "cccp8")


@builder
def nin_cifar(
    *,
    pool2: Literal["max", "average"] | None = None,
    pool_padding: Literal[0, 1] | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build the CIFAR-10 network (section 4.2), 10 classes unless `classes` says otherwise.

    Args:
        pool2: The second pooling. "max" (the default) as in the network of the paper's experiments
            (github.com/mavenlin/cuda-convnet, NIN/cifar-10_def, line 88); "average" as in the authors' later Caffe
            network, and in pytorchcv.
        pool_padding: 0 (the default) for pools that begin at the first pixel, as in both of the authors' networks, and
            averages of the pixels within the map; 1 for one row of zeros all around, which the averages count, as in
            pytorchcv.
        **options: See `ModelOptions`.
    """
    choices = {"pool2": Choice(pool2, "max", ("max", "average")), "pool_padding": Choice(pool_padding, 0, (0, 1))}
    net = Network("nin_cifar", options, choices)
    x = conv(net.input, 192, 5, padding=2, name="conv1")
    x = net.stage("stage1", _cascade(x, {"cccp1": 160, "cccp2": 96}))
    padding = net.choices["pool_padding"]
    x = max_pool(x, 3, 2, padding=padding, ceil=not padding, name="pool1")
    x = layers.Dropout(0.5, name="drop3")(x)
    x = conv(x, 192, 5, padding=2, name="conv2")
    x = net.stage("stage2", _cascade(x, {"cccp3": 192, "cccp4": 192}))
    if net.choices["pool2"] == "max":
        x = max_pool(x, 3, 2, padding=padding, ceil=not padding, name="pool2")
    else:
        x = _average(x, net)
    x = layers.Dropout(0.5, name="drop6")(x)
    x = conv(x, 192, 3, padding=1, name="conv3")
    x = net.stage("stage3", _cascade(x, {"cccp5": 192}))
    return _classifier(x, net, "cccp6")


def _cascade(x: KerasTensor, widths: dict[str, int]) -> KerasTensor:
    """Add 1x1 convolutions, which with the one before them are the multilayer perceptron of section 3.1."""
    for name, width in widths.items():
        x = conv(x, width, 1, name=name)
    return x


def _average(x: KerasTensor, net: Network) -> KerasTensor:
    """Add averages of 3x3 pixels, two apart. Caffe rounds up: the last window of an even side has two pixels."""
    if net.choices["pool_padding"]:
        return average_pool(x, 3, 2, padding=1, count_padding=True, name="pool2")
    sides = x.shape[1:3]
    if None in sides:
        raise ValueError(
            "The windows of nin_cifar's average pool depend on the size of the image. Give the sides in input_shape, "
            'or take pool2="max" or pool_padding=1.'
        )
    ends = [1 - side % 2 for side in sides]
    if any(ends):
        padding = tuple((0, end) for end in ends)
        x = layers.ZeroPadding2D(padding, data_format=DATA_FORMAT, name="pool2_pad")(x)
    x = average_pool(x, 3, 2, name="pool2")
    if any(ends):
        # Not "same", which would do it: on torch Keras then repeats the last pixel instead of counting two.
        scale = np.ones((*x.shape[1:3], 1), np.float32)
        for axis, end in enumerate(ends):
            np.moveaxis(scale, axis, 0)[-1] *= 1 + end / 2
        x = layers.Rescaling(scale, name="pool2_scale")(x)
    return x


def _classifier(x: KerasTensor, net: Network, name: str) -> keras.Model:
    """End with one map a class, rectified as all others, and its mean (section 3.2)."""
    if net.features_only:
        return net.finish(x)
    return averaged(net, conv(x, net.options.classes, 1, name=name))
