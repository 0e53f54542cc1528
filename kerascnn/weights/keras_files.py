"""Keras's files: `.weights.h5`, whole models in `.h5` and `.keras`, and keras.applications' older `.h5`."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerascnn.weights import zipped
from kerascnn.weights.errors import WeightsError
from kerascnn.weights.hdf5 import Tree, check_heaps

CONFIG = 1 << 26  # bytes of the description of a network

_AUTOMATIC_NAME = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d+))?$")

Layers = dict[str, dict[str, np.ndarray]]


def read_archive(path: Path) -> tuple[Layers, dict[str, float]]:
    """Read a .keras file: its arrays by layer, and the epsilons of its batch normalizations.

    Raises:
        WeightsError: It is damaged, or something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("config.json")
            if entry.file_size > CONFIG:
                raise ValueError(f"its description has {entry.file_size:,} bytes")
            epsilons = _epsilons(archive.read(entry))
            entry = archive.getinfo("model.weights.h5")
            size = path.stat().st_size
            if entry.file_size > zipped.most(size):
                raise ValueError(f"its weights would unpack to {entry.file_size:,} bytes")
            if entry.compress_type != zipfile.ZIP_STORED:  # one cannot go back and forth in what is compressed
                return _layers(io.BytesIO(archive.read(entry)), size, path)[0], epsilons
            with archive.open(entry) as file:  # read to its end first, where zipfile compares the checksum
                return _layers(file, size, path)[0], epsilons
    except (*zipped.DAMAGES, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is not a .keras file, or is damaged: {first_line(error)}") from error


def read_h5(path: Path) -> tuple[Layers, dict[str, float]]:
    """Read a .h5 file: its arrays by layer, and the epsilons that a whole model's file states.

    Raises:
        WeightsError: It is damaged, or something else.
    """
    with path.open("rb") as file:
        layers, config = _layers(file, path.stat().st_size, path)
    try:
        return layers, _epsilons(config)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: its description of the network {first_line(error)}") from error


def _layers(file: IO[bytes], size: int, path: Path) -> tuple[Layers, str]:
    import h5py

    try:
        check_heaps(file)
        file.seek(0)
        with h5py.File(file, "r") as h5:
            tree = Tree(h5, file, size)
            config = tree.text(h5, "model_config", "{}")
            if "model_weights" in h5:
                layers = _legacy_layers(tree, tree.member(h5, "model_weights"), config)
            elif "layer_names" in h5.attrs or "layer_names0" in h5.attrs:
                layers = _legacy_layers(tree, h5, config)
            else:
                layers = _keras3_layers(tree)
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError and others for damaged files
        raise WeightsError(f"{path} is not an HDF5 weights file, or is damaged: {first_line(error)}") from error
    if not layers:
        raise WeightsError(f"{path} is an HDF5 file, but holds no layers with weights as Keras saves them.")
    names = _canonical(layers)
    return {names[layer]: fields for layer, fields in layers.items()}, config


def _legacy_layers(tree: Tree, group: Any, config: str) -> Layers:
    """The layout of keras.applications' files: attributes `layer_names`, and `weight_names` of each layer."""
    import h5py

    listed = tree.texts(group, "layer_names")
    if listed is None:  # then the order is that of the network's description
        order = {name: i for i, name in enumerate(re.findall(r'"name": "([^"]*)"', config))}
        listed = sorted(tree.names(group), key=lambda name: order.get(name, len(order)))
    layers = {}
    for layer in listed:
        held = tree.member(group, layer)
        names = tree.texts(held, "weight_names")
        if names is None:
            names = [path for path, item in tree.walk(held) if isinstance(item, h5py.Dataset)]
        if names:
            arrays = {name: tree.array(tree.member(held, name)) for name in names}
            layers[layer] = {name.split("/")[-1].split(":")[0]: array for name, array in arrays.items()}
    return layers


def _keras3_layers(tree: Tree) -> Layers:
    """The layout of `.weights.h5`: groups `.../vars` with datasets 0, 1 ... and the layer's name as an attribute."""
    import h5py

    layers: Layers = {}
    for path, group in tree.walk(tree.file):
        if path.endswith("vars") and not path.startswith(("optimizer", "vars")) and isinstance(group, h5py.Group):
            names = sorted(tree.names(group), key=int)
            if names:
                layer = tree.text(group, "name", path.split("/")[-2])
                layers[layer] = {name: tree.array(tree.member(group, name)) for name in names}
    return layers


def _canonical(layers: Iterable[str]) -> dict[str, str]:
    """Count automatic names from zero: in a file they begin where the session happened to be."""
    numbers: dict[str, list[tuple[int, str]]] = {}
    names = {layer: layer for layer in layers}
    for layer in names:
        match = _AUTOMATIC_NAME.match(layer)
        if match:
            numbers.setdefault(match[1], []).append((int(match[2] or 0), layer))
    for kind, count in numbers.items():
        for i, (_, layer) in enumerate(sorted(count)):
            names[layer] = f"{kind}_{i}" if i else kind
    return names


def _epsilons(text: str | bytes) -> dict[str, float]:
    """Return the epsilons of the batch normalizations in a network's description.

    Raises:
        ValueError: It is no such description.
    """
    config = json.loads(text)
    try:
        settings = [
            (layer["class_name"], layer["config"])
            for layer in config.get("config", {}).get("layers", [])
            if "name" in layer.get("config", {})
        ]
        names = _canonical([layer["name"] for _, layer in settings])
        return {
            names[layer["name"]]: float(layer["epsilon"]) for kind, layer in settings if kind == "BatchNormalization"
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"is not Keras's ({type(error).__name__}: {error})") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
