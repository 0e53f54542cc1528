"""GoogLeNet: layer names in torchvision's checkpoints, which are of the variant with batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable

EPSILON = {"torchvision": 1e-3}
LEFT_OUT = {"torchvision": ("aux1.", "aux2.")}  # a model without auxiliary classifiers does not need theirs

_STEM = {"conv1_7x7_s2": "conv1", "conv2_3x3_reduce": "conv2", "conv2_3x3": "conv3"}
_BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}
_DENSE = {"aux1_fc": "aux1.fc1", "aux1": "aux1.fc2", "aux2_fc": "aux2.fc1", "aux2": "aux2.fc2", "predictions": "fc"}


def torchvision(layers: Iterable[str]) -> dict[str, str]:
    """inception_4a_5x5_reduce_conv -> inception4a.branch3.0.conv"""
    names = {}
    for layer in layers:
        unit, _, part = layer.rpartition("_")
        if layer in _DENSE:
            names[layer] = _DENSE[layer]
        elif unit in _STEM:
            names[layer] = f"{_STEM[unit]}.{part}"
        elif unit in ("aux1_conv", "aux2_conv"):
            names[layer] = f"{unit[:4]}.conv.{part}"
        elif unit.startswith("inception_"):
            _, module, branch = unit.split("_", 2)
            if branch in _BRANCHES:
                names[layer] = f"inception{module}.{_BRANCHES[branch]}.{part}"
    return names
