"""Tables that come with the package: the names of ImageNet's and CIFAR-10's classes."""

from __future__ import annotations

from functools import cache
from importlib import resources

# in the order of the data set's own labels
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, English name) of the 1,000 ILSVRC-2012 classes, in the order of the networks' outputs."""
    text = resources.files(__name__).joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple((line.split()[0], line.split()[1]) for line in text.splitlines())


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
