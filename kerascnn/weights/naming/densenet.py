"""DenseNet: layer names in the checkpoints of torchvision and timm (the same), and of keras.applications' files."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["keras_applications", "torchvision", "torchvision_2017"]

_TORCHVISION = [
    ("conv1_conv", "features.conv0"),
    ("conv1_bn", "features.norm0"),
    ("bn", "features.norm5"),
    ("predictions", "classifier"),
    (r"conv(\d)_block(\d+)_(\d)_conv", "features.denseblock{0:-1}.denselayer{1}.conv{2}"),
    # the normalization before the first convolution is our 0 and their 1
    (r"conv(\d)_block(\d+)_(\d)_bn", "features.denseblock{0:-1}.denselayer{1}.norm{2:+1}"),
    (r"pool(\d)_conv", "features.transition{0:-1}.conv"),
    (r"pool(\d)_bn", "features.transition{0:-1}.norm"),
]


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_0_bn -> features.denseblock2.denselayer1.norm1, conv3_block1_1_conv -> ….denselayer1.conv1."""
    return rename(layers, _TORCHVISION)


def torchvision_2017(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_0_bn -> features.denseblock2.denselayer1.norm.1, as in torchvision's published files."""
    return {layer: re.sub(r"(denselayer\d+\.\D+)(\d)", r"\1.\2", name) for layer, name in torchvision(layers).items()}


def keras_applications(layers: Iterable[str]) -> dict[str, str]:
    """conv1_conv -> conv1/conv: the published files are older than Keras's ban on slashes."""
    return rename(layers, [("conv1_(conv|bn)", "conv1/{0}"), ("(.*)", "{0}")])
