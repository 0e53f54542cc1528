"""Classifiers by name or path: a variant with weights, a saved model, an artifact, an export or a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn import registry
from kerascnn.photos.classifying import Classifier, classifier, published_error, softmax
from kerascnn.photos.preparing import Given, Preparation
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.photos.runtimes import THREADS, open_artifact
from kerascnn.registry import PublishedError
from kerascnn.training.runs import RUN_FILES, find_finished

# Formats and their runtimes; what loads quickly is taken from an export first.
FORMATS = {"tflite": "ai_edge_litert", "onnx": "onnxruntime", "saved_model": "tensorflow"}
MANIFEST = "manifest.json"
_SAVED_MODEL = "saved_model.pb"
_KERAS_SUFFIXES = (".keras", ".h5", ".kdc")
_SUFFIXES = (*_KERAS_SUFFIXES, ".tflite", ".onnx")
_FIELDS = Preprocessing.__dataclass_fields__


def open_classifier(
    name: str,
    weights: str = "auto",
    *,
    preprocessing: Given = None,
    labels: Sequence[str] | None = None,
    threads: int = THREADS,
) -> Classifier:
    """Open what answers photos.

    Args:
        name: The name of a variant; or the path of a .keras, .kdc, .tflite or .onnx file, of a SavedModel, of the
            folder of an export, or of that of a fine-tuning run.
        weights: Of a variant: the name of published weights or a file; "auto" takes those at hand before others.
        preprocessing: How photos are prepared, in place of what it remembers.
        labels: Class names, in place of those that it remembers.
        threads: How many threads a .tflite or .onnx file computes with.

    Raises:
        ValueError: There is no such model, it cannot be read, or how photos are prepared for it is not known.
        FileNotFoundError: There are no such weights.
        OSError: The weights cannot be fetched.
        ModuleNotFoundError: What runs the file is not installed.
    """
    path = check_name(name, weights)
    if path is None:
        return classifier(_build(name, weights), preprocessing, labels)
    if path.suffix in _KERAS_SUFFIXES:
        from kerascnn.saving import load_model, own_class  # which imports Keras; no artifact needs it

        try:
            model = load_model(path, **({} if path.suffix == ".kdc" else {"compile": False}))
        except (TypeError, ValueError) as error:
            own = own_class(error)
            if own is None:
                raise
            raise ValueError(
                f"{path} holds {own}, a class of your own that is not imported. In Python, import the module that "
                "registers it (keras.saving.register_keras_serializable), and call kerascnn.predict."
            ) from error
        return classifier(model, preprocessing, labels)
    return _of_artifact(path, preprocessing, labels, threads)


def check_name(name: str, weights: str = "auto") -> Path | None:
    """Find the file or folder that a name stands for; None for a variant. Nothing is loaded.

    Raises:
        ValueError: There is no such model, or the folder is none that can be asked.
        FileNotFoundError: There is no such weights file.
    """
    path = Path(name)
    if name in registry.variants() and not path.is_dir():
        if weights == "auto":
            from kerascnn.weights.sources import preferred

            if preferred(name) is None:
                raise ValueError(f"{name} has no published weights. Give --weights FILE, such as a .kdc of your own.")
        else:
            from kerascnn.weights import find

            find(name, weights)
        return None
    if weights != "auto":
        raise ValueError(f"Weights are given for a network by its name; {name} brings its own.")
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise ValueError(f"{path} is no model that can be asked; such files end in {', '.join(_SUFFIXES)}.")
        return path
    if path.suffix in _SUFFIXES or "/" in name:
        raise ValueError(f"There is no model file {name}.")
    registry.variant(name)  # which refuses it, with the nearest names
    raise AssertionError(name)


def _in_folder(folder: Path) -> Path:
    """Find what answers in a folder: a run, a SavedModel, an export, or the newest version of a SavedModel."""
    run = find_finished(folder)
    if run is not None:
        return run.model
    if (folder / _SAVED_MODEL).is_file():
        return folder
    if (folder / MANIFEST).is_file():
        return artifacts_in(folder)[0]
    versions = sorted((int(path.parent.name), path.parent) for path in folder.glob(f"[0-9]*/{_SAVED_MODEL}"))
    if versions:
        return versions[-1][1]
    exports = sorted(path.parent.name for name in (MANIFEST, *RUN_FILES) for path in folder.glob(f"*/{name}"))
    hint = f" It holds {', '.join(exports[:6])}; give one, such as {folder / exports[0]}." if exports else ""
    raise ValueError(f"{folder} is neither an export (manifest.json) nor a SavedModel ({_SAVED_MODEL}).{hint}")


def artifacts_in(folder: Path) -> list[Path]:
    """List the artifacts of an export that answer photos: float32 first, and those whose runtime is installed first.

    Raises:
        ValueError: None of the artifacts that the manifest names is there.
    """
    manifest = _read_json(folder / MANIFEST)
    known = [artifact for artifact in manifest.get("artifacts", []) if artifact["format"] in FORMATS]
    installed = [name for name, package in FORMATS.items() if find_spec(package)]
    order = [*installed, *(name for name in FORMATS if name not in installed)]
    known.sort(key=lambda artifact: (artifact["precision"] != "float32", order.index(artifact["format"])))
    paths = [folder / str(artifact["path"]) for artifact in [*known, *filter(None, [manifest.get("compression")])]]
    present = [path for path in paths if path.exists()]
    if not present:
        raise ValueError(f"{folder} holds none of the artifacts that its manifest.json names.")
    return present


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise ValueError(f"{path} cannot be read: it holds no JSON object.")
    return read


def _build(variant: str, weights: str) -> Any:
    from kerascnn.factory import create_model
    from kerascnn.weights.resolving import resolve
    from kerascnn.weights.sources import preferred

    record = preferred(variant) if weights == "auto" else resolve(variant, weights).record
    options: dict[str, Any] = {}
    crop = (record.preprocessing or {}).get("crop") if record and record.input_shape is None else None
    if crop:  # some weights were trained for another size than the paper's
        options["input_shape"] = (*crop, registry.variant(variant).input_shape[2])
    assert record is not None or weights != "auto"
    return create_model(variant, weights=record.name if record and weights == "auto" else weights, **options)


@dataclass(frozen=True)
class _Known:
    """What lies beside an artifact, or in it."""

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    published: PublishedError | None = None


def _of_artifact(path: Path, preprocessing: Given, labels: Sequence[str] | None, threads: int) -> Classifier:
    opened = open_artifact(path, threads)
    known = _beside(path) or _inside(opened.metadata)
    preparation = Preparation.for_input(opened.shape, known.preprocessing, preprocessing, str(path))
    scores = opened.output == "scores"

    def run(images: np.ndarray) -> np.ndarray:
        answers = np.asarray(opened.run(images), np.float64)
        unbounded = scores or answers.min() < 0 or answers.max() > 1
        return softmax(answers) if unbounded and answers.ndim == 2 else answers

    return Classifier(path.name, preparation, run, labels or known.labels, known.published)


def _beside(path: Path) -> _Known | None:
    """Read what its export says of an artifact; where it lies apart, a SavedModel has its labels, others nothing."""
    for folder in (path.parent, path.parent.parent):
        if not (folder / MANIFEST).is_file():
            continue
        manifest = _read_json(folder / MANIFEST)
        if any((folder / artifact["path"]).resolve() == path.resolve() for artifact in manifest.get("artifacts", [])):
            named = manifest.get("labels")
            text = (folder / named).read_text(encoding="utf-8") if named and (folder / named).is_file() else ""
            labels = tuple(text.splitlines()) or None
            return _Known(_preprocessing(manifest.get("preprocessing")), labels, _published(manifest))
    own = path / "assets.extra" / "labels.txt"
    return _Known(labels=tuple(own.read_text(encoding="utf-8").splitlines())) if own.is_file() else None


def _published(manifest: Mapping[str, Any]) -> PublishedError | None:
    """Find the errors that the network of an export, or its weights, were published with."""
    source = (manifest.get("weights") or {}).get("source") or {}
    return published_error((manifest.get("model") or {}).get("variant"), source.get("name"), source.get("sha256"))


def _inside(metadata: Mapping[str, str]) -> _Known:
    """Read what an ONNX or TFLite file of an export says of itself."""
    try:
        labels = json.loads(metadata.get("labels", "null"))
        return _Known(_preprocessing(json.loads(metadata.get("preprocessing", "null"))), tuple(labels or ()) or None)
    except (ValueError, TypeError):  # another program's metadata of these names
        return _Known()


def _preprocessing(fields: Mapping[str, Any] | None) -> Preprocessing | None:
    """Read the preprocessing of a manifest; where the artifact normalizes photos itself, the rest of it."""
    if not fields:
        return None
    read = Preprocessing.from_fields({name: value for name, value in fields.items() if name in _FIELDS})
    return read.without_normalization if fields.get("included") else read
