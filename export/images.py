"""Photos from a folder or a zip, for calibration, verification and evaluation."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from export.errors import RequestError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")


class Preprocessing(Protocol):
    """What turns a photo into a network's input: float32 [H, W, 3]."""

    def load(self, image: Image.Image) -> np.ndarray: ...


@dataclass(frozen=True)
class ImageSource:
    """A folder or a zip with photos. `names` are sorted paths within it, separated by '/'."""

    path: Path
    names: tuple[str, ...]

    def open(self, name: str) -> bytes:
        """The bytes of the file `name`."""
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)


@dataclass(frozen=True)
class LoadedImages:
    """`images` float32 [n, H, W, 3] with their `names`, and what could not be read as (name, reason)."""

    images: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def find_images(source: Path) -> ImageSource:
    """List the photos of `source`, a folder or a zip, at any depth. Hidden files and folders are left out.

    Raises:
        RequestError: nothing there, not a zip, or no photo in it.
    """
    source = Path(source)
    if not source.exists():
        raise RequestError(f"{source} does not exist; give a folder or a zip with images.")
    if source.is_dir():
        found = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            found = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    else:
        raise RequestError(f"{source} is neither a folder nor a zip; give a folder or a zip with images.")
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES) and not _hidden(name))
    if not names:
        raise RequestError(f"{source} holds no images ({', '.join(SUFFIXES)}) among its {len(found)} files.")
    return ImageSource(source, tuple(names))


def _hidden(name: str) -> bool:
    # macOS puts a resource fork named like the photo beside each one it zips.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of `names`, evenly spaced over them (all of them when there are fewer): always the same choice."""
    if count >= len(names):
        return list(names)
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def load_images(source: ImageSource, names: Sequence[str], preprocessing: Preprocessing) -> LoadedImages:
    """Read and preprocess `names`. A file that is no readable image is skipped and listed with the reason.

    Raises:
        RequestError: none of them could be read.
    """
    from PIL import Image, ImageOps

    loaded: list[tuple[str, np.ndarray]] = []
    skipped: list[tuple[str, str]] = []
    for name in names:
        try:
            with Image.open(io.BytesIO(source.open(name))) as image:
                image.load()
                # Cameras store the photo lying on its side, and how to turn it beside it.
                upright = ImageOps.exif_transpose(image)
        except (OSError, ValueError, SyntaxError, KeyError, zipfile.BadZipFile, Image.DecompressionBombError) as error:
            skipped.append((name, str(error) or type(error).__name__))
            continue
        loaded.append((name, np.asarray(preprocessing.load(upright), np.float32)))
    if not loaded:
        raise RequestError(
            f"None of the {len(names)} images in {source.path} could be read; the first: {skipped[0][1]}"
            if skipped
            else f"No images were chosen from {source.path}; choose at least one."
        )
    return LoadedImages(np.stack([image for _, image in loaded]), tuple(name for name, _ in loaded), tuple(skipped))


def labels_from_folders(
    names: Sequence[str], labels: Sequence[str] | None, wnids: Sequence[str] | None, classes: int
) -> list[int]:
    """The class of each photo, from its top folder: a class name, a WordNet id, or a class index.

    Args:
        names: paths of the photos, separated by '/'.
        labels: class names in the network's order; case, and spaces or underscores, make no difference.
        wnids: WordNet ids ("n01440764") in the network's order.
        classes: how many classes the network knows.

    Raises:
        RequestError: a folder that is none of these, or a name that two classes share.
    """
    known: dict[str, list[int]] = {}
    for table in (labels or (), wnids or ()):
        for index, label in enumerate(table):
            known.setdefault(_plain(label), []).append(index)
    return [_label(name, known, classes) for name in names]


def _label(name: str, known: dict[str, list[int]], classes: int) -> int:
    folder, separator, _ = name.partition("/")
    if not separator:
        raise RequestError(f"{name!r} lies in no folder; put each image into a folder named after its class.")
    indices = sorted(set(known.get(_plain(folder), ())))
    if not indices and folder.isdecimal() and folder.isascii():
        indices = [int(folder)]
    if len(indices) > 1:
        raise RequestError(
            f"Folder {folder!r} is the name of classes {' and '.join(map(str, indices))}; "
            "name it after the index or the WordNet id."
        )
    if indices and indices[0] < classes:
        return indices[0]
    near = difflib.get_close_matches(_plain(folder), known, n=3)
    hint = f" Nearest names: {', '.join(near)}." if near else ""
    raise RequestError(
        f"Folder {folder!r} is no class name, no WordNet id and no class index from 0 to {classes - 1}.{hint}"
    )


def _plain(label: str) -> str:
    return label.strip().casefold().replace(" ", "_")
