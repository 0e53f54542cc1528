"""Load a saved model, and what was known of it."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import keras

import kerascnn.layers  # noqa: F401  (registers what a file may hold, and the reader of what is known)
from kerascnn.factory import create_model
from kerascnn.keras_graph import deep_graphs
from kerascnn.weights import container

SUFFIXES = (".keras", ".h5", ".kdc")


def load_model(path: str | os.PathLike[str], **options: Any) -> keras.Model:
    """Load a saved model, and what was known of it: variant, preprocessing, class names, weights.

    `keras.saving.load_model` does the same for .keras files once kerascnn is imported.

    Args:
        path: A .keras file, a .kdc file, or a .h5 file, which does not keep what was known.
        **options: Of `keras.saving.load_model`: custom_objects, compile, safe_mode.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a file of these kinds, it is damaged, or it holds layers that are not registered.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no model file {file}.")
    if file.suffix not in SUFFIXES:
        raise ValueError(f"{file} is not a model file; its name must end in {', '.join(SUFFIXES)}.")
    if file.suffix == ".kdc":
        return create_model(container.read_header(file).variant, weights=str(file))
    if file.suffix == ".keras" and not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged: it is not the zip archive that a .keras file is. Save or copy it again.")
    with deep_graphs():
        model: keras.Model = keras.saving.load_model(file, **options)
    return model


def own_class(error: Exception) -> str | None:
    """Return the name of the layer, class or function of the user's own that Keras did not find; None otherwise."""
    match = re.search(r"Could not locate (?:class|function) '(\w+)'", str(error))
    return match[1] if match else None
