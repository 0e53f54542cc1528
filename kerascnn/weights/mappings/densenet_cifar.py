"""DenseNet for CIFAR: layer names in pytorchcv's checkpoints.

They fit the BC networks; pytorchcv compresses in the plain ones too, so that their shapes are others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_STEM_AND_HEAD = {
    "conv1_conv": "features.init_block",
    "bn": "features.post_activ.bn",
    "predictions": "output",
}
_LAYER = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")
_TRANSITION = re.compile(r"pool(\d)_(conv|bn)")


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> features.stage2.unit1.conv2.bn: each normalisation goes with the conv after it"""
    names = {}
    for layer in layers:
        if layer in _STEM_AND_HEAD:
            names[layer] = _STEM_AND_HEAD[layer]
        elif dense := _LAYER.fullmatch(layer):
            block, unit, number, kind = dense.groups()
            part = int(number) + (kind == "bn")
            names[layer] = f"features.stage{int(block) - 1}.unit{unit}.conv{part}.{kind}"
        elif transition := _TRANSITION.fullmatch(layer):
            block, kind = transition.groups()
            names[layer] = f"features.stage{block}.trans{block}.conv.{kind}"
    return names
