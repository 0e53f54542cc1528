"""The images to train on and to validate with: an `.npz`, photos in a folder or a zip, or a data set by name."""

from __future__ import annotations

import math
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kerascnn.photos import files
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training import catalogue, photos
from kerascnn.training.photos import Photos
from kerascnn.training.recipes import Augmentation

IN_MEMORY = 2 << 30  # bytes of pixels
SHOWN = 6  # names that an error lists


@dataclass(frozen=True)
class HoldOut:
    """Which images are kept for validation, where no other images are given.

    Attributes:
        every: One of so many images of a class.
        least: Of a class with fewer images none is kept, and of one with as many at least one.
    """

    every: int = 10
    least: int = 10


@dataclass(frozen=True)
class Images:
    """Labeled images of one size.

    Attributes:
        labels: int32, shape (n,).
        classes: Names of the classes, in the order of the labels.
        pixels: uint8, shape (n, height, width, channels).
        names: The name of each image's file; empty where they are not from files.
        skipped: (name, reason) of files that were left out because they are not readable images.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    pixels: np.ndarray
    skipped: list[tuple[str, str]] = field(default_factory=list)
    names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: np.ndarray, random: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the chosen images and their labels."""
        return self.pixels[chosen], self.labels[chosen]

    def part(self, chosen: np.ndarray) -> Images:
        """Return the chosen images alone."""
        names = tuple(self.names[i] for i in chosen) if self.names else ()
        return replace(self, labels=self.labels[chosen], pixels=self.pixels[chosen], names=names)


@dataclass(frozen=True)
class LazyImages:
    """Like `Images`, but read when needed, because memory does not hold them or a recipe cuts them anew each time.

    A file that turns out to be damaged is replaced by the next one.

    Attributes:
        photos: The files.
        names: The name of each label's file.
        size: How large the network wants them.
        augmentation: What is cut from them; None for nothing.
        broken: Numbers of the files that turned out to be damaged.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    photos: Photos = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    size: Preprocessing
    augmentation: Augmentation | None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: np.ndarray, random: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the chosen images and their labels; `random` draws what the recipe cuts, None takes the middle."""
        pairs = [self._read(int(i), random) for i in chosen]
        return np.stack([pixels for pixels, _ in pairs]), np.array([label for _, label in pairs], np.int32)

    def part(self, chosen: np.ndarray) -> LazyImages:
        """Return the chosen images alone."""
        return replace(self, labels=self.labels[chosen], names=tuple(self.names[i] for i in chosen), broken=set())

    def _read(self, index: int, random: np.random.Generator | None) -> tuple[np.ndarray, int]:
        for i in range(index, index + len(self)):
            place = i % len(self)
            if place in self.broken:
                continue
            name = self.names[place]
            try:
                if random is not None and self.augmentation is not None:
                    return self.photos.cut(name, self.size, self.augmentation, random), int(self.labels[place])
                return self.photos.read(name, self.size), int(self.labels[place])
            except files.unreadable() as error:
                with self.lock:
                    if place not in self.broken:
                        self.broken.add(place)
                        self.skipped.append((name, files.reason(error)))
        raise RuntimeError(f"None of the {len(self):,} images in {self.photos.path} can be read any more.")


AnyImages = Images | LazyImages


def open_data(
    path: Path,
    validation: Path | None,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    kept: HoldOut = HoldOut(),
) -> tuple[AnyImages, AnyImages]:
    """Open the images to train on and those to validate with.

    Args:
        path: An `.npz` with x_train, y_train and x_test, y_test; or a folder or zip of photos, each in a folder named
            after its class, which may be in folders named train and test (or val); or `tfds:NAME`.
        validation: More photos, or another `.npz`. By default the test part, or some images of each class.
        preprocessing: How the network wants images; only their size is changed here.
        augmentation: The augmentation of the recipe; what it cuts from photos is cut here.
        kept: Which images of each class are kept for validation.

    Returns:
        The images to train on, and those to validate with.

    Raises:
        ValueError: There is nothing to train on; the message says what there is.
        OSError: A data set of tensorflow-datasets could not be fetched.
    """
    size = preprocessing.without_normalization
    for given in (path, validation):
        if given is not None and not given.exists() and not (given is path and catalogue.is_named(given)):
            raise ValueError(f"There is no {given}. Give a folder or a zip of photos, or an .npz.")
    cuts = augmentation if augmentation.resize or augmentation.crop_area else None
    if catalogue.is_named(path):
        held, names = catalogue.read(path, IN_MEMORY)
        numbers = tuple(map(str, range(len(names))))
        named = {
            part: replace(_load(files, size, cuts if part == "train" else None, numbers), classes=names)
            for part, files in held.items()
        }
        return _with_validation(_checked(path, named["train"]), named.get("test"), validation, size, kept)
    if path.suffix == ".npz":
        train = _checked(path, _read_npz(path, "train", size))
        return train, _same_classes(_read_npz(validation or path, "test", size), train, validation or path)
    everything = Photos.find(path)
    parts = everything.parts()
    train = _checked(path, _load(parts.get("train", everything), size, cuts, None))
    own = _load(parts["test"], size, None, train.classes) if "test" in parts and validation is None else None
    return _with_validation(train, own, validation, size, kept)


