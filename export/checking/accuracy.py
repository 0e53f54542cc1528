"""Top-1 and top-5 accuracy of an artifact on labelled photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.checking.runtimes import Runtime
from export.errors import ExportError


@dataclass(frozen=True)
class Accuracy:
    """Fractions 0 to 1 of `images` whose label is the best class, or among the five best."""

    top1: float
    top5: float
    images: int


def evaluate(runtime: Runtime, images: np.ndarray, labels: Sequence[int], batch: int = 64) -> Accuracy:
    """Score what a user gets from the artifact: its own output, coarse as an int8 softmax may be.

    Args:
        images: float32 [n, H, W, C], preprocessed.
        labels: the n class indices.
        batch: how many images are answered at a time, which bounds the memory.

    Raises:
        ExportError: no images, or not one label for each.
    """
    if not len(images) or len(images) != len(labels):
        raise ExportError(f"Accuracy needs one label for each image; got {len(images)} images, {len(labels)} labels.")
    outputs = [runtime.predict(images[start : start + batch]) for start in range(0, len(images), batch)]
    return accuracy(np.concatenate(outputs), labels)


def accuracy(scores: np.ndarray, labels: Sequence[int]) -> Accuracy:
    """Top-1 and top-5 of `scores` [n, ..., classes]. Equal scores count as a coin toss would, on average.

    An int8 softmax gives many classes the same score, and with NaN nothing is found: neither may look like a hit
    because of the order in which a sort leaves ties.
    """
    scores = np.reshape(scores, (len(labels), -1))
    own = scores[np.arange(len(labels)), np.asarray(labels)][:, None]
    better = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1)  # itself included; 0 when it is NaN

    def found(k: int) -> float:
        return float(np.mean(np.where(equal > 0, np.clip((k - better) / np.maximum(equal, 1), 0.0, 1.0), 0.0)))

    return Accuracy(found(1), found(5), len(labels))
