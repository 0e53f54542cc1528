"""DenseNet: layer names in the checkpoints of torchvision and timm (the same), and of keras.applications' files."""

from __future__ import annotations

import re
from collections.abc import Iterable

_STEM_AND_HEAD = {
    "conv1_conv": "features.conv0",
    "conv1_bn": "features.norm0",
    "bn": "features.norm5",
    "predictions": "classifier",
}
_LAYER = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")
_TRANSITION = re.compile(r"pool(\d)_(conv|bn)")
_KINDS = {"conv": "conv", "bn": "norm"}


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_0_bn -> features.denseblock2.denselayer1.norm1, conv3_block1_1_conv -> ….denselayer1.conv1"""
    return _torchvision(layers, "")


def torchvision_2017(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_0_bn -> features.denseblock2.denselayer1.norm.1, as in torchvision's published files"""
    return _torchvision(layers, ".")


def keras_applications(layers: Iterable[str]) -> dict[str, str]:
    """conv1_conv -> conv1/conv: the published files are older than Keras's ban on slashes"""
    return {layer: {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn"}.get(layer, layer) for layer in layers}


def _torchvision(layers: Iterable[str], dot: str) -> dict[str, str]:
    names = {}
    for layer in layers:
        if layer in _STEM_AND_HEAD:
            names[layer] = _STEM_AND_HEAD[layer]
        elif dense := _LAYER.fullmatch(layer):
            block, i, number, kind = dense.groups()
            # the normalisation before the first convolution is our 0 and their 1
            count = int(number) + (kind == "bn")
            names[layer] = f"features.denseblock{int(block) - 1}.denselayer{i}.{_KINDS[kind]}{dot}{count}"
        elif transition := _TRANSITION.fullmatch(layer):
            block, kind = transition.groups()
            names[layer] = f"features.transition{int(block) - 1}.{_KINDS[kind]}"
    return names
