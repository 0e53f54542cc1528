"""FractalNet: layer names in pytorchcv's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable

OPTIONS = {"pytorchcv": {"pool_before_join": False}}

_COLUMNS = 3  # pytorchcv has the CIFAR network only
_UNIT = re.compile(r"block(\d+)_col(\d+)_(\d+)_(conv|bn)")


def pytorchcv(layers: Iterable[str]) -> dict[str, str]:
    """block2_col3_4_bn -> features.unit2.block.blocks.block4.subblock1.bn

    There the deepest column is the first, and a convolution is named by its row.
    """
    names = {}
    for layer in layers:
        if layer == "predictions":
            names[layer] = "output"
        elif unit := _UNIT.fullmatch(layer):
            block, column, number, kind = unit.groups()
            above = _COLUMNS - int(column)
            row = int(number) * 2**above
            names[layer] = f"features.unit{block}.block.blocks.block{row}.subblock{above + 1}.{kind}"
    return names
