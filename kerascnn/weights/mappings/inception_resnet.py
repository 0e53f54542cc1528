"""Inception-ResNet v2: layer names in the checkpoints of timm and of keras.applications."""

from __future__ import annotations

from collections.abc import Iterable

EPSILON = {"timm": 1e-3}

_STEM = ("conv_1a_3x3", "conv_2a_3x3", "conv_2b_3x3", "conv_3b_1x1", "conv_4a_3x3")
_REPEATS = {"block35": "repeat", "block17": "repeat_1", "block8": "repeat_2"}
_BRANCHES = {
    "mixed_5b": ("0", "1_0", "1_1", "2_0", "2_1", "2_2", "3"),
    "block35": ("0", "1_0", "1_1", "2_0", "2_1", "2_2"),
    "mixed_6a": ("0", "1_0", "1_1", "1_2"),
    "block17": ("0", "1_0", "1_1", "1_2"),
    "mixed_7a": ("0_0", "0_1", "1_0", "1_1", "2_0", "2_1", "2_2"),
    "block8": ("0", "1_0", "1_1", "1_2"),
}
_UNITS = {"block35": 10, "block17": 20, "block8": 10}


def timm(layers: Iterable[str]) -> dict[str, str]:
    """block17_3_branch1_2_bn -> repeat_1.2.branch1.2.bn"""
    names = {}
    for layer in layers:
        unit, _, part = layer.rpartition("_")
        module, _, branch = unit.partition("_branch")
        if layer == "predictions":
            names[layer] = "classif"
        elif layer.startswith("conv_7b"):
            names[layer] = "conv2d_7b.bn" if part == "bn" else "conv2d_7b.conv"
        elif unit in _STEM:
            names[layer] = f"conv2d_{unit.split('_')[1]}.{part}"
        elif not branch:
            names[layer] = f"{_timm_module(module)}.conv2d"  # brings a residual to the channels of its unit
        else:
            # the pooling is the first layer of mixed_5b's last branch
            position = "3.1" if branch == "3" else branch.replace("_", ".")
            names[layer] = f"{_timm_module(module)}.branch{position}.{part}"
    return names


def _timm_module(module: str) -> str:
    kind, _, number = module.partition("_")
    if kind not in _REPEATS:
        return module
    return "block8" if module == "block8_10" else f"{_REPEATS[kind]}.{int(number) - 1}"


def keras_applications(layers: Iterable[str]) -> dict[str, str]:
    """block35_1_branch0_conv -> conv2d_12: Keras names some layers and counts the others in the order of building."""
    units = list(_STEM)
    for kind, branches in _BRANCHES.items():
        modules = [f"{kind}_{i}" for i in range(1, _UNITS[kind] + 1)] if kind in _UNITS else [kind]
        units += [f"{module}_branch{branch}" for module in modules for branch in branches]
    numbers = {unit: f"_{i}" if i else "" for i, unit in enumerate(units)}
    kinds = {"conv": "conv2d", "bn": "batch_normalization"}
    names = {}
    for layer in layers:
        unit, _, part = layer.rpartition("_")
        names[layer] = f"{kinds[part]}{numbers[unit]}" if unit in numbers else layer
    return names
