"""Inception-ResNet v2: layer names in the checkpoints of timm and of keras.applications."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import count, rename

__all__ = ["keras_applications", "timm"]

EPSILON = {"timm": 1e-3}

_STEM = ("conv_1a_3x3", "conv_2a_3x3", "conv_2b_3x3", "conv_3b_1x1", "conv_4a_3x3")
_BRANCHES = {
    "mixed_5b": ("0", "1_0", "1_1", "2_0", "2_1", "2_2", "3"),
    "block35": ("0", "1_0", "1_1", "2_0", "2_1", "2_2"),
    "mixed_6a": ("0", "1_0", "1_1", "1_2"),
    "block17": ("0", "1_0", "1_1", "1_2"),
    "mixed_7a": ("0_0", "0_1", "1_0", "1_1", "2_0", "2_1", "2_2"),
    "block8": ("0", "1_0", "1_1", "1_2"),
}
_UNITS = {"block35": 10, "block17": 20, "block8": 10}
_TIMM_MODULES = [
    (r"block35_(\d+)(\D.*)?", "repeat.{0:-1}"),
    (r"block17_(\d+)(\D.*)?", "repeat_1.{0:-1}"),
    (r"block8_10(\D.*)?", "block8"),
    (r"block8_(\d+)(\D.*)?", "repeat_2.{0:-1}"),
    (r"(mixed_..).*", "{0}"),
]
_TIMM_PARTS = [
    ("predictions", "classif"),
    ("conv_7b.*_bn", "conv2d_7b.bn"),
    ("conv_7b.*", "conv2d_7b.conv"),
    (r"conv_(\d\w)_.*_(conv|bn)", "conv2d_{0}.{1}"),
    ("mixed_5b_branch3_(conv|bn)", ".branch3.1.{0}"),  # its pooling is the first layer of the branch
    (r".*_branch(\d)_(conv|bn)", ".branch{0}.{1}"),
    (r".*_branch(\d)_(\d)_(conv|bn)", ".branch{0}.{1}.{2}"),
    (".*", ".conv2d"),  # brings a residual to the channels of its unit
]


def timm(layers: Iterable[str]) -> dict[str, str]:
    """block17_3_branch1_2_bn -> repeat_1.2.branch1.2.bn."""
    layers = list(layers)
    modules = rename(layers, _TIMM_MODULES)
    return {layer: modules.get(layer, "") + part for layer, part in rename(layers, _TIMM_PARTS).items()}


def keras_applications(layers: Iterable[str]) -> dict[str, str]:
    """block35_1_branch0_conv -> conv2d_12: Keras names some layers and counts the others in the order of building."""
    units = list(_STEM)
    for kind, branches in _BRANCHES.items():
        modules = [f"{kind}_{i}" for i in range(1, _UNITS[kind] + 1)] if kind in _UNITS else [kind]
        units += [f"{module}_branch{branch}" for module in modules for branch in branches]
    return count(layers, units)
