"""Photos from a folder or a zip, for calibration, verification and evaluation."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from export.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")


class Preprocessing(Protocol):
    """What turns a photo into a network's input."""

    def load(self, image: Image.Image) -> np.ndarray:
        """Prepare a photo: float32 [height, width, channels]."""


@dataclass(frozen=True)
class ImageSource:
    """A folder or a zip with photos.

    Attributes:
        path: The folder or zip.
        names: Sorted paths of the photos within it, separated by '/'.
    """

    path: Path
    names: tuple[str, ...]

    def open(self, name: str) -> bytes:
        """Return the bytes of the file `name`."""
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)


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


def find_images(source: str | Path) -> ImageSource:
    """List the photos of a folder or a zip, at any depth. Hidden files and folders are left out.

    Raises:
        RequestError: The source does not exist, is neither a folder nor a zip, or holds no photo.
    """
    source = Path(source)
    if not source.exists():
        raise RequestError(f"{source} does not exist. Give a folder or a .zip of photos.")
    if source.is_dir():
        files = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            files = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    else:
        raise RequestError(f"{source} is neither a folder nor a zip. Give a folder or a .zip of photos.")
    names = sorted(name for name in files if name.lower().endswith(SUFFIXES) and not _hidden(name))
    if not names:
        raise RequestError(f"{source} holds no images ({', '.join(SUFFIXES)}) among its {len(files)} files.")
    return ImageSource(source, tuple(names))


def _hidden(name: str) -> bool:
    # macOS puts a resource fork named like the photo beside each one it zips.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def spread(names: Sequence[str], count: int) -> list[str]:
    """Choose `count` names, evenly spaced, or all where there are fewer. The choice is always the same."""
    if count >= len(names):
        return list(names)
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def load_images(source: ImageSource, names: Sequence[str], preprocessing: Preprocessing) -> LoadedImages:
    """Read and prepare photos. A file that cannot be read as an image is skipped and listed with the reason.

    Raises:
        RequestError: None of them could be read.
    """
    import numpy as np
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
    """Return the class of each photo, from its top folder: a class name, a WordNet id, or a class index.

    Args:
        names: Paths of the photos, separated by '/'.
        labels: Class names in the network's order; case, and spaces or underscores, make no difference.
        wnids: WordNet ids ("n01440764") in the network's order.
        classes: How many classes the network knows.

    Raises:
        RequestError: A folder is none of these, or bears a name that two classes share.
    """
    known: dict[str, list[int]] = {}
    for table in (labels or (), wnids or ()):
        for index, label in enumerate(table):
            known.setdefault(_plain(label), []).append(index)
    return [_label(name, known, classes) for name in names]


def _label(name: str, known: dict[str, list[int]], classes: int) -> int:
    folder, separator, _ = name.partition("/")
    if not separator:
        raise RequestError(f"{name!r} lies in no folder. Put each image into a folder named after its class.")
    indices = sorted(set(known.get(_plain(folder), ())))
    if not indices and folder.isdecimal() and folder.isascii():
        indices = [int(folder)]
    if len(indices) > 1:
        raise RequestError(
            f"Folder {folder!r} is the name of classes {' and '.join(map(str, indices))}. "
            "Name it after the index or the WordNet id."
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
