"""DenseNet for CIFAR-10, plain and BC (Huang et al. 2016, arXiv:1608.06993, sections 3 and 4)."""

from __future__ import annotations

from typing import Unpack

import keras

from kerascnn.applications.densenet import dense_layer, transition
from kerascnn.building.blocks import bn_relu, conv
from kerascnn.building.head import dropout_rate, pooled
from kerascnn.building.network import Network
from kerascnn.building.options import ModelOptions, builder

__all__ = [
    "densenet40_bc_k36_cifar",
    "densenet40_bc_k48_cifar",
    "densenet40_bc_k60_cifar",
    "densenet40_k12_cifar",
    "densenet100_bc_k12_cifar",
    "densenet100_k12_cifar",
    "densenet100_k24_cifar",
    "densenet190_bc_k40_cifar",
    "densenet250_bc_k24_cifar",
]

# layers, growth rate k, whether with bottlenecks and compression (BC): Table 2, and the wide ones of the README
CONFIGURATIONS = {
    "densenet40_k12_cifar": (40, 12, False),
    "densenet100_k12_cifar": (100, 12, False),
    "densenet100_k24_cifar": (100, 24, False),
    "densenet100_bc_k12_cifar": (100, 12, True),
    "densenet190_bc_k40_cifar": (190, 40, True),
    "densenet250_bc_k24_cifar": (250, 24, True),
    "densenet40_bc_k36_cifar": (40, 36, True),
    "densenet40_bc_k48_cifar": (40, 48, True),
    "densenet40_bc_k60_cifar": (40, 60, True),
}


@builder
def densenet40_k12_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet of 40 layers and growth rate 12, without bottlenecks, 10 classes unless `classes` says otherwise.

    Its transitions keep all channels: compression belongs to the BC networks.

    Args:
        dropout: The rate of dropout after each convolution but the first, 0 by default; the paper uses 0.2 where it
            trains without augmentation (section 4.2).
        **options: See `ModelOptions`.
    """
    return _densenet("densenet40_k12_cifar", options, dropout)


@builder
def densenet100_k12_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet of 100 layers and growth rate 12. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet100_k12_cifar", options, dropout)


@builder
def densenet100_k24_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet of 100 layers and growth rate 24. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet100_k24_cifar", options, dropout)


@builder
def densenet100_bc_k12_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-BC of 100 layers and growth rate 12, with bottlenecks and compression by half.

    Options as for `densenet40_k12_cifar`.
    """
    return _densenet("densenet100_bc_k12_cifar", options, dropout)


@builder
def densenet190_bc_k40_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-BC of 190 layers and growth rate 40. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet190_bc_k40_cifar", options, dropout)


@builder
def densenet250_bc_k24_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build DenseNet-BC of 250 layers and growth rate 24. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet250_bc_k24_cifar", options, dropout)


@builder
def densenet40_bc_k36_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build Wide-DenseNet-BC of 40 layers and growth rate 36. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet40_bc_k36_cifar", options, dropout)


@builder
def densenet40_bc_k48_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build Wide-DenseNet-BC of 40 layers and growth rate 48. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet40_bc_k48_cifar", options, dropout)


@builder
def densenet40_bc_k60_cifar(*, dropout: float = 0.0, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build Wide-DenseNet-BC of 40 layers and growth rate 60. Options as for `densenet40_k12_cifar`."""
    return _densenet("densenet40_bc_k60_cifar", options, dropout)


def _densenet(name: str, options: ModelOptions, dropout: float) -> keras.Model:
    """Build a 3x3 convolution and three equal blocks, of `depth` - 4 convolutions in all."""
    net = Network(name, options)
    depth, growth, bc = CONFIGURATIONS[name]
    rate = dropout_rate(name, dropout)
    first = 2 * growth if bc else 16
    x = net.stage("stem", conv(net.input, first, 3, padding=1, use_bias=False, activation=None, name="conv1_conv"))
    for block in (1, 2, 3):
        if block > 1:
            x = transition(x, f"pool{block}", compress=bc, dropout=rate)
        for i in range(1, (depth - 4) // (6 if bc else 3) + 1):
            x = dense_layer(x, growth, f"conv{block + 1}_block{i}", bottleneck=bc, dropout=rate)
        if block < 3:
            net.stage(f"stage{block}", x)
    return pooled(net, net.stage("stage3", bn_relu(x)))
