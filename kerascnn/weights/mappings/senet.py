"""SENet: layer names in timm's checkpoints, of its own networks and of the ported Caffe ones (`legacy_`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kerascnn.weights.mappings import resnet

OPTIONS = {
    "timm": {"stride_in_1x1": False, "pool_padding": 1},
    "timm_legacy": {"stride_in_1x1": True, "pool_padding": 0, "relu_before_se": True},
}

_TIMM_STEM = {  # of senet154
    "conv1_1_conv": "conv1.0",
    "conv1_1_bn": "conv1.1",
    "conv1_2_conv": "conv1.3",
    "conv1_2_bn": "conv1.4",
    "conv1_3_conv": "conv1.6",
    "conv1_3_bn": "bn1",
}
_LEGACY_STEM_AND_HEAD = {
    "conv1_conv": "layer0.conv1",
    "conv1_bn": "layer0.bn1",
    **{f"conv1_{i}_{kind}": f"layer0.{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "bn")},
    "predictions": "last_linear",
}
_SQUEEZE_EXCITE = re.compile(r"conv(\d)_block(\d+)_se_(down|up)")


def timm(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_se_down -> layer2.0.se.fc1"""
    layers = list(layers)
    stem = {layer: _TIMM_STEM[layer] for layer in layers if layer in _TIMM_STEM}
    return resnet.torchvision(layers) | stem | _squeeze_excite(layers, "se")


def timm_legacy(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_se_down -> layer2.0.se_module.fc1"""
    layers = list(layers)
    ends = {layer: _LEGACY_STEM_AND_HEAD[layer] for layer in layers if layer in _LEGACY_STEM_AND_HEAD}
    return resnet.torchvision(layers) | ends | _squeeze_excite(layers, "se_module")


def _squeeze_excite(layers: Iterable[str], module: str) -> dict[str, str]:
    names = {}
    for layer in layers:
        if unit := _SQUEEZE_EXCITE.fullmatch(layer):
            stage, block, part = unit.groups()
            names[layer] = f"layer{int(stage) - 1}.{int(block) - 1}.{module}.fc{1 if part == 'down' else 2}"
    return names
