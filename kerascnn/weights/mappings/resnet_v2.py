"""ResNet v2: layer names in the checkpoints of timm and pytorchcv; keras.applications has ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

OPTIONS = {
    "timm": {"stem": "timm", "stride_in_last_unit": False, "conv_bias": False},
    "pytorchcv": {"stem": "pytorchcv", "stride_in_last_unit": False, "conv_bias": False},
}

_TIMM = {"conv1_conv": "stem.conv", "post_bn": "norm", "predictions": "head.fc"}
_PYTORCHCV = {
    "conv1_conv": "features.init_block.conv",
    "conv1_bn": "features.init_block.bn",
    "post_bn": "features.post_activ.bn",
    "predictions": "output",
}
_UNIT = re.compile(r"conv(\d)_block(\d+)_(preact|\d)_(conv|bn)")


def timm(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> stages.1.blocks.0.norm2: its normalisations count from the one before the first conv"""
    names = {}
    for layer in layers:
        if layer in _TIMM:
            names[layer] = _TIMM[layer]
        elif unit := _UNIT.fullmatch(layer):
            stage, block, number, kind = unit.groups()
            conv = "downsample.conv" if number == "0" else f"conv{number}"
            part = conv if kind == "conv" else f"norm{_before(number)}"
            names[layer] = f"stages.{int(stage) - 2}.blocks.{int(block) - 1}.{part}"
    return names


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> features.stage2.unit1.body.conv2.bn: each normalisation goes with the conv after it"""
    names = {}
    for layer in layers:
        if layer in _PYTORCHCV:
            names[layer] = _PYTORCHCV[layer]
        elif unit := _UNIT.fullmatch(layer):
            stage, block, number, kind = unit.groups()
            conv = "identity_conv" if number == "0" else f"body.conv{number}.conv"
            part = conv if kind == "conv" else f"body.conv{_before(number)}.bn"
            names[layer] = f"features.stage{int(stage) - 1}.unit{block}.{part}"
    return names


def _before(number: str) -> int:
    """The convolution that the normalisation of that number stands before."""
    return 1 if number == "preact" else int(number) + 1
