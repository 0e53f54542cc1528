"""Residual units with full pre-activation (He et al. 2016, Identity Mappings, arXiv:1603.05027).

ResNet v2 and the Wide ResNets for CIFAR are made of them.
"""

from __future__ import annotations

from typing import Literal

from keras import KerasTensor, layers

from kerascnn.applications._residual import padded
from kerascnn.building.blocks import add, bn_relu, conv
from kerascnn.layers.stochastic_depth import Join


def basic(
    x: KerasTensor,
    width: int,
    strides: int,
    name: str,
    join: Join = add,
    *,
    activate: bool = True,
    shortcut: Literal["A", "B"] = "B",
    dropout: float = 0.0,
) -> KerasTensor:
    """Two 3x3 convolutions, BN and ReLU before each, and the shortcut.

    `activate=False` is for a map that is activated already; `dropout` is before the second convolution.
    """
    activated = bn_relu(x, name=f"{name}_preact") if activate else x
    y = _conv(activated, width, 3, strides, f"{name}_1")
    y = bn_relu(y, name=f"{name}_1")
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_dropout")(y)
    y = _conv(y, width, 3, 1, f"{name}_2")
    return _join(x, activated, y, strides, name, join, shortcut)


def bottleneck(
    x: KerasTensor,
    width: int,
    strides: int,
    name: str,
    join: Join = add,
    *,
    activate: bool = True,
    stride_in_1x1: bool = False,
    bias: bool = False,
) -> KerasTensor:
    """1x1, 3x3 and 1x1 convolutions, BN and ReLU before each, and the shortcut.

    `activate=False` is for a map that is activated already; `bias` gives biases to the last convolution and the
    projection. The stride is on the 3x3, as in fb.resnet.torch, or on the first 1x1 with `stride_in_1x1`.
    """
    early, late = (strides, 1) if stride_in_1x1 else (1, strides)
    activated = bn_relu(x, name=f"{name}_preact") if activate else x
    y = _conv(activated, width, 1, early, f"{name}_1")
    y = bn_relu(y, name=f"{name}_1")
    y = _conv(y, width, 3, late, f"{name}_2")
    y = bn_relu(y, name=f"{name}_2")
    y = _conv(y, 4 * width, 1, 1, f"{name}_3", bias)
    return _join(x, activated, y, strides, name, join, bias=bias)


def _join(
    x: KerasTensor,
    activated: KerasTensor,
    y: KerasTensor,
    strides: int,
    name: str,
    join: Join,
    shortcut: Literal["A", "B"] = "B",
    bias: bool = False,
) -> KerasTensor:
    """Sum of the branch `y` and the shortcut: a projection takes the activated map, an identity `x` (section 4.1)."""
    if shortcut == "B" and x.shape[-1] != y.shape[-1]:
        x = _conv(activated, y.shape[-1], 1, strides, f"{name}_0", bias)
    else:
        x = padded(x, y.shape[-1], strides, name)
    return join(x, y, name=f"{name}_out")


def _conv(x: KerasTensor, filters: int, side: int, strides: int, name: str, bias: bool = False) -> KerasTensor:
    return conv(
        x, filters, side, strides=strides, padding=side // 2, use_bias=bias, activation=None, name=f"{name}_conv"
    )
