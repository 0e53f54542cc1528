"""The accuracy of a model behind the wire: labeled photos through a running server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.artifacts import alike, find_base_paths, read_manifest, read_model
from serving.configuration.triton.repository import find_onnx
from serving.contract import MANIFEST_FILE
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.client import Client


@dataclass(frozen=True)
class Exported:
    """A model as it was exported.

    Attributes:
        name: What it is served as.
        labels: Class names in the order of the outputs; None if they are not known.
        manifest: What the export says of it; None without a manifest.
        paths: Where the manifest may have it.
    """

    name: str
    labels: tuple[str, ...] | None
    manifest: Mapping[str, Any] | None
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """What a server reached on labeled photos, as shares of those that it could read.

    Attributes:
        top1: How often the likeliest class was the right one.
        top5: How often the right one was among the five likeliest.
        photos: The photos that the server could read.
        unreadable: The names of those that it could not.
        exported: What the manifest says of the artifact on its own photos (`top1`, `top5`, `images`); None where it
            says nothing.
        exported_photos: The name of those photos.
    """

    top1: float
    top5: float
    photos: int
    unreadable: tuple[str, ...]
    exported: Mapping[str, float] | None
    exported_photos: str | None


def find_exported(models: Path, name: str) -> Exported:
    """Find what is served as `name`, a SavedModel or an ONNX file, in the folder of all exports.

    Raises:
        RequestError: There is no such model.
    """
    base_path = find_base_paths(models).get(name)
    if base_path is not None:
        model = read_model(name, base_path)
        return Exported(name, model.labels, model.manifest, tuple(f"{other}/1" for other in alike(base_path)))
    for file in find_onnx(models) if models.is_dir() else ():
        if file.name == name:
            manifest = read_manifest(file.path.parent / MANIFEST_FILE)
            return Exported(name, file.labels, manifest, (file.path.name,))
    raise RequestError(f"There is no model {name!r} in {models}; its classes and manifest are there. Give --models.")


def evaluate(client: Client, model: Exported, folder: Path) -> Evaluation:
    """Send the photos of a folder or a zip through a server, and compare the answers with the names of their folders.

    Args:
        client: Asks for the model.
        model: The model as it was exported, for its classes and its manifest.
        folder: Photos in folders that are named by class: by label, number, or WordNet id.

    Raises:
        RequestError: There are no such photos, or it is not known how many classes the model has.
        ClientError: A request failed.
    """
    from kerascnn.data import wordnet_ids
    from kerascnn.photos import files

    try:
        photos = files.find_photos(folder)
        expected = files.labels_from_folders(photos.names, model.labels, wordnet_ids(model.labels), _classes(model))
    except files.PhotosError as error:
        raise RequestError(str(error)) from error
    answers = client.classify(photos.open(name) for name in photos.names)
    classes = [[prediction.index for prediction in best] for best in answers]
    read = [(ids, right) for ids, right in zip(classes, expected, strict=True) if ids]
    if not read:
        raise RequestError(f"The server could read none of the {len(classes)} photos in {folder}.")
    entry, exported_photos = _exported(model)
    return Evaluation(
        top1=sum(ids[0] == right for ids, right in read) / len(read),
        top5=sum(right in ids[:5] for ids, right in read) / len(read),
        photos=len(read),
        unreadable=tuple(name for name, ids in zip(photos.names, classes, strict=True) if not ids),
        exported=entry,
        exported_photos=exported_photos,
    )


def _classes(model: Exported) -> int:
    if model.labels is not None:
        return len(model.labels)
    try:
        return int((model.manifest or {})["signature"]["output"]["shape"][-1])
    except (KeyError, TypeError, ValueError, IndexError):
        raise RequestError(
            f"{model.name} has neither labels nor a manifest that says how many classes it has. Give the folder that "
            "export wrote to with --models."
        ) from None


def _exported(model: Exported) -> tuple[dict[str, Any] | None, str | None]:
    """Return the accuracy in the manifest, and the name of the photos that it was measured on."""
    manifest = model.manifest or {}
    entries: list[dict[str, Any]] = manifest.get("artifacts") or []
    entry = next((e for e in entries if e.get("path") in model.paths), {})
    return entry.get("accuracy"), (manifest.get("evaluation") or {}).get("source")
