"""ZFNet: layer names in pytorchcv's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["pytorchcv"]

HEAD = ("fc6", "fc7", "predictions")
OPTIONS = {"pytorchcv": {"normalization": "pytorchcv"}}

_PYTORCHCV = {
    "conv1": "features.stage1.unit1.conv",
    "conv2": "features.stage2.unit1.conv",
    "conv3": "features.stage3.unit1.conv",
    "conv4": "features.stage3.unit2.conv",
    "conv5": "features.stage3.unit3.conv",
    "fc6": "output.fc1.fc",
    "fc7": "output.fc2.fc",
    "predictions": "output.fc3",
}


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """conv4 -> features.stage3.unit2.conv."""
    return rename(layers, _PYTORCHCV.items())
