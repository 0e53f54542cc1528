"""ResNet for CIFAR: layer names in akamaster's checkpoints and in pytorchcv's."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["akamaster", "pytorchcv"]

OPTIONS = {"pytorchcv": {"shortcut": "B"}}  # akamaster's files show by their keys which shortcut they have

_AKAMASTER = [
    ("conv1_conv", "conv1"),
    ("conv1_bn", "bn1"),
    ("predictions", "linear"),
    (r"conv(\d)_block(\d+)_0_conv", "layer{0:-1}.{1:-1}.shortcut.0"),
    (r"conv(\d)_block(\d+)_0_bn", "layer{0:-1}.{1:-1}.shortcut.1"),
    (r"conv(\d)_block(\d+)_(\d)_(conv|bn)", "layer{0:-1}.{1:-1}.{3}{2}"),
]
_PYTORCHCV = [
    ("conv1_(conv|bn)", "features.init_block.{0}"),
    ("predictions", "output"),
    (r"conv(\d)_block(\d+)_0_(conv|bn)", "features.stage{0:-1}.unit{1}.identity_conv.{2}"),
    (r"conv(\d)_block(\d+)_(\d)_(conv|bn)", "features.stage{0:-1}.unit{1}.body.conv{2}.{3}"),
]


def akamaster(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_0_bn -> layer2.0.shortcut.1."""
    return rename(layers, _AKAMASTER)


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> features.stage2.unit1.body.conv2.bn."""
    return rename(layers, _PYTORCHCV)
