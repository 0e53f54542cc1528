"""ResNet: layer names in the checkpoints of torchvision and timm (the same); keras.applications has ours."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["torchvision"]

# torchvision and timm have the stride on the 3x3 convolution and zeros around the stem's pool; their files do not tell
OPTIONS = {"torchvision": {"stride_in_1x1": False, "pool_padding": 1}}

_TORCHVISION = [
    ("conv1_conv", "conv1"),
    ("conv1_bn", "bn1"),
    ("predictions", "fc"),
    (r"conv(\d)_block(\d+)_0_conv", "layer{0:-1}.{1:-1}.downsample.0"),
    (r"conv(\d)_block(\d+)_0_bn", "layer{0:-1}.{1:-1}.downsample.1"),
    (r"conv(\d)_block(\d+)_(\d)_(conv|bn)", "layer{0:-1}.{1:-1}.{3}{2}"),
]


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_2_bn -> layer2.0.bn2, conv3_block1_0_bn -> layer2.0.downsample.1."""
    return rename(layers, _TORCHVISION)
