"""BN-Inception: layer names in the checkpoints that were converted from Caffe's.

Their convolutions have biases besides batch normalisation, which are folded into its means.
"""

from __future__ import annotations

from collections.abc import Iterable

OPTIONS = {"pytorchcv": {"pool_counts_padding": True}, "pretrainedmodels": {"pool_counts_padding": True}}

_STEM = {
    "conv1_7x7_s2": "init_block.conv1",
    "conv2_3x3_reduce": "init_block.conv2.conv1",
    "conv2_3x3": "init_block.conv2.conv2",
}
_STAGES = ("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b")
_UNITS = {module: f"stage{i}.unit{j}" for i, stage in enumerate(_STAGES, 1) for j, module in enumerate(stage, 1)}
_BRANCHES = {
    "1x1": ("branch1", ""),
    "3x3_reduce": ("branch2", ".conv1"),
    "3x3": ("branch2", ".conv2"),
    "double_3x3_reduce": ("branch3", ".conv1"),
    "double_3x3_1": ("branch3", ".conv2"),
    "double_3x3_2": ("branch3", ".conv3"),
    "pool_proj": ("branch4", ".conv"),
}
_REDUCTION_BRANCHES = {"branch2": "branch1", "branch3": "branch2"}  # 3c and 4e have no 1x1 branch


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_double_3x3_2_conv -> features.stage2.unit2.branches.branch3.conv3.conv"""
    names = {}
    for layer in layers:
        unit, _, part = layer.rpartition("_")
        if layer == "predictions":
            names[layer] = "output"
        elif unit in _STEM:
            names[layer] = f"features.{_STEM[unit]}.{part}"
        elif unit.startswith("inception_"):
            _, module, convolution = unit.split("_", 2)
            branch, position = _BRANCHES[convolution]
            if module in ("3c", "4e"):
                branch = _REDUCTION_BRANCHES[branch]
            names[layer] = f"features.{_UNITS[module]}.branches.{branch}{position}.{part}"
    return names


def pretrainedmodels(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_1x1_conv -> inception_4a_1x1, inception_4a_1x1_bn -> inception_4a_1x1_bn"""
    return {layer: "last_linear" if layer == "predictions" else layer.removesuffix("_conv") for layer in layers}
