"""Top-1 and top-5 accuracy of artifacts on labeled photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from export.checking.disagreements import disagreements, summary
from kerascnn.statistics import hits, ranks

if TYPE_CHECKING:
    from export.checking.runtimes import Runtime
    from export.job import LabeledPhotos

AT_ONCE = 2  # artifacts that are run at a time; runtimes leave Python alone while they compute


@dataclass(frozen=True)
class Accuracy:
    """Fractions, 0 to 1, of images whose label is the best class or among the five best; and how many images."""

    top1: float
    top5: float
    images: int


@dataclass(frozen=True)
class Scores:
    """What several artifacts reach on the same photos.

    Attributes:
        accuracies: By the name of each.
        skipped: How many photos could not be read.
        disagreements: Photos on which an artifact answers otherwise than the Keras model, as the manifest has them.
        hits: Whether each photo's best class is its label, 0 to 1, by the name of the artifact.
        photos: The names of the photos.
    """

    accuracies: Mapping[str, Accuracy]
    skipped: int
    disagreements: dict[str, Any]
    hits: Mapping[str, Sequence[float]]
    photos: tuple[str, ...]


def evaluate(
    photos: Iterable[LabeledPhotos],
    runtimes: Mapping[str, Runtime],
    step: Callable[[int], None] = lambda done: None,
    known: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Scores | None:
    """Score what a user gets from artifacts: their own output, coarse as an int8 softmax may be.

    Args:
        photos: Labeled photos, some at a time.
        runtimes: The artifacts by name, and the Keras model as "keras".
        step: Told how many photos are done.
        known: What runtimes have answered before: the output by the name of the runtime and that of the photo.

    Returns:
        None where no photo could be read.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in runtimes}
    photo_names: list[str] = []
    skipped = 0
    differing: list[dict[str, Any]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for chunk in photos:
            skipped += chunk.skipped
            step(len(photo_names) + skipped)
            if chunk.labels:
                ask = partial(_answer, chunk)
                scored = pool.map(ask, runtimes.values(), [(known or {}).get(name, {}) for name in runtimes])
                answers = dict(zip(runtimes, scored, strict=True))
                for name, scores in answers.items():
                    found[name].append(_hits(scores, chunk.labels))
                photo_names += chunk.names
                differing += disagreements(chunk.names, chunk.labels, answers)
    if not photo_names:
        return None
    reached = {name: np.concatenate(parts, axis=1) for name, parts in found.items()}
    accuracies = {name: _accuracy(both) for name, both in reached.items()}
    top1 = {name: both[0].tolist() for name, both in reached.items()}
    return Scores(accuracies, skipped, summary(differing), top1, tuple(photo_names))


def _answer(photos: LabeledPhotos, runtime: Runtime, known: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what is known of the photos, and ask for the rest."""
    rest = [place for place, name in enumerate(photos.names) if name not in known]
    if len(rest) == len(photos.names):
        return runtime.predict(photos.images)
    asked = dict(zip(rest, runtime.predict(photos.images[rest]), strict=True)) if rest else {}
    return np.stack([asked[i] if i in asked else known[name] for i, name in enumerate(photos.names)])


def accuracy(scores: np.ndarray, labels: Sequence[int]) -> Accuracy:
    """Return top-1 and top-5 of scores [n, ..., classes]; see `kerascnn.statistics.hits` for equal scores and NaN."""
    return _accuracy(_hits(scores, labels))


def _hits(scores: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Return [2, n]: whether each photo's class is the best one, and whether it is among the best five."""
    above, tied = ranks(np.reshape(scores, (len(labels), -1)), np.asarray(labels))
    return np.stack([hits(above, tied, best) for best in (1, 5)])


def _accuracy(reached: np.ndarray) -> Accuracy:
    top1, top5 = map(float, reached.mean(axis=1))
    return Accuracy(top1, top5, reached.shape[1])
