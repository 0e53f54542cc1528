"""Photos whose classes are known, from their folders or from a list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kerascnn.data import wordnet_ids
from kerascnn.photos.files import PhotoFiles, PhotosError, labels_from_folders
from kerascnn.photos.truth import read_truth


@dataclass(frozen=True)
class LabeledPhotos:
    """Photos and their classes.

    Attributes:
        files: The photos.
        labels: The class of each.
    """

    files: PhotoFiles
    labels: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Their paths within the folder or zip, in alphabetical order."""
        return self.files.names

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each name is."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def sha256(self) -> str:
        """A digest of names and classes; what the files hold has checksums of its own."""
        return hashlib.sha256(json.dumps([self.names, self.labels]).encode()).hexdigest()


def label_photos(files: PhotoFiles, truth: Path | None, labels: Sequence[str] | None, classes: int) -> LabeledPhotos:
    """Find the classes of photos: in a list, or by their folders.

    Args:
        files: The photos.
        truth: A list of their classes, see `kerascnn.photos.truth`; None where their folders tell.
        labels: Class names in the network's order.
        classes: How many classes the network knows.

    Raises:
        PhotosError: The class of a photo is not said, or is none of the network's.
    """
    try:
        return LabeledPhotos(files, tuple(_labels(files, truth, labels, classes)))
    except PhotosError as error:
        hint = "" if labels is not None else " The model does not remember its class names: give --labels."
        raise PhotosError(f"{error}{hint}") from error


def _labels(files: PhotoFiles, truth: Path | None, labels: Sequence[str] | None, classes: int) -> list[int]:
    if truth is not None:
        return read_truth(truth, files.names, labels, classes)
    if not any("/" in name for name in files.names):
        raise PhotosError(
            f"The photos in {files.path} lie in no folders that are named after classes. Give a list of their classes "
            "with --truth, such as ImageNet's val.txt."
        )
    return labels_from_folders(files.names, labels, wordnet_ids(labels), classes)
