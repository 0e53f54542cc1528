"""A Keras model of the user's own: from a file or from Python to one that can be exported, or refused by what it is."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import RequestError
from export.opening import LoadedModel, first_line, origin_of

if TYPE_CHECKING:
    import keras

Size = tuple[int, int]


def import_modules(names: Sequence[str]) -> None:
    """Import modules that register layers of the user's own; those of the working folder too.

    Raises:
        RequestError: One cannot be imported.
    """
    for name in names:
        try:
            if "" not in sys.path:
                sys.path.insert(0, "")
            importlib.import_module(name)
        except Exception as error:  # whatever the module's own code raises
            raise RequestError(
                f"--import {name}: the module cannot be imported ({type(error).__name__}: {first_line(error)})."
            ) from error


def open_file(path: Path, input_size: Size | None = None) -> LoadedModel:
    """Load a saved Keras model, with what it remembers: preprocessing, class names, and where its weights came from.

    Args:
        path: A .keras file.
        input_size: (height, width) for a model that takes images of any size.

    Raises:
        RequestError: Keras cannot read the file, or what is in it cannot be exported.
    """
    from kerascnn.photos.preprocessing import known_preprocessing
    from kerascnn.saving import load_model
    from kerascnn.weights.sources import sha256

    try:
        model = load_model(path, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras each raise their own kinds
        raise RequestError(_why_not_loaded(path, error)) from error
    model = exportable(model, input_size)
    known, labels = origin_of(model)
    weights = {"file": path.name, "sha256": sha256(path)} | (
        {"made_from": dict(known.weights)} if known.weights else {}
    )
    # Whether the weights were trained further since is not known, so that neither is whether they are those on record.
    origin = replace(known, name=path.stem, trained=None, weights=weights)
    return LoadedModel(model, origin, known_preprocessing(model), labels)


def _why_not_loaded(path: Path, error: Exception) -> str:
    missing = re.search(r"Could not locate (class|function) '([^']+)'", str(error))
    if missing:
        return (
            f"{path} holds the {missing[1]} {missing[2]}, which is not known here. Give --import MODULE, the module "
            "that registers it with keras.saving.register_keras_serializable (from Python: import it, load the model, "
            "and call export.export)."
        )
    if "Lambda" in str(error) and "lambda" in str(error):
        return (
            f"{path} holds a Lambda layer, and Keras does not load Python code from files. Replace it by a layer of "
            "a class that is registered, or export the model from the Python code that builds it: export.export(model, "
            "…)."
        )
    return (
        f"{path} cannot be loaded as a Keras model ({first_line(error).rstrip('.')}). Save it with "
        "model.save('NAME.keras'); layers of your own need keras.saving.register_keras_serializable and --import "
        "MODULE."
    )


def exportable(model: keras.Model, input_size: Size | None = None) -> keras.Model:
    """Return a model as it is exported: without auxiliary classifiers, which are for training, and of a fixed size.

    Args:
        model: The model.
        input_size: (height, width) for one that takes images of any size.

    Raises:
        RequestError: It is not a functional model, or its size is open and none is given, or the other way around.
    """
    import keras

    from kerascnn.keras_graph import has_graph
    from kerascnn.surgery.parts import inference_model

    if not isinstance(model, keras.Model):
        hint = " A saved one is loaded with kerascnn.load_model(path)." if isinstance(model, str | Path) else ""
        raise RequestError(f"An export takes a Keras model; a {type(model).__name__} was given.{hint}")
    if not has_graph(model):
        raise RequestError(
            f"A {type(model).__name__} cannot be exported. Give a functional or Sequential Keras model that is built; "
            "a model of a class of your own becomes one by keras.Model(image, model(image)), where image is a "
            "keras.Input."
        )
    return _with_size(inference_model(model), input_size)


def _with_size(model: keras.Model, size: Size | None) -> keras.Model:
    """Return a model whose images have a size."""
    import keras

    from kerascnn.build_info import carry_over
    from kerascnn.keras_graph import deep_graphs, input_structure, output_structure

    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    open_images = [tensor for tensor in images if None in tensor.shape[1:3]]
    if size is None and not open_images:
        return model
    if size is None:
        raise RequestError(
            f"{model.name} takes images of any size, {tuple(open_images[0].shape[1:])}, and an artifact has a fixed "
            "one. Give --input-size HxW (from Python: input_size=(height, width))."
        )
    if not open_images:
        sizes = ", ".join(f"{tensor.shape[1]}x{tensor.shape[2]}" for tensor in images) or "no images"
        raise RequestError(f"--input-size is for models that take images of any size; {model.name} takes {sizes}.")

    def fixed(tensor: Any) -> Any:
        shape = tuple(tensor.shape[1:])
        shape = (*size, shape[2]) if len(shape) == 3 and None in shape[:2] else shape
        return keras.Input(shape, dtype=tensor.dtype, name=tensor.name)

    with deep_graphs():
        inputs = keras.tree.map_structure(fixed, input_structure(model))
        fixed_model = keras.models.clone_model(model, input_tensors=inputs, clone_function=lambda layer: layer)
        return carry_over(model, keras.Model(inputs, output_structure(fixed_model), name=model.name))
