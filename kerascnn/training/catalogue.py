"""Images of tensorflow-datasets, as `--data tfds:cifar10`: the bytes of its files, decoded as any other photo here."""

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
MISSING = "tensorflow-datasets is not installed, which {name} is read with. pip install 'kerascnn[tfds]' tensorflow"


@dataclass(frozen=True)
class Held(Photos):
    """Photos whose files are in memory; each lies in a folder that is named after its class's number."""

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def open(self, name: str) -> bytes:
        return self.files[name]


def is_named(path: Path) -> bool:
    """Whether a path is the name of a data set rather than a path."""
    return str(path).startswith(PREFIX)


def read(path: Path, most: int) -> tuple[dict[str, Held], tuple[str, ...]]:
    """The images of a data set's train part, and of its test (or validation) part, and the names of its classes.

    Args:
        path: such as `tfds:cifar10` or `tfds:mnist:3.0.1`. TFDS_DATA_DIR says where data sets lie.
        most: bytes of a part's files that memory may hold.

    Raises:
        ValueError: there is no such data set, it is too large, or its features are not `image` and `label`.
        OSError: it is not on this machine and could not be fetched.
        ModuleNotFoundError: tensorflow-datasets or TensorFlow is not installed.
    """
    try:
        import tensorflow  # noqa: F401  (its error names another module than the one that is missing)
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ModuleNotFoundError(MISSING.format(name=path)) from error
    builder = _prepared(tfds, path)
    label = _label(tfds, path, builder)
    known = {"train": PARTS["train"], "test": PARTS["test"]}
    splits = {
        part: next((name for name in names if name in builder.info.splits), None) for part, names in known.items()
    }
    if splits["train"] is None:
        raise ValueError(f"{path} has no part named train; its parts are {', '.join(builder.info.splits)}.")
    found: dict[str, Held] = {}
    for part, split in splits.items():
        if split is not None:
            found[part] = _held(tfds, path, builder, split, most)
            most -= sum(map(len, found[part].files.values()))
    return found, tuple(label.names)


def _prepared(tfds: Any, path: Path) -> Any:
    """The data set, fetched where it is not here yet."""
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
    except Exception as error:  # each data set fetches in its own way, and raises its own kinds
        raise OSError(
            f"{path} is not on this machine, and could not be fetched ({reason(error)}). Prepare it where there is a "
            "network connection (tfds build), and name its folder in TFDS_DATA_DIR."
        ) from error
    return builder


def _label(tfds: Any, path: Path, builder: Any) -> Any:
    """The feature that says an image's class."""
    known = builder.info.features
    features = dict(known.items()) if isinstance(known, tfds.features.FeaturesDict) else {}
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f"{path} is no set of images that each have one class: it needs the features image and label, and has "
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
                "folders named after their classes, and give that folder."
            )
        files[f"{int(row['label'])}/{i:08}"] = bytes(row["image"])
    return Held(path, tuple(files), None, files)
