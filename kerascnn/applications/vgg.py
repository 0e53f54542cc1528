"""VGG: stacks of 3x3 convolutions (Simonyan & Zisserman 2014, arXiv:1409.1556).

The paper has no batch normalization, which is a year younger; the `_bn` variants are torchvision's, which keep the
biases of the convolutions that the normalization makes redundant.
"""

from __future__ import annotations

from typing import Unpack

import keras
from keras import layers

from kerascnn.building.blocks import batch_norm, conv, max_pool
from kerascnn.building.head import flattened
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder
from kerascnn.layers.normalization import LocalResponseNormalization

__all__ = ["vgg11", "vgg11_bn", "vgg11_lrn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg16_c", "vgg19", "vgg19_bn"]

WIDTHS = (64, 128, 256, 512, 512)

# convolutions in each block, Table 1
CONFIGURATIONS = {
    "vgg11": (1, 1, 2, 2, 2),  # A
    "vgg11_lrn": (1, 1, 2, 2, 2),  # A-LRN, with local response normalization in the first block
    "vgg13": (2, 2, 2, 2, 2),  # B
    "vgg16_c": (2, 2, 3, 3, 3),  # C, where the third of a block is 1x1
    "vgg16": (2, 2, 3, 3, 3),  # D
    "vgg19": (2, 2, 4, 4, 4),  # E
}


@builder
def vgg11(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-11, configuration A of Table 1. Options: `ModelOptions`."""
    return _vgg("vgg11", options)


@builder
def vgg11_lrn(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-11 with local response normalization, configuration A-LRN of Table 1. Options: `ModelOptions`."""
    return _vgg("vgg11_lrn", options)


@builder
def vgg13(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-13, configuration B of Table 1. Options: `ModelOptions`."""
    return _vgg("vgg13", options)


@builder
def vgg16_c(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-16 of configuration C of Table 1, with three 1x1 convolutions. Options: `ModelOptions`."""
    return _vgg("vgg16_c", options)


@builder
def vgg16(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-16, configuration D of Table 1. Options: `ModelOptions`."""
    return _vgg("vgg16", options)


@builder
def vgg19(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-19, configuration E of Table 1. Options: `ModelOptions`."""
    return _vgg("vgg19", options)


@builder
def vgg11_bn(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-11 with batch normalization after each convolution. Options: `ModelOptions`."""
    return _vgg("vgg11_bn", options)


@builder
def vgg13_bn(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-13 with batch normalization after each convolution. Options: `ModelOptions`."""
    return _vgg("vgg13_bn", options)


@builder
def vgg16_bn(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-16 with batch normalization after each convolution. Options: `ModelOptions`."""
    return _vgg("vgg16_bn", options)


@builder
def vgg19_bn(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build VGG-19 with batch normalization after each convolution. Options: `ModelOptions`."""
    return _vgg("vgg19_bn", options)


def _vgg(name: str, options: ModelOptions) -> keras.Model:
    net = Network(name, options)
    normalized = name.endswith("_bn")
    x = net.input
    for block, (depth, width) in enumerate(zip(CONFIGURATIONS[name.removesuffix("_bn")], WIDTHS, strict=True), start=1):
        for i in range(1, depth + 1):
            kernel = 1 if name == "vgg16_c" and i == 3 else 3
            activation = None if normalized else "relu"
            x = conv(x, width, kernel, padding=kernel // 2, activation=activation, name=f"block{block}_conv{i}")
            if normalized:
                x = batch_norm(x, name=f"block{block}_bn{i}")
                x = layers.Activation("relu", name=f"block{block}_relu{i}")(x)
        net.stage(f"stage{block}", x)
        if name == "vgg11_lrn" and block == 1:
            x = LocalResponseNormalization(name="block1_norm")(x)  # with AlexNet's constants (section 2.1)
        x = max_pool(x, 2, 2, name=f"block{block}_pool")
    return flattened(net, x, ("fc1", "fc2"))
