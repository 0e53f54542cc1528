"""ResNet: layer names in the checkpoints of torchvision and timm (the same); keras.applications has ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

# torchvision and timm have the stride on the 3x3 convolution; their files do not tell
OPTIONS = {"torchvision": {"stride_in_1x1": False}}

_STEM_AND_HEAD = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}
_UNIT = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_0_bn -> layer2.0.downsample.1"""
    names = {}
    for layer in layers:
        if layer in _STEM_AND_HEAD:
            names[layer] = _STEM_AND_HEAD[layer]
        elif unit := _UNIT.fullmatch(layer):
            stage, block, number, kind = unit.groups()
            part = f"{kind}{number}" if number != "0" else "downsample.0" if kind == "conv" else "downsample.1"
            names[layer] = f"layer{int(stage) - 1}.{int(block) - 1}.{part}"
    return names
