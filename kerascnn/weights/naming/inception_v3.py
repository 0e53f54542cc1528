"""Inception v3: layer names in the checkpoints of torchvision and timm (the same), and of keras.applications."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import count, rename

__all__ = ["keras_applications", "torchvision"]

EPSILON = {"torchvision": 1e-3}
LEFT_OUT = {"torchvision": ("AuxLogits.",)}  # a model without the auxiliary classifier does not need its weights
OPTIONS = {"torchvision": {"pool_counts_padding": True}, "keras_applications": {"pool_counts_padding": False}}

_MODULES = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")  # mixed0 to mixed10
_TORCHVISION = [
    ("aux", "AuxLogits.fc"),
    ("predictions", "fc"),
    ("conv_(.*)_(conv|bn)", "Conv2d_{0}.{1}"),
    ("aux_(.*)_(conv|bn)", "AuxLogits.{0}.{1}"),
    *((f"mixed{i}_(.*)_(conv|bn)", f"Mixed_{module}.{{0}}.{{1}}") for i, module in enumerate(_MODULES)),
]

_STEM = ("conv_1a_3x3", "conv_2a_3x3", "conv_2b_3x3", "conv_3b_1x1", "conv_4a_3x3")
_DOUBLE_3X3 = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_ON_35 = ("branch1x1", "branch5x5_1", "branch5x5_2", *_DOUBLE_3X3, "branch_pool")
_TO_17 = ("branch3x3", *_DOUBLE_3X3)
_ON_17 = (
    "branch1x1",
    *(f"branch7x7_{i}" for i in (1, 2, 3)),
    *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)),
    "branch_pool",
)
_TO_8 = ("branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
_ON_8 = (
    "branch1x1",
    *(f"branch3x3_{i}" for i in ("1", "2a", "2b")),
    *(f"branch3x3dbl_{i}" for i in ("1", "2", "3a", "3b")),
    "branch_pool",
)
_BRANCHES = (_ON_35, _ON_35, _ON_35, _TO_17, _ON_17, _ON_17, _ON_17, _ON_17, _TO_8, _ON_8, _ON_8)


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """mixed4_branch7x7_2_conv -> Mixed_6b.branch7x7_2.conv."""
    return rename(layers, _TORCHVISION)


def keras_applications(layers: Iterable[str]) -> dict[str, str]:
    """mixed0_branch5x5_1_conv -> conv2d_6: Keras counts the convolutions in the order in which they are built."""
    units = [*_STEM, *(f"mixed{i}_{branch}" for i, branches in enumerate(_BRANCHES) for branch in branches)]
    return count((layer for layer in layers if not layer.startswith("aux")), units)
