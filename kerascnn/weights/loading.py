"""Put trained weights into a model: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerascnn import registry
from kerascnn.registry import WeightsRecord
from kerascnn.weights import sources
from kerascnn.weights.sources import WeightsError

if TYPE_CHECKING:
    import keras

SUFFIXES = (".net",)


def find(variant: str, weights: str | os.PathLike[str]) -> WeightsRecord:
    """The record of published weights that a name or a path stands for.

    Raises:
        ValueError: the variant has no weights of that name.
        FileNotFoundError: the path does not exist.
        WeightsError: the file is none of the published ones.
    """
    records = registry.variant(variant).weights
    for record in records:
        if weights == record.name:
            return record
    names = ", ".join(repr(record.name) for record in records) or "none"
    path = Path(weights)
    if not (path.suffix or os.sep in str(weights) or path.exists()):
        raise ValueError(
            f"{variant} has no weights named {str(weights)!r}. Published weights of {variant}: {names}. "
            "The path of a file, or None for random weights, is taken too."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}. Published weights of {variant}: {names}.")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} is not of a kind that can be read; weights files end in {', '.join(SUFFIXES)}.")
    found = sources.sha256(path)
    for record in records:
        if found == record.sha256:
            return record
    # The format has no checksum of its own: a single altered byte would load as a slightly wrong network.
    for record in records:
        if record.format == "deep_compression":
            sources.check(path, record)
    raise WeightsError(f"{path} is not a published weights file of {variant}. Published weights: {names}.")


def load(model: keras.Model, weights: str | os.PathLike[str], *, variant: str | None = None) -> None:
    """Load published weights, by name or path, into a model that kerascnn built.

    Layers are found by name, so layers in front of the network are left alone; a model without its top takes the
    weights of the layers that it has. Nothing is changed unless everything fits.

    Args:
        model: the model.
        weights: the name of published weights, or the path of a file.
        variant: the variant that the model is; its name by default.

    Raises:
        ValueError, FileNotFoundError, WeightsError: see `find`; or the weights do not fit the model.
        WeightsUnavailable: the weights could not be fetched.
    """
    variant = variant or model.name
    record = find(variant, weights)
    path = Path(weights) if weights != record.name else sources.fetch(record)
    _assign(model, _read_deep_compression(path), path)


def _read_deep_compression(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    """Kernels (height, width, inputs, outputs) and biases by layer name."""
    from kerascnn.applications.squeezenet import FIRES
    from kerascnn.weights.deep_compression import decode

    shapes = {"conv1": (96, 3, 7, 7)}
    inputs = 96
    for fire, (squeeze, expand) in FIRES.items():
        shapes[f"fire{fire}_squeeze1x1"] = (squeeze, inputs, 1, 1)
        shapes[f"fire{fire}_expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"fire{fire}_expand3x3"] = (expand, squeeze, 3, 3)
        inputs = 2 * expand
    shapes["conv10"] = (1000, inputs, 1, 1)
    decoded = decode(path.read_bytes(), list(shapes.values()), str(path))
    return {name: (kernel.transpose(2, 3, 1, 0), bias) for name, (kernel, bias) in zip(shapes, decoded, strict=True)}


def _assign(model: keras.Model, arrays: Mapping[str, tuple[np.ndarray, ...]], path: Path) -> None:
    """Set the weights of the layers that `arrays` names; check every shape before the first is set."""
    own = {layer.name: layer for layer in model.layers if layer.name in arrays}
    if not own:
        raise WeightsError(f"No layer of the model {model.name!r} is named in {path}.")
    for name, layer in own.items():
        given = [array.shape for array in arrays[name]]
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if given != wanted:
            raise WeightsError(
                f"{path} does not fit the model: the weights of {name} have the shapes {given}, the layer wants "
                f"{wanted}. Nothing was loaded."
            )
    for name, layer in own.items():
        layer.set_weights(list(arrays[name]))
