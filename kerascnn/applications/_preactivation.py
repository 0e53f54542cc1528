"""Residual units with full pre-activation (He et al. 2016, Identity Mappings, arXiv:1603.05027).

ResNet v2 and the Wide ResNets for CIFAR are made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keras import KerasTensor, layers

from kerascnn.applications._residual import Place, padded
from kerascnn.building.blocks import bn_relu, conv


@dataclass(frozen=True)
class Basic:
    """A unit of two 3x3 convolutions, BN and ReLU before each, and the shortcut.

    Attributes:
        activated: Whether the map that the network's first unit takes is activated already.
        shortcut: As for `_residual.Basic`.
        dropout: Rate of dropout before the second convolution.
    """

    activated: bool = False
    shortcut: Literal["A", "B"] = "B"
    dropout: float = 0.0

    def __call__(self, x: KerasTensor, place: Place) -> KerasTensor:
        """Build the unit on `x`."""
        name = place.name
        activated = x if self.activated and place.first else bn_relu(x, name=f"{name}_preact")
        y = _conv(activated, place.width, 3, place.strides, f"{name}_1")
        y = bn_relu(y, name=f"{name}_1")
        if self.dropout:
            y = layers.Dropout(self.dropout, name=f"{name}_dropout")(y)
        y = _conv(y, place.width, 3, 1, f"{name}_2")
        return _join(x, activated, y, place, self.shortcut)


@dataclass(frozen=True)
class Bottleneck:
    """A unit of 1x1, 3x3 and 1x1 convolutions, BN and ReLU before each, and the shortcut.

    Attributes:
        activated: As for `Basic`.
        stride_in_1x1: Whether the stride is on the first 1x1 convolution, and not on the 3x3 as in fb.resnet.torch.
        bias: Whether the last convolution and the projection have biases.
    """

    activated: bool = False
    stride_in_1x1: bool = False
    bias: bool = False

    def __call__(self, x: KerasTensor, place: Place) -> KerasTensor:
        """Build the unit on `x`."""
        name = place.name
        early, late = (place.strides, 1) if self.stride_in_1x1 else (1, place.strides)
        activated = x if self.activated and place.first else bn_relu(x, name=f"{name}_preact")
        y = _conv(activated, place.width, 1, early, f"{name}_1")
        y = bn_relu(y, name=f"{name}_1")
        y = _conv(y, place.width, 3, late, f"{name}_2")
        y = bn_relu(y, name=f"{name}_2")
        y = _conv(y, 4 * place.width, 1, 1, f"{name}_3", self.bias)
        return _join(x, activated, y, place, bias=self.bias)


def _join(
    x: KerasTensor,
    activated: KerasTensor,
    y: KerasTensor,
    place: Place,
    shortcut: Literal["A", "B"] = "B",
    bias: bool = False,
) -> KerasTensor:
    """Add the branch `y` to the shortcut, which takes the activated map where it widens, else `x` (section 4.1)."""
    widens = x.shape[-1] != y.shape[-1]
    if widens and shortcut == "B":
        x = _conv(activated, y.shape[-1], 1, place.strides, f"{place.name}_0", bias)
    else:
        x = padded(activated if widens else x, y.shape[-1], place.strides, place.name)
    return place.join(x, y, name=f"{place.name}_out")


def _conv(x: KerasTensor, filters: int, side: int, strides: int, name: str, bias: bool = False) -> KerasTensor:
    return conv(
        x, filters, side, strides=strides, padding=side // 2, use_bias=bias, activation=None, name=f"{name}_conv"
    )
