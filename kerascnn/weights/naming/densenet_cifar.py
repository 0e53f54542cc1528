"""DenseNet for CIFAR: layer names in pytorchcv's checkpoints.

They fit the BC networks; pytorchcv compresses in the plain ones too, so that their shapes differ.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["pytorchcv"]

_PYTORCHCV = [
    ("conv1_conv", "features.init_block"),
    ("bn", "features.post_activ.bn"),
    ("predictions", "output"),
    (r"conv(\d)_block(\d+)_(\d)_conv", "features.stage{0:-1}.unit{1}.conv{2}.conv"),
    (r"conv(\d)_block(\d+)_(\d)_bn", "features.stage{0:-1}.unit{1}.conv{2:+1}.bn"),
    (r"pool(\d)_(conv|bn)", "features.stage{0}.trans{0}.conv.{1}"),
]


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv3_block1_1_bn -> features.stage2.unit1.conv2.bn: each normalization goes with the conv after it."""
    return rename(layers, _PYTORCHCV)
