"""From a weights file to arrays by layer, whatever the file's format. Nothing in a file is ever executed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kerascnn.weights.deep_compression import read_squeezenet
from kerascnn.weights.sources import WeightsError

TORCH_SUFFIXES = (".pth", ".pt", ".th")
KERAS_SUFFIXES = (".h5", ".keras")
SUFFIXES = (*KERAS_SUFFIXES, *TORCH_SUFFIXES, ".safetensors", ".net", ".kdc")

_BUFFERS_WITHOUT_USE = ("num_batches_tracked",)
_AUTOMATIC_NAME = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d+))?$")


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
    if path.suffix in TORCH_SUFFIXES:
        return Checkpoint(path, "torch", _by_prefix(_read_torch(path)))
    if path.suffix == ".safetensors":
        return Checkpoint(path, "torch", _by_prefix(_read_safetensors(path)))
    if path.suffix == ".keras":
        return _read_keras_archive(path)
    if path.suffix == ".h5":
        return _read_h5(path)
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


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f'Reading {path} needs torch, which is not installed: pip install "kerascnn[torch]". '
            "(.safetensors and Keras files are read without it.)"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and key errors for other files
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path} holds Python objects beside tensors; reading those can run code, so it was not read. Save "
                "its state dict alone: torch.save(model.state_dict(), path)."
            ) from error
        raise WeightsError(f"{path} is not a torch checkpoint, or is damaged: {_first_line(error)}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict (nor one under 'state_dict' or 'model').")
    strangers = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise WeightsError(f"{path} is not a state dict: {strangers[0]!r} is not a tensor.")
    return {key: (t.float() if t.is_floating_point() else t).numpy() for key, t in content.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs safetensors, which is not installed: pip install safetensors."
        ) from error
    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:  # the last two: a type that NumPy lacks (bfloat16)
        raise WeightsError(f"{path} is not a safetensors file, or is damaged: {_first_line(error)}") from error


def _by_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    wrapped = all(key.startswith("module.") for key in tensors)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, array in tensors.items():
        prefix, _, name = (key.removeprefix("module.") if wrapped else key).rpartition(".")
        if name not in _BUFFERS_WITHOUT_USE:
            layers.setdefault(prefix, {})[name] = array
    return layers


def _read_keras_archive(path: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            with archive.open("model.weights.h5") as file:
                return Checkpoint(path, "keras", _layers_of_h5(file, path), _epsilons(config))
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is not a .keras file, or is damaged: {_first_line(error)}") from error


def _read_h5(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        layers = _layers_of_h5(file, path)
        return Checkpoint(path, "keras", layers, _epsilons(json.loads(_model_config(file))))


def _model_config(file: Any) -> str:
    """The network that a whole model's `.h5` keeps beside its weights; files of weights alone have none."""
    import h5py

    with h5py.File(file, "r") as h5:
        config = h5.attrs.get("model_config", "{}")
        return config.decode("utf-8") if isinstance(config, bytes) else str(config)


def _layers_of_h5(file: Any, path: Path) -> dict[str, dict[str, np.ndarray]]:
    import h5py

    try:
        with h5py.File(file, "r") as h5:
            if "model_weights" in h5:
                layers = _legacy_layers(h5["model_weights"])
            elif "layer_names" in h5.attrs or "layer_names0" in h5.attrs:
                layers = _legacy_layers(h5)
            else:
                layers = _keras3_layers(h5)
    except WeightsError:
        raise
    except Exception as error:  # h5py raises OSError, RuntimeError and KeyError for damaged files
        raise WeightsError(f"{path} is not an HDF5 weights file, or is damaged: {_first_line(error)}") from error
    if not layers:
        raise WeightsError(f"{path} is an HDF5 file, but holds no layers with weights as Keras saves them.")
    return _renumbered(layers)


def _legacy_layers(group: Any) -> dict[str, dict[str, np.ndarray]]:
    """The layout of keras.applications' files: attributes `layer_names`, and `weight_names` of each layer."""
    layers = {}
    for layer in _attribute(group, "layer_names"):
        names = _attribute(group[layer], "weight_names")
        if names:
            layers[layer] = {name.split("/")[-1].split(":")[0]: np.asarray(group[layer][name]) for name in names}
    return layers


def _attribute(group: Any, name: str) -> list[str]:
    """A list of names, which Keras splits over `name0`, `name1` ... where HDF5 would refuse its size."""
    if name in group.attrs:
        values = list(group.attrs[name])
    else:
        values, chunk = [], 0
        while f"{name}{chunk}" in group.attrs:
            values += list(group.attrs[f"{name}{chunk}"])
            chunk += 1
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def _keras3_layers(h5: Any) -> dict[str, dict[str, np.ndarray]]:
    """The layout of `.weights.h5`: groups `.../vars` with datasets 0, 1 ... and the layer's name as an attribute."""
    import h5py

    layers: dict[str, dict[str, np.ndarray]] = {}

    def visit(name: str, item: Any) -> None:
        if not name.endswith("vars") or name.startswith(("optimizer", "vars")) or not isinstance(item, h5py.Group):
            return
        if not len(item):
            return
        layer = item.attrs.get("name", name.split("/")[-2])
        layers[layer] = {key: np.asarray(item[key]) for key in sorted(item, key=int)}

    h5.visititems(visit)
    return layers


def _renumbered(layers: Mapping[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Automatic names counted from zero: in a file they begin where the session happened to be."""
    names = _canonical(layers)
    return {names[layer]: fields for layer, fields in layers.items()}


def _canonical(layers: Iterable[str]) -> dict[str, str]:
    numbers: dict[str, list[tuple[int, str]]] = {}
    names = {layer: layer for layer in layers}
    for layer in names:
        match = _AUTOMATIC_NAME.match(layer)
        if match:
            numbers.setdefault(match[1], []).append((int(match[2] or 0), layer))
    for kind, found in numbers.items():
        for i, (_, layer) in enumerate(sorted(found)):
            names[layer] = f"{kind}_{i}" if i else kind
    return names


def _epsilons(config: Mapping[str, Any]) -> dict[str, float]:
    settings = [
        (layer["class_name"], layer["config"])
        for layer in config.get("config", {}).get("layers", [])
        if "name" in layer.get("config", {})
    ]
    names = _canonical([layer["name"] for _, layer in settings])
    return {names[layer["name"]]: layer["epsilon"] for kind, layer in settings if kind == "BatchNormalization"}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
