"""SENet: layer names in timm's checkpoints, of its own networks and of the ported Caffe ones (`legacy_`)."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming import resnet
from kerascnn.weights.naming.rules import rename

__all__ = ["timm", "timm_legacy"]

OPTIONS = {
    "timm": {"stride_in_1x1": False, "pool_padding": 1},
    "timm_legacy": {"stride_in_1x1": True, "pool_padding": 0, "relu_before_se": True},
}

_TIMM = [
    ("conv1_1_conv", "conv1.0"),  # of senet154
    ("conv1_1_bn", "conv1.1"),
    ("conv1_2_conv", "conv1.3"),
    ("conv1_2_bn", "conv1.4"),
    ("conv1_3_conv", "conv1.6"),
    ("conv1_3_bn", "bn1"),
    (r"conv(\d)_block(\d+)_se_down", "layer{0:-1}.{1:-1}.se.fc1"),
    (r"conv(\d)_block(\d+)_se_up", "layer{0:-1}.{1:-1}.se.fc2"),
]
_TIMM_LEGACY = [
    ("conv1_(conv|bn)", "layer0.{0}1"),
    ("conv1_([123])_(conv|bn)", "layer0.{1}{0}"),
    ("predictions", "last_linear"),
    (r"conv(\d)_block(\d+)_se_down", "layer{0:-1}.{1:-1}.se_module.fc1"),
    (r"conv(\d)_block(\d+)_se_up", "layer{0:-1}.{1:-1}.se_module.fc2"),
]


def timm(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_se_down -> layer2.0.se.fc1."""
    layers = list(layers)
    return resnet.torchvision(layers) | rename(layers, _TIMM)


def timm_legacy(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_se_down -> layer2.0.se_module.fc1."""
    layers = list(layers)
    return resnet.torchvision(layers) | rename(layers, _TIMM_LEGACY)
