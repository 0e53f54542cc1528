"""ResNet v2 for CIFAR: layer names in pytorchcv's checkpoints, those of its ResNet v2 but for the stem."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming import resnet_v2

__all__ = ["pytorchcv"]

OPTIONS = {"pytorchcv": {"shortcut": "B", "stem": "pytorchcv", "stride_in_1x1": False}}

# their stem is a convolution; the activation after it, ours to share between branch and projection, is in the branch
_STEM = {"conv1_conv": "features.init_block", "conv1_bn": "features.stage1.unit1.body.conv1.bn"}


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> features.stage2.unit1.body.conv2.bn: each normalization goes with the conv after it."""
    return {layer: _STEM.get(layer, name) for layer, name in resnet_v2.pytorchcv(layers).items()}
