"""From a weights file to arrays by layer, whatever the file's format.

No file is trusted: nothing in one is ever executed, and no reader takes more time or memory than the file's size allows
(`benchmarks/hostile_weights.py` tries altered files of every kind).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from kerascnn.weights import keras_files, torch_files
from kerascnn.weights.deep_compression import read_squeezenet
from kerascnn.weights.errors import WeightsError

_OF_TORCH = {
    **dict.fromkeys((*torch_files.SUFFIXES, ".zip"), torch_files.read_torch),
    ".safetensors": torch_files.read_safetensors,
    ".onnx": torch_files.read_onnx,
}
_OF_KERAS = {".h5": keras_files.read_h5, ".keras": keras_files.read_archive}
SUFFIXES = (*_OF_KERAS, *_OF_TORCH, ".net", ".kdc")

_BUFFERS_WITHOUT_USE = ("num_batches_tracked",)


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of a file.

    Attributes:
        path: The file.
        layout: "torch" (kernels as outputs, inputs, height, width; flattened maps channel first) or "keras".
        layers: For each layer, by the file's name or key prefix, its arrays by field, in the file's order.
        epsilons: The epsilons of batch normalizations, by layer, where the file says them.
    """

    path: Path
    layout: Literal["torch", "keras"]
    layers: Mapping[str, Mapping[str, np.ndarray]]
    epsilons: Mapping[str, float] = field(default_factory=dict)


def read(path: Path) -> Checkpoint:
    """Read a weights file of any kind but `.kdc`, by its suffix.

    Raises:
        WeightsError: It is truncated, holds something else, or is of a kind that cannot be read.
        ImportError: The package that reads it is not installed; the message says which.
    """
    if path.suffix in _OF_TORCH:
        return Checkpoint(path, "torch", _by_prefix(_OF_TORCH[path.suffix](path)))
    if path.suffix in _OF_KERAS:
        return Checkpoint(path, "keras", *_OF_KERAS[path.suffix](path))
    if path.suffix == ".net":
        return Checkpoint(path, "keras", read_squeezenet(path))
    raise WeightsError(f"{path} is of a kind that cannot be read; weights files end in {', '.join(SUFFIXES)}.")


def of_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Checkpoint:
    """Make a checkpoint of arrays by `layer/weight`, as a .kdc file holds them."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, weight = name.rpartition("/")
        layers.setdefault(layer, {})[weight] = array
    return Checkpoint(path, "keras", layers)


def _by_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    wrapped = all(key.startswith("module.") for key in tensors)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, array in tensors.items():
        prefix, _, name = (key.removeprefix("module.") if wrapped else key).rpartition(".")
        if name not in _BUFFERS_WITHOUT_USE:
            layers.setdefault(prefix, {})[name] = array
    return layers
