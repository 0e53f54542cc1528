"""Photos from a folder or a zip, for calibration, verification and evaluation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from export.errors import RequestError
from kerascnn.photos import files
from kerascnn.photos.files import PhotoFiles as ImageSource
from kerascnn.photos.files import spread
from kerascnn.photos.reading import read_ahead

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = [
    "ImageSource",
    "LoadedImages",
    "calibration_photos",
    "find_images",
    "held_back",
    "labels_from_folders",
    "load_images",
    "spread",
]

CALIBRATION_PHOTOS = 100  # are plenty for ranges
ROUNDING_PHOTOS = 256  # weights of four bits diverge by half as much again with 64 as with 125
_AHEAD = 32  # photos that may wait for the one before them


class Preprocessing(Protocol):
    """What turns a photo into a network's input."""

    def load(self, image: Image.Image) -> np.ndarray:
        """Prepare a photo: float32 [height, width, channels]."""


@dataclass(frozen=True)
class LoadedImages:
    """Photos that were read.

    Attributes:
        images: float32 [n, height, width, channels].
        names: The name of each.
        skipped: (name, reason) of each file that could not be read.
    """

    images: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


@contextmanager
def _as_request_error() -> Iterator[None]:
    try:
        yield
    except files.PhotosError as error:
        raise RequestError(str(error)) from error


def find_calibration(source: str | Path) -> ImageSource | dict[str, np.ndarray]:
    """List the photos of a folder or a zip, or read the arrays of an .npz file, inputs by name.

    Raises:
        RequestError: There are none.
    """
    if Path(source).suffix != ".npz":
        return find_images(source)
    import numpy as np

    try:
        with np.load(source, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # whatever a damaged zip or array raises
        raise RequestError(f"{source} cannot be read as an .npz file of arrays ({error}).") from error


def find_images(source: str | Path) -> ImageSource:
    """List the photos of a folder or a zip, at any depth. Hidden files and folders are left out.

    Raises:
        RequestError: The source does not exist, is neither a folder nor a zip, or holds no photo.
    """
    with _as_request_error():
        return files.find_photos(Path(source))


def labels_from_folders(
    names: Sequence[str], labels: Sequence[str] | None, wnids: Sequence[str] | None, classes: int
) -> list[int]:
    """Find the class of each photo by its top folder: see `kerascnn.photos.files.labels_from_folders`.

    Raises:
        RequestError: A folder is no class, or has a name that two classes share.
    """
    with _as_request_error():
        return files.labels_from_folders(names, labels, wnids, classes)


def calibration_photos(calibration: object, evaluation: ImageSource | None, four_bits: bool) -> int:
    """Say how many photos of the calibration data to read.

    Weights of four bits want more of them than ranges do. Where the same photos also score the artifacts, the others
    stay unseen.
    """
    if four_bits and isinstance(calibration, ImageSource) and evaluation is not None:
        four_bits = len(held_back(evaluation, calibration, len(calibration.names))) == len(evaluation.names)
    return ROUNDING_PHOTOS if four_bits else CALIBRATION_PHOTOS


def held_back(evaluation: ImageSource, calibration: object, count: int) -> list[str]:
    """Name the evaluation photos that calibration does not see. Photos are told apart by their paths.

    Args:
        evaluation: The photos to score on.
        calibration: The photos to calibrate with, or anything else, which has no paths.
        count: How many of them are read.
    """
    if not isinstance(calibration, ImageSource):
        return list(evaluation.names)
    root = calibration.path.resolve()
    seen = {f"{root}/{name}" for name in spread(calibration.names, count)}
    root = evaluation.path.resolve()
    return [name for name in evaluation.names if f"{root}/{name}" not in seen]


def load_images(
    source: ImageSource,
    names: Sequence[str],
    preprocessing: Preprocessing,
    known: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> LoadedImages:
    """Read and prepare photos. A file that cannot be read as an image is skipped and listed with the reason.

    Args:
        source: The folder or zip.
        names: The photos.
        preprocessing: What turns them into the network's input.
        known: Those that were read before, by name.

    Raises:
        RequestError: None of them could be read.
    """
    import numpy as np
    from PIL import Image, ImageOps

    def read(name: str) -> np.ndarray | str:
        """Return what the network takes, or the reason where the file cannot be read."""
        if name in known:
            return known[name]
        try:
            with Image.open(io.BytesIO(source.open(name))) as image:
                image.load()
                # Cameras store the photo lying on its side, and how to turn it beside it.
                upright = ImageOps.exif_transpose(image)
        except files.unreadable() as error:
            return files.reason(error)
        return np.asarray(preprocessing.load(upright), np.float32)

    images, loaded, skipped = np.zeros(0, np.float32), list[str](), list[tuple[str, str]]()
    for name, result in zip(names, read_ahead(read, names, _AHEAD), strict=True):
        if isinstance(result, str):
            skipped.append((name, result))
            continue
        if not loaded:
            images = np.empty((len(names), *result.shape), np.float32)
        images[len(loaded)] = result
        loaded.append(name)
    if not loaded:
        raise RequestError(
            f"None of the {len(names)} images in {source.path} could be read; the first: {skipped[0][1]}"
            if skipped
            else f"No images were chosen from {source.path}; choose at least one."
        )
    return LoadedImages(images[: len(loaded)], tuple(loaded), tuple(skipped))
