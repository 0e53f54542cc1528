"""ResNeXt: layer names in the checkpoints of torchvision and timm, which are those of their ResNets."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.mappings import resnet


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2"""
    return resnet.torchvision(layers)
