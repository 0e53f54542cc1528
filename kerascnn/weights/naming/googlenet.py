"""GoogLeNet: layer names in Caffe's network, and in torchvision's checkpoints of the one with batch normalization."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["caffe", "torchvision"]

EPSILON = {"torchvision": 1e-3}
# a model without auxiliary classifiers does not need theirs
LEFT_OUT = {"caffe": ("loss1/", "loss2/"), "torchvision": ("aux1.", "aux2.")}

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
_CAFFE = [
    ("conv1_7x7_s2", "conv1/7x7_s2"),
    ("conv2_(.*)", "conv2/{0}"),
    (r"aux(\d)", "loss{0}/classifier"),
    (r"aux(\d)_(.*)", "loss{0}/{1}"),
    ("predictions", "loss3/classifier"),
    ("(inception_..)_(.*)", "{0}/{1}"),
]


def caffe(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_5x5_reduce -> inception_4a/5x5_reduce."""
    return rename(layers, _CAFFE)


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_5x5_reduce_conv -> inception4a.branch3.0.conv."""
    return rename(layers, _TORCHVISION)
