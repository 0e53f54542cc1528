"""SqueezeNet: layer names in torchvision's checkpoints (`features.N` counts ReLUs and pools too) and in pytorchcv's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kerascnn.weights.naming.rules import rename

__all__ = ["pytorchcv1_0", "pytorchcv1_1", "torchvision1_0", "torchvision1_1"]

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


def pytorchcv1_0(layers: Iterable[str]) -> dict[str, str]:
    """fire4_expand3x3 -> features.stage1.unit3.expand3x3.conv: a pool begins a stage."""
    return _pytorchcv(layers, ((2, 3, 4), (5, 6, 7, 8), (9,)))


def pytorchcv1_1(layers: Iterable[str]) -> dict[str, str]:
    """fire4_expand3x3 -> features.stage2.unit1.expand3x3.conv."""
    return _pytorchcv(layers, ((2, 3), (4, 5), (6, 7, 8, 9)))


def _pytorchcv(layers: Iterable[str], stages: Sequence[Sequence[int]]) -> dict[str, str]:
    rules = [("conv1", "features.init_block.conv"), ("conv10", "output.final_conv")]
    for stage, fires in enumerate(stages, 1):
        for unit, fire in enumerate(fires, 1):
            place = f"features.stage{stage}.unit{unit}"
            rules += [
                (f"fire{fire}_squeeze1x1", f"{place}.squeeze.conv"),
                (f"fire{fire}_(.*)", f"{place}.{{0}}.conv"),
            ]
    return rename(layers, rules)
