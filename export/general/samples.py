"""Inputs to compare artifacts with, where the user gives none: of the right shapes, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.checking.parity import synthetic_images
from export.checking.runtimes import TensorSpec
from export.errors import RequestError

if TYPE_CHECKING:
    from export.general.network import Network

COUNT = 8


def samples(network: Network, given: Mapping[str, np.ndarray] | np.ndarray | None) -> dict[str, np.ndarray]:
    """Return inputs by name, [n, ...] each: what the user gave, or random ones that are always the same.

    Raises:
        RequestError: What was given does not fit the network.
    """
    if given is not None:
        return _checked(network, given)
    random = np.random.default_rng(0)
    return {spec.name: _sample(network, spec, random) for spec in network.inputs}


def _checked(network: Network, given: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
    if isinstance(given, np.ndarray) and len(network.inputs) == 1:
        given = {network.inputs[0].name: given}
    wanted = ", ".join(f"{spec.name}: {spec.dtype} [n, {_dims(spec)}]" for spec in network.inputs)
    if not isinstance(given, Mapping) or set(given) != {spec.name for spec in network.inputs}:
        names = ", ".join(given) if isinstance(given, Mapping) else "one array"
        raise RequestError(
            f"{network.model.name} takes {wanted}; the calibration data are {names}. Give an array for each "
            "(from Python: a dictionary; on the command line: an .npz file)."
        )
    arrays = {spec.name: np.asarray(given[spec.name]) for spec in network.inputs}
    count = len(next(iter(arrays.values())))
    for spec in network.inputs:
        array = arrays[spec.name]
        if array.shape != (count, *spec.shape[1:]) or not count:
            raise RequestError(
                f"The calibration data for {spec.name} have the shape {array.shape}; {network.model.name} takes "
                f"{wanted}, as many of each."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RequestError(f"The calibration data for {spec.name} hold NaN or infinity.")
    return {spec.name: arrays[spec.name].astype(spec.dtype) for spec in network.inputs}


def _sample(network: Network, spec: TensorSpec, random: np.random.Generator) -> np.ndarray:
    shape = (COUNT, *(int(size) for size in spec.shape[1:] if size is not None))
    if spec.dtype == "bool":
        return np.ones(shape, np.bool_)  # most are masks, and a mask of nothing leaves nothing to compare
    if spec.dtype == "uint8":
        return random.integers(0, 256, shape, dtype=np.uint8)
    if "int" in spec.dtype:
        highest = 2 if "mask" in spec.name else _entries(network)
        return random.integers(0, highest, shape).astype(spec.dtype)
    if len(shape) == 4 and shape[3] <= 4:
        scaled = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in _layers(network))
        low, high = (0.0, 255.0) if scaled else (-2.0, 2.0)
        return synthetic_images(shape[1:], COUNT, low=low, high=high)
    return random.normal(size=shape).astype(np.float32)


def _entries(network: Network) -> int:
    """Return how many entries the smallest table has that whole numbers may look up: any number below is in all."""
    tables = [
        getattr(layer, "input_dim", None) or getattr(layer, "vocabulary_size", None) for layer in _layers(network)
    ]
    return min((size for size in tables if isinstance(size, int)), default=10)


def _layers(network: Network) -> list[object]:
    from kerascnn.keras_graph import all_layers

    return all_layers(network.model)


def _dims(spec: TensorSpec) -> str:
    return ", ".join(map(str, spec.shape[1:]))
