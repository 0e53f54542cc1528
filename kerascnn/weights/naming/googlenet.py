"""GoogLeNet: layer names in torchvision's checkpoints, which are of the variant with batch normalization."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["torchvision"]

EPSILON = {"torchvision": 1e-3}
LEFT_OUT = {"torchvision": ("aux1.", "aux2.")}  # a model without auxiliary classifiers does not need theirs

_BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}
_TORCHVISION = [
    ("conv1_7x7_s2_(conv|bn)", "conv1.{0}"),
    ("conv2_3x3_reduce_(conv|bn)", "conv2.{0}"),
    ("conv2_3x3_(conv|bn)", "conv3.{0}"),
    ("(aux[12])_conv_(conv|bn)", "{0}.conv.{1}"),
    ("(aux[12])_fc", "{0}.fc1"),
    ("(aux[12])", "{0}.fc2"),
    ("predictions", "fc"),
    *((f"inception_(..)_{ours}_(conv|bn)", f"inception{{0}}.{theirs}.{{1}}") for ours, theirs in _BRANCHES.items()),
]


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_5x5_reduce_conv -> inception4a.branch3.0.conv."""
    return rename(layers, _TORCHVISION)
