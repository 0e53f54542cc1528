"""Parts of the real data sets with as many images of each class, for benchmarks that have no hours for the whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def data(name: str) -> Path:
    """A file of KERASCNN_DATA."""
    return Path(os.environ.get("KERASCNN_DATA", "../shared/data")) / name


def balanced(labels: Sequence[Any] | np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` images, the first ones of each class, in their own order.

    Raises:
        ValueError: the classes cannot give as many each.
    """
    found, numbers = np.unique(np.asarray(labels), return_inverse=True)
    each, rest = divmod(count, len(found))
    places = [np.flatnonzero(numbers == number) for number in range(len(found))]
    if rest or not each or each > min(map(len, places)):
        raise ValueError(
            f"{count:,} images cannot be the same number of each of {len(found)} classes; they have "
            f"{min(map(len, places)):,} images at least: give a multiple of {len(found)} up to "
            f"{len(found) * min(map(len, places)):,}."
        )
    return np.sort(np.concatenate([place[:each] for place in places]))


def zip_subset(source: Path, count: int, folder: Path) -> Path:
    """A zip of `count` photos of `source`, which has a folder a class; made in `folder` where it does not exist yet."""
    from kerascnn.training.photos import Photos

    photos = Photos.find(source)
    chosen = [photos.names[i] for i in balanced(photos.folders, count)]
    path = folder / f"{source.stem}_{count}.zip"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with zipfile.ZipFile(partial, "w") as archive:
            for name in chosen:
                archive.writestr(name, photos.open(name))
        os.replace(partial, path)
    return path
