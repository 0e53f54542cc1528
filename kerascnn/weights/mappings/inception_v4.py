"""Inception v4: layer names in timm's checkpoints, where `features.N` counts the modules."""

from __future__ import annotations

from collections.abc import Iterable

EPSILON = {"timm": 1e-3}

_STEM = ("conv_1a_3x3", "conv_2a_3x3", "conv_2b_3x3")
_MODULES = ("3a", "4a", "5a", *(f"5{i}" for i in "bcde"), "6a", *(f"6{i}" for i in "bcdefgh"), "7a", "7b", "7c", "7d")
_POSITIONS = {f"mixed_{module}": i for i, module in enumerate(_MODULES, start=len(_STEM))}


def timm(layers: Iterable[str]) -> dict[str, str]:
    """mixed_6b_branch1_2_conv -> features.11.branch1.2.conv"""
    names = {}
    for layer in layers:
        unit, _, part = layer.rpartition("_")
        module, _, branch = unit.partition("_branch")
        if layer == "predictions":
            names[layer] = "last_linear"
        elif unit in _STEM:
            names[layer] = f"features.{_STEM.index(unit)}.{part}"
        elif module in _POSITIONS:
            names[layer] = f"features.{_POSITIONS[module]}.{_branch(module, branch)}.{part}"
    return names


def _branch(module: str, branch: str) -> str:
    if module in ("mixed_3a", "mixed_5a"):
        return "conv"
    if branch == "3":  # after its pool
        return "branch3.1"
    if module in ("mixed_7b", "mixed_7c", "mixed_7d"):
        return f"branch{branch}"
    return f"branch{branch.replace('_', '.')}"
