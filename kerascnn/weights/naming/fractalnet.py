"""FractalNet: layer names in pytorchcv's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable

from kerascnn.weights.naming.rules import rename

__all__ = ["pytorchcv"]

OPTIONS = {"pytorchcv": {"pool_before_join": False}}

_COLUMNS = 3  # pytorchcv has the CIFAR network only
_PYTORCHCV = [
    ("predictions", "output"),
    *(
        (
            rf"block(\d+)_col{_COLUMNS - above}_{number}_(conv|bn)",
            f"features.unit{{0}}.block.blocks.block{number * 2**above}.subblock{above + 1}.{{1}}",
        )
        for above in range(_COLUMNS)
        for number in range(1, 2 ** (_COLUMNS - 1 - above) + 1)
    ),
]


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """block2_col3_4_bn -> features.unit2.block.blocks.block4.subblock1.bn.

    There the deepest column is the first, and a convolution is named by its row.
    """
    return rename(layers, _PYTORCHCV)
