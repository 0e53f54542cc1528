"""Wide ResNet for CIFAR: layer names in pytorchcv's checkpoints, which are those of its ResNet v2 for CIFAR."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.mappings import resnet_v2_cifar


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_preact_bn -> features.stage2.unit1.body.conv1.bn"""
    return resnet_v2_cifar.pytorchcv(layers)