def _with_validation(
    train: AnyImages, own: AnyImages | None, validation: Path | None, size: Preprocessing, kept: HoldOut
) -> tuple[AnyImages, AnyImages]:
    """Add the images to validate with: those that were asked for, the data's own, or a part of `train`."""
    if validation is not None:
        other = Photos.find(validation)
        return train, _load(other.parts().get("test", other), size, None, train.classes)
    return (train, own) if own is not None else _hold_out(train, kept)


def _load(source: Photos, size: Preprocessing, cuts: Augmentation | None, classes: tuple[str, ...] | None) -> AnyImages:
    classes = classes or tuple(sorted(set(source.folders), key=_order))
    strange = sorted(set(source.folders) - set(classes))
    if strange:
        raise ValueError(
            f"{source.path} has images of {strange[0]!r}, which is not a class of the training set: {_some(classes)}."
        )
    skipped = [(name, files.convert(name)) for name in source.others]
    numbers = dict(zip(source.names, (classes.index(folder) for folder in source.folders), strict=True))
    if cuts is None and len(numbers) * math.prod(photos.sides(size)) * 3 <= IN_MEMORY:
        pixels, kept = {}, []
        for name, label in numbers.items():
            try:
                pixels[name] = source.read(name, size)
                kept.append(label)
            except files.unreadable() as error:
                skipped.append((name, files.reason(error)))
        if pixels:
            return Images(np.array(kept, np.int32), classes, np.stack(list(pixels.values())), skipped, tuple(pixels))
    else:
        names, damaged = photos.check(source, source.names)
        skipped += damaged
        if names:
            labels = np.array([numbers[name] for name in names], np.int32)
            return LazyImages(labels, classes, source, tuple(names), size, cuts, skipped)
    raise ValueError(f"None of the {len(numbers):,} images in {source.path} can be read; the first: {skipped[0][1]}")


def _order(folder: str) -> tuple[int, str]:
    """Sort folders that are numbers by the numbers, and others by name."""
    return (int(folder), "") if folder.isascii() and folder.isdecimal() else (-1, folder)


def _hold_out(images: AnyImages, kept: HoldOut) -> tuple[AnyImages, AnyImages]:
    held = np.zeros(len(images), bool)
    largest = 0
    for label in range(len(images.classes)):
        own = np.flatnonzero(images.labels == label)
        largest = max(largest, len(own))
        if len(own) >= kept.least:
            held[own[kept.every - 1 :: kept.every] if len(own) >= kept.every else own[-1:]] = True
    if not held.any():
        raise ValueError(
            f"No class has {kept.least} images, of which one could be kept for validation; the largest has {largest}. "
            "Give --validation DIR|ZIP."
        )
    # Skipped files belong to the training set, so that they count once.
    return images.part(np.flatnonzero(~held)), replace(images.part(np.flatnonzero(held)), skipped=[])


def _checked(path: Path, images: AnyImages) -> AnyImages:
    if len(images.classes) < 2:
        raise ValueError(
            f"{path} holds images of one class alone ({images.classes[0]}), so there is nothing to tell apart. "
            "Put the images of each class into a folder named after it."
        )
    return images


def _read_npz(path: Path, part: str, size: Preprocessing) -> Images:
    from PIL import Image

    wanted = (f"x_{part}", f"y_{part}")
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            held = list(file)
            arrays = [file[name] for name in wanted if name in held]
    except (ValueError, TypeError):  # NumPy's own message advises to load pickles
        raise ValueError(f"{path} is not a readable .npz: it does not hold plain arrays.") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable .npz: {files.reason(error)}") from None
    if len(arrays) < len(wanted):
        raise ValueError(
            f"{path} lacks {' and '.join(name for name in wanted if name not in held)}. It needs x_train, y_train, "
            f"x_test and y_test, and holds {_some(held) or 'nothing'}."
        )
    images, labels = arrays[0], arrays[1].ravel()
    gray = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 1)
    if images.dtype != np.uint8 or not (gray or (images.ndim == 4 and images.shape[-1] == 3)):
        raise ValueError(
            f"x_{part} of {path} must be uint8 images of shape (n, height, width), (..., 1) or (..., 3); it is "
            f"{images.dtype} of shape {images.shape}."
        )
    if len(images) != len(labels):
        raise ValueError(f"{path} has {len(images):,} images in x_{part}, but {len(labels):,} labels in y_{part}.")
    if not len(labels):
        raise ValueError(f"{path} has no images in x_{part}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"The labels y_{part} of {path} are {labels.dtype}; they must be whole numbers, from 0 on for the classes."
        )
    classes = np.unique(labels)
    if classes[0] < 0 or (part == "train" and classes[-1] >= len(classes)):
        raise ValueError(
            f"The labels y_{part} of {path} are out of range: there are {len(classes)} different ones, from "
            f"{classes[0]} to {classes[-1]}. Number the classes from 0 to {len(classes) - 1}."
        )
    if gray:
        images = images.reshape(images.shape[:3])
    pixels = np.stack([size.load(Image.fromarray(image)).astype(np.uint8) for image in images])
    return Images(labels.astype(np.int32), tuple(map(str, range(int(classes[-1]) + 1))), pixels)


def _same_classes(test: Images, train: AnyImages, path: Path) -> Images:
    if len(test.classes) > len(train.classes):
        raise ValueError(
            f"The labels y_test of {path} go up to {len(test.classes) - 1}; those of the training set to "
            f"{len(train.classes) - 1}."
        )
    return replace(test, classes=train.classes)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
