"""Tables that come with the package: the names of ImageNet's and CIFAR-10's classes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

logger = logging.getLogger("kerascnn")

# in the order of the data set's own labels
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, English name) of the 1,000 ILSVRC-2012 classes, in the order of the networks' outputs."""
    text = resources.files(__name__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple((line.split()[0], line.split()[1]) for line in text.splitlines())


@cache
def devkit_classes() -> tuple[int, ...]:
    """The class of each of the numbers 1 to 1,000 that ILSVRC-2012's development kit gives the classes.

    Its lists of labels have these numbers (ILSVRC2012_ID of its meta.mat), which are in another order than the WordNet
    ids and the networks' outputs.
    """
    text = resources.files(__name__).joinpath("imagenet_devkit.txt").read_text(encoding="utf-8")
    return tuple(map(int, text.split()))


def wordnet_ids(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the WordNet ids of class names where these are ImageNet's; None where they are others."""
    wnids, names = zip(*imagenet_classes(), strict=True)
    return wnids if labels is not None and tuple(labels) == names else None


def class_names(labels: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names that a weights record's `labels` stand for.

    Args:
        labels: "imagenet", "cifar10", or the names themselves.

    Returns:
        None where the labels are none of these.
    """
    if isinstance(labels, tuple):
        return labels
    if labels == "cifar10":
        return CIFAR10_CLASSES
    return tuple(name for _, name in imagenet_classes()) if labels == "imagenet" else None


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names, one a line, in the order of a model's outputs; names that occur twice are told to the log.

    Raises:
        ValueError: The file does not exist, or is not UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a byte-order mark in front
    except OSError as error:
        raise ValueError(f"The labels file {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"The labels file {path} is not UTF-8 text; it has one class name a line.") from error
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    shared = [f"{label!r} ({count} times)" for label, count in Counter(labels).items() if count > 1]
    if shared:
        logger.warning("%s: classes share a name: %s%s.", path, ", ".join(shared[:3]), " and more" * (len(shared) > 3))
    return labels
