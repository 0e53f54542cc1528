"""ResNeXt for CIFAR: layer names in pytorchcv's checkpoints, which are those of its ResNet for CIFAR."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.mappings import resnet_cifar


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> features.stage2.unit1.body.conv2.bn"""
    return resnet_cifar.pytorchcv(layers)
