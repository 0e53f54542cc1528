"""Photos in a folder or a zip: which there are, what their folders say, and why one cannot be read."""

from __future__ import annotations

import difflib
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif")
# Photos too, but not of a kind that is read: they are named where they lie among others.
OTHER_SUFFIXES = (".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw")


class PhotosError(ValueError):
    """There are no photos where they were looked for, or their folders do not say what they show."""


@dataclass(frozen=True)
class PhotoFiles:
    """Photos that are read whenever they are needed.

    Attributes:
        path: A folder or a zip.
        names: Paths within it, separated by '/', in alphabetical order.
        others: Photos of kinds that are not read, such as HEIC.
    """

    path: Path
    names: tuple[str, ...]
    archive: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)
    others: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def name(self) -> str:
        """What reports call the folder or zip: its own name, also where it was given as `.`."""
        return self.path.resolve().name

    def open(self, name: str) -> bytes:
        """Return the bytes of a file; see `unreadable` for what a damaged archive raises."""
        return self.archive.read(name) if self.archive else (self.path / name).read_bytes()

    def crc32(self, name: str) -> int:
        """Return the checksum of a file's bytes, which a zip knows already."""
        return self.archive.getinfo(name).CRC if self.archive else zlib.crc32(self.open(name))


def find_photos(path: Path) -> PhotoFiles:
    """List the photos of a folder or a zip, at any depth. Hidden files and folders are left out.

    Raises:
        PhotosError: The path does not exist, is neither a folder nor a zip, or holds no photo.
    """
    archive = None
    if path.parts[:1] in (("http:",), ("https:",)):
        raise PhotosError(f"{path} is an address; download the photos first, and give the folder or .zip.")
    if not path.exists():
        raise PhotosError(f"{path} does not exist. Give a folder or a .zip of photos.")
    if path.is_dir():
        files = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    elif zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        files = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    else:
        raise PhotosError(f"{path} is neither a folder nor a zip. Give a folder or a .zip of photos.")
    names, others = (
        tuple(sorted(name for name in files if is_photo(name, suffixes))) for suffixes in (SUFFIXES, OTHER_SUFFIXES)
    )
    if not names:
        kinds = f" Of {others[0]}: {convert(others[0])}." if others else ""
        raise PhotosError(f"{path} holds no images ({', '.join(SUFFIXES)}) among its {len(files):,} files.{kinds}")
    return PhotoFiles(path, names, archive, others=others)


def is_photo(name: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Return whether a path within a source names a photo that is not hidden."""
    # macOS puts a resource fork named like the photo beside each one it zips.
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
    return name.lower().endswith(suffixes) and not hidden


def convert(name: str) -> str:
    """Say what to do with a photo of a kind that is not read."""
    return f"{name.rpartition('.')[2].upper()} is not read; save the photo as JPEG or PNG"


@cache
def unreadable() -> tuple[type[Exception], ...]:
    """Return what Pillow raises for damaged files of one kind or another, and zipfile for damaged or encrypted ones."""
    from PIL import Image

    of_python = (OSError, ValueError, SyntaxError, KeyError, EOFError, RuntimeError)
    return (*of_python, struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError)


def reason(error: BaseException) -> str:
    """Say in one line why a photo cannot be read."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def spread(names: Sequence[str], count: int) -> list[str]:
    """Choose `count` names, evenly spaced, or all where there are fewer. The choice is always the same."""
    if count >= len(names):
        return list(names)
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def labels_from_folders(
    names: Sequence[str], labels: Sequence[str] | None, wnids: Sequence[str] | None, classes: int
) -> list[int]:
    """Find the class of each photo by its top folder: a class name, a WordNet id, or a class index.

    Args:
        names: Paths of the photos, separated by '/'.
        labels: Class names in the network's order; case, and spaces or underscores, make no difference.
        wnids: WordNet ids ("n01440764") in the network's order.
        classes: How many classes the network knows.

    Raises:
        PhotosError: A folder is none of these, or has a name that two classes share.
    """
    known = known_classes(labels, wnids)
    return [_class_of_folder(name, known, classes) for name in names]


def _class_of_folder(name: str, known: Mapping[str, list[int]], classes: int) -> int:
    folder, separator, _ = name.partition("/")
    if not separator:
        raise PhotosError(f"{name!r} lies in no folder; put each image into a folder named after its class.")
    return find_class(folder, known, classes, f"Folder {folder!r}")


def known_classes(labels: Sequence[str] | None, wnids: Sequence[str] | None) -> dict[str, list[int]]:
    """Return the classes that each name and WordNet id stands for, in the form that `find_class` takes."""
    known: dict[str, list[int]] = {}
    for table in (labels or (), wnids or ()):
        for index, label in enumerate(table):
            known.setdefault(_plain(label), []).append(index)
    return known


def find_class(text: str, known: Mapping[str, list[int]], classes: int, what: str) -> int:
    """Find the class that a name, a WordNet id or an index stands for.

    Args:
        text: The name, id or index.
        known: The classes of each name and id.
        classes: How many the network knows.
        what: What messages call the text.

    Returns:
        Its index.

    Raises:
        PhotosError: It is none of these, or two classes share the name.
    """
    indices = sorted(set(known.get(_plain(text), ())))
    if not indices and text.isdecimal() and text.isascii():
        indices = [int(text)]
    if len(indices) > 1:
        raise PhotosError(
            f"{what} is the name of classes {' and '.join(map(str, indices))}; name it after the index or the WordNet "
            "id."
        )
    if indices and indices[0] < classes:
        return indices[0]
    near = difflib.get_close_matches(_plain(text), known, n=3)
    hint = f" Nearest names: {', '.join(near)}." if near else ""
    raise PhotosError(f"{what} is no class name, no WordNet id and no class index from 0 to {classes - 1}.{hint}")


def _plain(label: str) -> str:
    return label.strip().casefold().replace(" ", "_")
