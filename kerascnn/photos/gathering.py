"""Photos as users have them: paths, folders, zips, bytes, Pillow images, arrays, and lists of any of these."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.photos import files, images
from kerascnn.photos.files import PhotosError

if TYPE_CHECKING:
    from PIL import Image

CHANNELS = (1, 3, 4)  # of an array that is a photo: gray, RGB, RGB with transparency


@dataclass(frozen=True)
class Photo:
    """One photo, which is read when it is asked for.

    Attributes:
        name: Its path, or its place among the others.
        array: The photo, where it came as an array.
        named: Whether it was given by itself, and not found in a folder or a zip.
    """

    name: str
    array: np.ndarray | None = field(default=None, repr=False)
    named: bool = True
    _open: Callable[[], Image.Image] | None = field(default=None, repr=False)

    def open(self) -> Image.Image:
        """Read the photo.

        Raises:
            PhotosError: It cannot be read; the message says why.
        """
        try:
            if self.array is not None:
                return images.from_array(self.array)
            assert self._open is not None
            return self._open()
        except files.unreadable() as error:
            other = self.name.lower().endswith(files.OTHER_SUFFIXES)
            raise PhotosError(files.convert(self.name) if other else files.reason(error)) from error


LeftOut = Callable[[str, str], None]  # told a name and what is wrong


def gather(photos: Any, gray: bool = False, left_out: LeftOut = lambda name, why: None) -> list[Photo]:
    """List the photos that are meant, without reading them.

    Args:
        photos: The path of a photo, of a folder or of a zip; the bytes of a file; a Pillow image; an array (height,
            width), (height, width, channels) or (photos, height, width, channels); or several of any of these.
        gray: Whether three axes without one of channels are gray photos.
        left_out: Told the name of each file of a folder that is a photo of a kind that is not read, and what to do.

    Returns:
        At least one.

    Raises:
        PhotosError: There is none, or a path does not exist.
        TypeError: Something is none of these.
    """
    gathered = [
        photo if photo.name else Photo(f"photo {number}", photo.array, True, photo._open)
        for number, photo in enumerate(_walk(photos, gray, left_out), start=1)
    ]
    if not gathered:
        raise PhotosError("There are no photos: the list is empty.")
    return gathered


def _walk(given: Any, gray: bool, left_out: LeftOut) -> Iterator[Photo]:
    from PIL import Image

    if isinstance(given, str | os.PathLike):
        yield from _of_path(os.fspath(given), left_out)
    elif isinstance(given, bytes | bytearray | memoryview):
        yield Photo("", _open=partial(images.decode, bytes(given)))
    elif isinstance(given, Image.Image):
        yield Photo(getattr(given, "filename", ""), _open=lambda: given)
    elif hasattr(given, "__array__"):
        yield from (Photo("", array=array) for array in split(np.asarray(given), gray))
    elif isinstance(given, Iterable) and not isinstance(given, Mapping):
        for item in given:
            yield from _walk(item, gray, left_out)
    else:
        raise TypeError(
            "Photos are a path, a folder, a zip, the bytes of a file, a Pillow image, an array, or a list of these; "
            f"this is a {type(given).__name__}."
        )


def _of_path(path: str, left_out: LeftOut) -> Iterator[Photo]:
    if "://" in path:
        raise PhotosError(f"{path} is an address; download the photo first, and give its path.")
    place = Path(path)
    if not place.exists():
        raise PhotosError(f"There is no photo or folder {path}.")
    if place.is_dir() or zipfile.is_zipfile(place):
        paths = files.find_photos(place)
        for name in paths.others:
            left_out(f"{path.rstrip('/')}/{name}", files.convert(name))
        for name in paths.names:
            yield Photo(f"{path.rstrip('/')}/{name}", named=False, _open=partial(_decode_one, paths, name))
    else:
        yield Photo(path, _open=lambda: images.decode(place.read_bytes()))


def _decode_one(source: files.PhotoFiles, name: str) -> Image.Image:
    return images.decode(source.open(name))


def split(array: np.ndarray, gray: bool = False) -> Iterable[np.ndarray]:
    """Divide an array into photos, by its shape.

    Raises:
        ValueError: The shape is not that of photos.
    """
    shape = array.shape
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] in CHANNELS):
        return [array]
    if (len(shape) == 4 and shape[-1] in CHANNELS) or (len(shape) == 3 and gray):
        return array
    first = "; the channels come last" if len(shape) > 2 and shape[-3] in CHANNELS else ""
    raise ValueError(
        "An array of photos is (height, width), (height, width, channels) or (photos, height, width, channels), with "
        f"1, 3 or 4 channels{first}. This one is {shape}."
    )
