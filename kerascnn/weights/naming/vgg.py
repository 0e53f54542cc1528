"""VGG: layer names in the checkpoints of torchvision and timm; keras.applications has ours.

`features.N` counts ReLUs and pools too, so a position depends on the layers before it: give them in network order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["timm", "torchvision"]

HEAD = ("fc1", "fc2", "predictions")

_TORCHVISION = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
_TIMM = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "predictions": "head.fc"}
_LAYER = re.compile(r"block(\d)_(conv|bn)(\d)")


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """vgg16's block2_conv1 -> features.5, fc1 -> classifier.0."""
    return _names(layers, _TORCHVISION)


def timm(layers: Iterable[str]) -> dict[str, str]:
    """vgg16's block2_conv1 -> features.5, fc1 -> pre_logits.fc1 (there a 7x7 convolution)."""
    return _names(layers, _TIMM)


def _names(layers: Iterable[str], head: dict[str, str]) -> dict[str, str]:
    layers = list(layers)
    names = {layer: head[layer] for layer in layers if layer in head}
    position, last_block = 0, "1"
    normalized = "block1_bn1" in layers
    for layer in layers:
        if match := _LAYER.fullmatch(layer):
            block, kind, _ = match.groups()
            position += block != last_block  # the pool between the blocks
            last_block = block
            names[layer] = f"features.{position}"
            position += 1 if kind == "conv" and normalized else 2  # the ReLU that follows has a position too
    return names
