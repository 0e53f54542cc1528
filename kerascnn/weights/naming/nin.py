"""Network in Network: layer names in pytorchcv's checkpoints of the CIFAR network, and in those of the ImageNet one.

The latter are a torch copy of the Caffe model, in which `features.N` counts ReLUs, pools and the dropout too.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["caffe_in_torch", "pytorchcv"]

HEAD = ("cccp8", "cccp6")
OPTIONS = {"pytorchcv": {"pool_padding": 1, "pool2": "average"}}

_PYTORCHCV = {
    "conv1": "features.stage1.unit1.conv",
    "cccp1": "features.stage1.unit2.conv",
    "cccp2": "features.stage1.unit3.conv",
    "conv2": "features.stage2.unit1.conv",
    "cccp3": "features.stage2.unit2.conv",
    "cccp4": "features.stage2.unit3.conv",
    "conv3": "features.stage3.unit1.conv",
    "cccp5": "features.stage3.unit2.conv",
    "cccp6": "output.final_conv.conv",
}
_CAFFE = ("conv1", "cccp1", "cccp2", "conv2", "cccp3", "cccp4", "conv3", "cccp5", "cccp6", "conv4", "cccp7", "cccp8")
_POSITIONS = (0, 2, 4, 7, 9, 11, 14, 16, 18, 22, 24, 26)


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """cccp3 -> features.stage2.unit2.conv."""
    return rename(layers, _PYTORCHCV.items())


def caffe_in_torch(layers: Iterable[str]) -> dict[str, str]:
    """cccp3 -> features.9."""
    return rename(layers, [(layer, f"features.{i}") for layer, i in zip(_CAFFE, _POSITIONS, strict=True)])
