"""Inception v4: layer names in timm's checkpoints, where `features.N` counts the modules."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import Rule, rename

__all__ = ["timm"]

EPSILON = {"timm": 1e-3}

_STEM = ("conv_1a_3x3", "conv_2a_3x3", "conv_2b_3x3")
_MODULES = ("3a", "4a", "5a", *(f"5{i}" for i in "bcde"), "6a", *(f"6{i}" for i in "bcdefgh"), "7a", "7b", "7c", "7d")


def _module(name: str, position: int) -> list[Rule]:
    ours, theirs = f"mixed_{name}", f"features.{position}"
    if name in ("3a", "5a"):
        return [(f"{ours}.*_(conv|bn)", f"{theirs}.conv.{{0}}")]
    # after its pool, the convolution is the second layer of the last branch
    pooled = [(f"{ours}_branch3_(conv|bn)", f"{theirs}.branch3.1.{{0}}")]
    join = "_" if name in ("7b", "7c", "7d") else "."
    return [
        *pooled,
        (rf"{ours}_branch(\w)_(conv|bn)", f"{theirs}.branch{{0}}.{{1}}"),
        (rf"{ours}_branch(\d)_(\w+)_(conv|bn)", f"{theirs}.branch{{0}}{join}{{1}}.{{2}}"),
    ]


_TIMM = [
    ("predictions", "last_linear"),
    *((f"{unit}_(conv|bn)", f"features.{i}.{{0}}") for i, unit in enumerate(_STEM)),
    *(rule for i, module in enumerate(_MODULES, len(_STEM)) for rule in _module(module, i)),
]


def timm(layers: Iterable[str]) -> dict[str, str]:
    """mixed_6b_branch1_2_conv -> features.11.branch1.2.conv."""
    return rename(layers, _TIMM)
