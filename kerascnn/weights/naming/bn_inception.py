"""BN-Inception: layer names in the checkpoints that were converted from Caffe's.

Their convolutions have biases besides batch normalization, which are folded into its means.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["pretrainedmodels", "pytorchcv"]

OPTIONS = {"pytorchcv": {"pool_counts_padding": True}, "pretrainedmodels": {"pool_counts_padding": True}}

_STAGES = ("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b")
_UNITS = {module: f"stage{i}.unit{j}" for i, stage in enumerate(_STAGES, 1) for j, module in enumerate(stage, 1)}
_BRANCHES = {
    "1x1": (1, ""),
    "3x3_reduce": (2, ".conv1"),
    "3x3": (2, ".conv2"),
    "double_3x3_reduce": (3, ".conv1"),
    "double_3x3_1": (3, ".conv2"),
    "double_3x3_2": (3, ".conv3"),
    "pool_proj": (4, ".conv"),
}
_PYTORCHCV = [
    ("predictions", "output"),
    ("conv1_7x7_s2_(conv|bn)", "features.init_block.conv1.{0}"),
    ("conv2_3x3_reduce_(conv|bn)", "features.init_block.conv2.conv1.{0}"),
    ("conv2_3x3_(conv|bn)", "features.init_block.conv2.conv2.{0}"),
    *(
        # 3c and 4e have no 1x1 branch, so that theirs count from one less
        (
            f"inception_{module}_{convolution}_(conv|bn)",
            f"features.{unit}.branches.branch{branch - (module in ('3c', '4e'))}{position}.{{0}}",
        )
        for module, unit in _UNITS.items()
        for convolution, (branch, position) in _BRANCHES.items()
    ),
]


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_double_3x3_2_conv -> features.stage2.unit2.branches.branch3.conv3.conv."""
    return rename(layers, _PYTORCHCV)


def pretrainedmodels(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_1x1_conv -> inception_4a_1x1, inception_4a_1x1_bn -> inception_4a_1x1_bn."""
    return rename(layers, [("predictions", "last_linear"), ("(.*)_conv", "{0}"), ("(.*)", "{0}")])
