"""Data sets of tensorflow-datasets, as in `--data tfds:cifar10`. Their files are decoded as all photos are here."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerascnn.photos.files import reason
from kerascnn.training.photos import PARTS, Photos

PREFIX = "tfds:"
MISSING = "{name} needs tensorflow-datasets and TensorFlow: pip install 'kerascnn[tfds]' tensorflow"


@dataclass(frozen=True)
class Held(Photos):
    """Photos whose files are in memory, each in a folder named after its class's number."""

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def open(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return self.files[name]


def is_named(path: Path) -> bool:
    """Whether a path is the name of a data set rather than a path."""
    return str(path).startswith(PREFIX)


def read(path: Path, most: int) -> tuple[dict[str, Held], tuple[str, ...]]:
    """Read the images of a data set.

    Args:
        path: Such as `tfds:cifar10` or `tfds:mnist:3.0.1`. TFDS_DATA_DIR is the folder of all data sets.
        most: Bytes of files that memory may hold.

    Returns:
        The files of its parts `train` and, if there is one, `test` (or validation); and the names of its classes.

    Raises:
        ValueError: There is no such data set, it is too large, or its features are not `image` and `label`.
        OSError: It is not on this machine and could not be fetched.
        ModuleNotFoundError: tensorflow-datasets or TensorFlow is not installed.
    """
    try:
        import tensorflow  # noqa: F401  (without it, tensorflow_datasets raises an error about another module)
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ModuleNotFoundError(MISSING.format(name=path)) from error
    builder = _prepared(tfds, path)
    label = _label(tfds, path, builder)
    parts: dict[str, Held] = {}
    for part, names in PARTS.items():
        split = next((name for name in names if name in builder.info.splits), None)
        if split is not None:
            parts[part] = _held(tfds, path, builder, split, most)
            most -= sum(map(len, parts[part].files.values()))
        elif part == "train":
            raise ValueError(f"{path} has no part named train; its parts are {', '.join(builder.info.splits)}.")
    return parts, tuple(label.names)


def _prepared(tfds: Any, path: Path) -> Any:
    """Open the data set, and fetch it if it is not on this machine."""
    name = str(path).removeprefix(PREFIX)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except (ValueError, AssertionError, KeyError) as error:  # of names, of versions, of configurations
        near = difflib.get_close_matches(name.partition(":")[0].partition("/")[0], tfds.list_builders(), n=3)
        hint = f" The nearest names are: {', '.join(near)}." if near else ""
        raise ValueError(f"tensorflow-datasets has no {name} ({reason(error)}).{hint}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # each data set fetches in its own way and raises its own errors
        raise OSError(
            f"{path} is not on this machine and could not be fetched ({reason(error)}). Prepare it where there is a "
            "network connection (tfds build), and set TFDS_DATA_DIR to its folder."
        ) from error
    return builder


def _label(tfds: Any, path: Path, builder: Any) -> Any:
    """Find the feature that is an image's class."""
    features = builder.info.features
    features = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"{path} does not have one class for each image: it needs the features image and label, and has "
            f"{', '.join(features) or 'others'}."
        )
    return label


def _held(tfds: Any, path: Path, builder: Any, split: str, most: int) -> Held:
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True}, decoders={"image": tfds.decode.SkipDecoding()})
    files: dict[str, bytes] = {}
    size = 0
    for i, row in enumerate(tfds.as_numpy(builder.as_dataset(split=split, decoders=wanted, shuffle_files=False))):
        size += len(row["image"])
        if size > most:
            raise ValueError(
                f"The files of {path}, {split}, need more than {most / 2**30:.1f} GiB of memory. Write them to "
                "folders named after their classes, and give the folder of these."
            )
        files[f"{int(row['label'])}/{i:08}"] = bytes(row["image"])
    return Held(path, tuple(files), None, files)
