"""The models in a folder, as `export` wrote them and as TensorFlow Serving will see them.

A model is served under the name of its folder. Its base path is the folder that holds the version folders:
`artifacts/NAME/saved_model/1`, or `artifacts/NAME/saved_model_untrained/1` where the network was not trained. A folder
that holds the version folders itself (`models/NAME/1`), as others lay them out, is taken too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.contract import EXTRA, LABELS_FILE, MANIFEST_FILE
from serving.errors import RequestError, ServingError

BASE_PATHS = ("saved_model", "saved_model_untrained")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"0|[1-9][0-9]*")
_GREATEST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class ServedModel:
    """A model with at least one version that can be served.

    Attributes:
        name: under which it is served, at /v1/models/NAME.
        base_path: the folder that holds the version folders.
        versions: in ascending order, at least one.
        manifest: what `export` says of the newest version; None where the model came without one.
        labels: class names of the newest version, in the order of the outputs; None where they are not known.
    """

    name: str
    base_path: Path
    versions: tuple[int, ...]
    manifest: Mapping[str, Any] | None
    labels: tuple[str, ...] | None

    def path(self, version: int) -> Path:
        """The folder of one version, which holds saved_model.pb."""
        return self.base_path / str(version)


def find_models(folder: Path) -> tuple[ServedModel, ...]:
    """Every model in `folder`, sorted by name. Hidden folders, and folders without a SavedModel, are left out.

    Raises:
        RequestError: there is no such folder, no model in it, or one whose name cannot be served.
        ServingError: the manifest or the labels of a model cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(
            f"{folder} is not a folder. Give the one that export wrote to (--output), such as artifacts/."
        )
    models = []
    for child in sorted(folder.iterdir()):
        base_path = find_base_path(child)
        # a base path itself: the folder is one model, not the folder of several
        if child.name in BASE_PATHS or base_path is None or not find_versions(base_path):
            continue
        models.append(read_model(check_name(child.name), base_path))
    if not models:
        raise RequestError(_nothing_found(folder))
    return tuple(models)


def read_model(name: str, base_path: Path) -> ServedModel:
    """The model whose versions lie in `base_path`.

    Raises:
        RequestError: there is no version.
        ServingError: its manifest or labels cannot be read.
    """
    versions = find_versions(base_path)
    if not versions:
        raise RequestError(f"{base_path} holds no version: a folder named 1, 2, … with a saved_model.pb in it.")
    extra = base_path / str(versions[-1]) / EXTRA
    labels = _read_labels(extra / LABELS_FILE)
    # A version that was promoted brings its own manifest; one that was exported into place has that of its folder.
    manifest = read_manifest(extra / MANIFEST_FILE)
    if manifest is None and base_path.name in BASE_PATHS:
        manifest = read_manifest(base_path.parent / MANIFEST_FILE)
    return ServedModel(name, base_path, versions, manifest, labels)


def find_base_path(folder: Path) -> Path | None:
    """Where the version folders of the model in `folder` are; None where it holds no model, or is hidden."""
    if folder.name.startswith(".") or not folder.is_dir():
        return None
    for name in BASE_PATHS:
        if (folder / name).is_dir():
            return folder / name
    return folder if any(is_saved_model(child) for child in folder.iterdir()) else None


def find_versions(base_path: Path) -> tuple[int, ...]:
    """The versions in a base path, ascending: folders with a whole number as name and a saved_model.pb in them."""
    found = (parse_version(child.name) for child in base_path.iterdir() if is_saved_model(child))
    return tuple(sorted(version for version in found if version is not None))


def is_saved_model(folder: Path) -> bool:
    """Whether a folder looks like a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def parse_version(text: str) -> int | None:
    """A version as a server reads it from a folder's name; None where it is none ("v1", "0.1", "01")."""
    if not _VERSION.fullmatch(text) or int(text) > _GREATEST_VERSION:
        return None
    return int(text)


def is_name(name: str) -> bool:
    """Whether a name can stand in a path, a URL and a configuration file."""
    return len(name) <= 255 and _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """The name, where a model can be served under it.

    Raises:
        RequestError: it cannot.
    """
    if not is_name(name):
        raise RequestError(
            f"A model cannot be served as {name!r}: letters, digits, '.', '_' and '-', and a letter or digit first. "
            "Rename its folder."
        )
    return name


def _nothing_found(folder: Path) -> str:
    if any((folder / name).is_dir() for name in BASE_PATHS):
        return f"{folder} is one model; give the folder above it, {folder.resolve().parent}."
    return (
        f"There is no model to serve in {folder}: no NAME/saved_model/1/saved_model.pb. Export one with: python -m "
        f"export --model squeezenet --saved-model --output {folder}."
    )


def read_manifest(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServingError(f"The manifest {path} cannot be read ({error}). Export the model again.") from error
    if not isinstance(manifest, dict):
        raise ServingError(f"The manifest {path} is not a JSON object. Export the model again.")
    return manifest


def _read_labels(path: Path) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    try:
        return tuple(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    except (OSError, ValueError) as error:
        raise ServingError(f"The labels {path} cannot be read ({error}). Export the model again.") from error
