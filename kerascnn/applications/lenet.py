"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, Gradient-Based Learning Applied to Document Recognition, II.B).

Images of digits are white on black, as MNIST has them; `variant(name).preprocessing` says how they are scaled.
"""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, average_pool, conv, max_pool
from kerascnn.building.head import dense, flat, head_dtype, predictions
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder
from kerascnn.layers.lenet import (
    PartialConv2D,
    RadialBasis,
    TrainableSubsampling,
    class_codes,
    fan_in_uniform,
    scaled_tanh,
)

__all__ = ["lenet5", "lenet5_1998", "lenet_caffe"]

# Table I: which maps of S2 each of the 16 maps of C3 sees.
C3_TABLE = (
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


@builder
def lenet5(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build LeNet-5 as it is built today: tanh, plain average pooling, every map of C3 on every map of S2, softmax.

    61,706 parameters on images of 32x32. A digit of MNIST (28x28) is put in the middle of them, as the paper does.
    Options: `ModelOptions`.
    """
    net = Network("lenet5", options)
    x = net.stage("stem", conv(net.input, 6, 5, activation="tanh", name="c1"))
    x = average_pool(x, 2, 2, name="s2")
    x = net.stage("stage1", conv(x, 16, 5, activation="tanh", name="c3"))
    x = average_pool(x, 2, 2, name="s4")
    x = net.stage("stage2", conv(x, 120, 5, activation="tanh", name="c5"))
    if net.features_only:
        return net.finish(x)
    x = layers.Dense(84, activation="tanh", name="f6")(flat(net, x))
    return net.finish(predictions(net, x))


@builder
def lenet5_1998(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build LeNet-5 as the paper has it: 60,000 trained parameters, and 840 fixed ones in its outputs.

    S2 and S4 learn a coefficient and a bias for each map, C3 connects the maps of the paper's Table I, all units up to
    F6 are scaled tanh, and each output is a Euclidean distance between F6 and a bitmap of its digit. Before the softmax
    the outputs are minus those distances (`classifier_activation=None`), for which
    `kerascnn.layers.lenet.DistanceLoss` has the paper's two training criteria; with the softmax any classifier's loss
    works.

    The bitmaps are drawn after the paper's figure 3. There are only ten: with another number of `classes` the outputs
    have fixed random codes of +1 and -1 instead, which the paper names as the alternative.

    Options: `ModelOptions`.
    """
    net = Network("lenet5_1998", options)
    x = net.stage("stem", _convolution(net.input, 6, "c1"))
    x = TrainableSubsampling(activation=scaled_tanh, name="s2")(x)
    x = net.stage("stage1", PartialConv2D(C3_TABLE, 5, activation=scaled_tanh, name="c3")(x))
    x = TrainableSubsampling(activation=scaled_tanh, name="s4")(x)
    x = net.stage("stage2", _convolution(x, 120, "c5"))
    if net.features_only:
        return net.finish(x)
    x = flat(net, x)
    x = layers.Dense(84, activation=scaled_tanh, kernel_initializer=fan_in_uniform(x.shape[-1]), name="f6")(x)
    x = RadialBasis(class_codes(net.options.classes), dtype=head_dtype(), name="predictions")(x)
    activation = net.options.classifier_activation
    return net.finish(layers.Activation(activation, dtype=head_dtype(), name="classifier_activation")(x))


@builder
def lenet_caffe(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build the LeNet of Caffe's MNIST example: 20 and 50 maps without an activation, max pooling, 500 units with ReLU.

    431,080 parameters on images of 28x28, with convolutions that do not pad. Some lectures draw it with padding of 2,
    which makes maps of 28, 14 and 7 pixels.

    Options: `ModelOptions`.
    """
    net = Network("lenet_caffe", options)
    x = net.stage("stem", conv(net.input, 20, 5, activation=None, name="conv1"))
    x = max_pool(x, 2, 2, name="pool1")
    x = net.stage("stage1", conv(x, 50, 5, activation=None, name="conv2"))
    x = max_pool(x, 2, 2, name="pool2")
    if net.features_only:
        return net.finish(x)
    return net.finish(predictions(net, dense(flat(net, x), 500, "ip1")))


def _convolution(x: KerasTensor, maps: int, name: str) -> KerasTensor:
    return layers.Conv2D(
        maps,
        5,
        activation=scaled_tanh,
        kernel_initializer=fan_in_uniform(25 * x.shape[-1]),
        data_format=DATA_FORMAT,
        name=name,
    )(x)
