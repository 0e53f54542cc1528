"""ResNet for CIFAR: layer names in akamaster's checkpoints and in pytorchcv's."""

from __future__ import annotations

import re
from collections.abc import Iterable

OPTIONS = {"pytorchcv": {"shortcut": "B"}}  # akamaster's files show by their keys which shortcut they have

_AKAMASTER = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "linear"}
_PYTORCHCV = {
    "conv1_conv": "features.init_block.conv",
    "conv1_bn": "features.init_block.bn",
    "predictions": "output",
}
_UNIT = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")


def akamaster(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_0_bn -> layer2.0.shortcut.1"""
    names = {}
    for layer in layers:
        if layer in _AKAMASTER:
            names[layer] = _AKAMASTER[layer]
        elif unit := _UNIT.fullmatch(layer):
            stage, block, number, kind = unit.groups()
            part = f"{kind}{number}" if number != "0" else "shortcut.0" if kind == "conv" else "shortcut.1"
            names[layer] = f"layer{int(stage) - 1}.{int(block) - 1}.{part}"
    return names


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> features.stage2.unit1.body.conv2.bn"""
    names = {}
    for layer in layers:
        if layer in _PYTORCHCV:
            names[layer] = _PYTORCHCV[layer]
        elif unit := _UNIT.fullmatch(layer):
            stage, block, number, kind = unit.groups()
            part = "identity_conv" if number == "0" else f"body.conv{number}"
            names[layer] = f"features.stage{int(stage) - 1}.unit{block}.{part}.{kind}"
    return names
