"""ResNet v2: layer names in the checkpoints of timm and pytorchcv; keras.applications has ours.

Their normalizations count from the one before the first convolution, or go with the convolution after them.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["pytorchcv", "timm"]

OPTIONS = {
    "timm": {"stem": "timm", "stride_in_last_unit": False, "conv_bias": False},
    "pytorchcv": {"stem": "pytorchcv", "stride_in_last_unit": False, "conv_bias": False},
}

_TIMM = [
    ("conv1_conv", "stem.conv"),
    ("post_bn", "norm"),
    ("predictions", "head.fc"),
    (r"conv(\d)_block(\d+)_0_conv", "stages.{0:-2}.blocks.{1:-1}.downsample.conv"),
    (r"conv(\d)_block(\d+)_(\d)_conv", "stages.{0:-2}.blocks.{1:-1}.conv{2}"),
    (r"conv(\d)_block(\d+)_preact_bn", "stages.{0:-2}.blocks.{1:-1}.norm1"),
    (r"conv(\d)_block(\d+)_(\d)_bn", "stages.{0:-2}.blocks.{1:-1}.norm{2:+1}"),
]
_PYTORCHCV = [
    ("conv1_(conv|bn)", "features.init_block.{0}"),
    ("post_bn", "features.post_activ.bn"),
    ("predictions", "output"),
    (r"conv(\d)_block(\d+)_0_conv", "features.stage{0:-1}.unit{1}.identity_conv"),
    (r"conv(\d)_block(\d+)_(\d)_conv", "features.stage{0:-1}.unit{1}.body.conv{2}.conv"),
    (r"conv(\d)_block(\d+)_preact_bn", "features.stage{0:-1}.unit{1}.body.conv1.bn"),
    (r"conv(\d)_block(\d+)_(\d)_bn", "features.stage{0:-1}.unit{1}.body.conv{2:+1}.bn"),
]


def timm(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> stages.1.blocks.0.norm2."""
    return rename(layers, _TIMM)


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> features.stage2.unit1.body.conv2.bn."""
    return rename(layers, _PYTORCHCV)
