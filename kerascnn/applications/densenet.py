"""DenseNet: every layer sees the maps of all before it (Huang et al. 2016, arXiv:1608.06993)."""

from __future__ import annotations

from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, bn_relu, concatenate, conv, conv_bn_relu, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder

__all__ = ["densenet121", "densenet161", "densenet169", "densenet201", "densenet264"]

# growth rate k, dense layers in each of the four blocks, Table 1; 161 is the authors' (their code and README)
CONFIGURATIONS = {
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
    "densenet264": (32, (6, 12, 64, 48)),
}


@builder
def densenet121(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-121 (Table 1). Options: `ModelOptions`."""
    return _densenet("densenet121", options)


@builder
def densenet161(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-161, of growth rate 48. Options: `ModelOptions`."""
    return _densenet("densenet161", options)


@builder
def densenet169(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-169 (Table 1). Options: `ModelOptions`."""
    return _densenet("densenet169", options)


@builder
def densenet201(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-201 (Table 1). Options: `ModelOptions`."""
    return _densenet("densenet201", options)


@builder
def densenet264(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-264 (Table 1). Options: `ModelOptions`."""
    return _densenet("densenet264", options)


def _densenet(name: str, options: ModelOptions) -> keras.Model:
    net = Network(name, options)
    growth, depths = CONFIGURATIONS[name]
    x = net.stage("stem", conv_bn_relu(net.input, 2 * growth, 7, strides=2, padding=3, name="conv1"))
    x = max_pool(x, 3, 2, padding=1, name="pool1")
    for block, depth in enumerate(depths, start=1):
        if block > 1:
            x = transition(x, f"pool{block}")
        for i in range(1, depth + 1):
            x = dense_layer(x, growth, f"conv{block + 1}_block{i}")
        if block < 4:
            net.stage(f"stage{block}", x)
    return pooled(net, net.stage("stage4", bn_relu(x)))


def dense_layer(
    x: KerasTensor, growth: int, name: str, *, bottleneck: bool = True, dropout: float = 0.0
) -> KerasTensor:
    """Add BN-ReLU-1x1 (the `bottleneck` of DenseNet-B) and BN-ReLU-3x3, joined to their input."""
    y = bn_relu(x, name=f"{name}_0")
    if bottleneck:
        y = _conv(y, 4 * growth, 1, f"{name}_1", dropout)
        y = bn_relu(y, name=f"{name}_1")
    y = _conv(y, growth, 3, f"{name}_{2 if bottleneck else 1}", dropout)
    return concatenate([x, y], name=f"{name}_concat")


def transition(x: KerasTensor, name: str, *, compress: bool = True, dropout: float = 0.0) -> KerasTensor:
    """Add BN-ReLU-1x1, to half the channels with `compress` (DenseNet-C), then 2x2 average pooling."""
    x = bn_relu(x, name=name)
    x = _conv(x, x.shape[-1] // 2 if compress else x.shape[-1], 1, name, dropout)
    return layers.AveragePooling2D(2, 2, data_format=DATA_FORMAT, name=f"{name}_pool")(x)


def _conv(x: KerasTensor, filters: int, side: int, name: str, dropout: float) -> KerasTensor:
    """Add a convolution without bias, and dropout of its outputs where there is any (section 4.2)."""
    x = conv(x, filters, side, padding=side // 2, use_bias=False, activation=None, name=f"{name}_conv")
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x
