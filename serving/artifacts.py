"""The models in a folder, as `export` wrote them and as TensorFlow Serving will see them.

A model is served under the name of its folder. Its base path is the folder that holds the version folders:
`artifacts/NAME/saved_model/1`, or `artifacts/NAME/saved_model_untrained/1` if the network was not trained. A folder
that holds the version folders itself, `models/NAME/1`, is a model too. What computes in half precision is a model of
its own beside it: `artifacts/NAME/saved_model_float16/1` is served as NAME_float16.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.contract import EXTRA, LABELS_FILE, MANIFEST_FILE
from serving.errors import RequestError, ServingError

HALVES = ("", "_float16", "_bfloat16")  # what the name of a model ends in, by its precision
# The base paths of each; where both are there, the first is served.
_BASE_PATHS = {half: (f"saved_model{half}", f"saved_model{half}_untrained") for half in HALVES}
BASE_PATHS = tuple(name for names in _BASE_PATHS.values() for name in names)
GREATEST_VERSION = 2**63 - 1
NAME_RULE = "letters, digits, '.', '_' and '-', and a letter or digit first."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_VERSION = re.compile(r"0|[1-9][0-9]*")
_ANY_VERSION = re.compile(r"[+-]?[0-9]{1,30}")


@dataclass(frozen=True)
class ServedModel:
    """A model with at least one version that can be served.

    Attributes:
        name: The name that it is served under, at /v1/models/NAME.
        base_path: The folder that holds the version folders.
        versions: Its versions in ascending order, at least one.
        manifest: What `export` says of the newest version; None without a manifest.
        labels: Class names of the newest version, in the order of the outputs; None if they are not known.
    """

    name: str
    base_path: Path
    versions: tuple[int, ...]
    manifest: Mapping[str, Any] | None
    labels: tuple[str, ...] | None

    def path(self, version: int) -> Path:
        """Return the folder of a version, which holds saved_model.pb."""
        return self.base_path / str(version)


def find_models(folder: Path) -> tuple[ServedModel, ...]:
    """Find every model in `folder`, sorted by name. Hidden folders and folders without a SavedModel are left out.

    Raises:
        RequestError: The folder does not exist, holds no model, or holds one whose name cannot be served.
        ServingError: The manifest or the labels of a model cannot be read.
    """
    if not folder.is_dir():
        raise RequestError(
            f"{folder} is not a folder. Give the one that export wrote to (--output), such as artifacts/."
        )
    models = [
        read_model(check_name(name), base_path)
        for name, base_path in sorted(find_base_paths(folder).items())
        # A child named as a base path means that the folder is one model, not a folder of models.
        if name not in BASE_PATHS and find_versions(base_path)
    ]
    if models:
        return tuple(models)
    if any((folder / name).is_dir() for name in BASE_PATHS):
        raise RequestError(f"{folder} is one model; give the folder above it, {folder.resolve().parent}.")
    raise RequestError(
        f"There is no model to serve in {folder}: no NAME/saved_model/1/saved_model.pb. Export one with: python -m "
        f"export --model squeezenet --saved-model --output {folder}."
    )


def read_model(name: str, base_path: Path) -> ServedModel:
    """Read the model whose versions are in `base_path`.

    Raises:
        RequestError: It has no version.
        ServingError: Its manifest or labels cannot be read.
    """
    versions = find_versions(base_path)
    if not versions:
        raise RequestError(f"{base_path} holds no version: a folder named 1, 2, … with a saved_model.pb in it.")
    extra = base_path / str(versions[-1]) / EXTRA
    # A promoted version brings its own manifest; an exported one has that of its folder.
    manifest = read_manifest(extra / MANIFEST_FILE)
    if manifest is None and base_path.name in BASE_PATHS:
        manifest = read_manifest(base_path.parent / MANIFEST_FILE)
    labels = _read(extra / LABELS_FILE, "labels", lambda text: tuple(text.rstrip("\n").split("\n")))
    return ServedModel(name, base_path, versions, manifest, labels)


def find_base_paths(folder: Path) -> dict[str, Path]:
    """Find the base path of each model in the folder of all models, by its name; none if there is no such folder."""
    base_paths: dict[str, Path] = {}
    for child in sorted(folder.iterdir()) if folder.is_dir() else ():
        for half in HALVES:
            base_path = _find_base_path(child, half)
            if base_path is not None:
                base_paths.setdefault(f"{child.name}{half}", base_path)
    return base_paths


def _find_base_path(folder: Path, half: str) -> Path | None:
    """Find the base path of one precision in the folder of a model; None if there is none or the folder is hidden."""
    if folder.name.startswith(".") or not folder.is_dir():
        return None
    for name in _BASE_PATHS[half]:
        if (folder / name).is_dir():
            return folder / name
    return folder if not half and any(is_saved_model(child) for child in folder.iterdir()) else None


def alike(base_path: Path) -> tuple[str, ...]:
    """Return the names that a base path of the same precision can have in an export."""
    return next((names for names in _BASE_PATHS.values() if base_path.name in names), _BASE_PATHS[""])


def find_versions(base_path: Path) -> tuple[int, ...]:
    """Find the versions in a base path, ascending: folders named by a whole number that hold a saved_model.pb."""
    versions = (parse_version(child.name) for child in base_path.iterdir() if is_saved_model(child))
    return tuple(sorted(version for version in versions if version is not None))


def is_saved_model(folder: Path) -> bool:
    """Return whether a folder holds a saved_model.pb."""
    return (folder / "saved_model.pb").is_file()


def parse_version(text: str) -> int | None:
    """Read a version from the name of its folder; None for other names, such as "v1", "0.1" and "01"."""
    return int(text) if _VERSION.fullmatch(text) and int(text) <= GREATEST_VERSION else None


def parse_any_version(text: str) -> int | None:
    """Read what a server takes for a version, -5 and 007 too, which nothing here writes; None for other names."""
    return int(text) if _ANY_VERSION.fullmatch(text) and abs(int(text)) <= GREATEST_VERSION else None


def is_name(name: str) -> bool:
    """Return whether a name can be part of a path, a URL and a configuration file."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return the name if a model can be served under it; raise a RequestError if not."""
    if not is_name(name):
        raise RequestError(f"A model cannot be served as {name!r}: {NAME_RULE} Rename its folder.")
    return name


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest; None if there is none. Raise a ServingError if the file is not a manifest."""
    manifest = _read(path, "manifest", json.loads)
    if manifest is not None and not isinstance(manifest, dict):
        raise ServingError(f"The manifest {path} is not a JSON object. Export the model again.")
    return manifest


def _read(path: Path, what: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise ServingError(f"The {what} {path} cannot be read ({error}). Export the model again.") from error
