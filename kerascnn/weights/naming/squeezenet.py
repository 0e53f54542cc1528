"""SqueezeNet: layer names in torchvision's checkpoints (`features.N` counts ReLUs and pools too)."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["torchvision1_0", "torchvision1_1"]

HEAD = ("conv10",)

# the position of each fire module in `features`
_V1_0 = {2: 3, 3: 4, 4: 5, 5: 7, 6: 8, 7: 9, 8: 10, 9: 12}
_V1_1 = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


def torchvision1_0(layers: Iterable[str]) -> dict[str, str]:
    """fire4_expand3x3 -> features.5.expand3x3."""
    return _torchvision(layers, _V1_0)


def torchvision1_1(layers: Iterable[str]) -> dict[str, str]:
    """fire4_expand3x3 -> features.6.expand3x3."""
    return _torchvision(layers, _V1_1)


def _torchvision(layers: Iterable[str], positions: dict[int, int]) -> dict[str, str]:
    rules = [("conv1", "features.0"), ("conv10", "classifier.1")]
    for fire, position in positions.items():
        rules += [
            (f"fire{fire}_squeeze1x1", f"features.{position}.squeeze"),
            (f"fire{fire}_(.*)", f"features.{position}.{{0}}"),
        ]
    return rename(layers, rules)
