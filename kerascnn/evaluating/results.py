"""What evaluated models reached: accuracies with intervals, differences on the same photos, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kerascnn.evaluating.answers import Answers
from kerascnn.evaluating.photos import LabeledPhotos
from kerascnn.evaluating.subjects import Subject
from kerascnn.photos.files import convert
from kerascnn.registry import PublishedError
from kerascnn.statistics import BINS, Bin, Difference, calibration, paired, wilson


@dataclass(frozen=True)
class Share:
    """A share of photos, 0 to 1, with its 95 % interval (Wilson)."""

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: np.ndarray) -> Share:
        """Make one from what each photo counts, 0 to 1."""
        share = float(hits.mean())
        return cls(share, *wilson(share, len(hits)))


@dataclass(frozen=True)
class Published:
    """What was published of a network or its weights, and how much more or less was measured.

    Attributes:
        top1: The published share of hits.
        top5: Of the five best; None where that was not published.
        source: Who published it.
        difference: Of the measured top-1 to it, with its 95 % interval. The photos may be others.
    """

    top1: float
    top5: float | None
    source: str
    difference: Share

    @classmethod
    def of(cls, error: PublishedError, measured: Share) -> Published:
        """Make one from published errors, in percent."""
        top1 = round(1 - error.top1 / 100, 6)
        top5 = None if error.top5 is None else round(1 - error.top5 / 100, 6)
        less = (measured.share - top1, measured.low - top1, measured.high - top1)
        return cls(top1, top5, error.source, Share(*less))


@dataclass(frozen=True)
class Reached:
    """What one model reached.

    Attributes:
        name: What tables call it.
        bytes: The size of its file or folder, or of the weights of a variant.
        photos: How many it answered.
        top1: How often its best class was right.
        top5: How often the right class was among its five best.
        calibration_error: The expected calibration error over `kerascnn.statistics.BINS` ranges of its confidence.
        ranges: These ranges.
        not_finite: Photos whose best answer was not a number; they count as wrong.
        difference: To the first of the models; None for itself.
        published: What was published; None where nothing is known.
    """

    name: str
    bytes: int
    photos: int
    top1: Share
    top5: Share
    calibration_error: float
    ranges: list[Bin]
    not_finite: int
    difference: Difference | None
    published: Published | None


@dataclass(frozen=True)
class Pair:
    """Two models on the same photos."""

    first: str
    second: str
    top1: Difference
    top5: Difference


@dataclass(frozen=True)
class Evaluation:
    """What models reached on the same photos.

    Attributes:
        data: The name of the folder or zip.
        photos: How many photos it has, of kinds that are read.
        classes: How many classes the models tell apart.
        shown: How many of these the photos are of.
        left_out: The photos that could not be read, and why.
        reached: What each model reached.
        pairs: Every two of them.
    """

    data: str
    photos: int
    classes: int
    shown: int
    left_out: dict[str, str]
    reached: list[Reached]
    pairs: list[Pair]

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {**asdict(self), "ranges_of_calibration": BINS}

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat row for each model, for CSV."""
        return [_row(one) for one in self.reached]


def summarize(
    subjects: Sequence[Subject], answers: Sequence[Answers], photos: LabeledPhotos, classes: int
) -> Evaluation:
    """Summarize answers.

    Args:
        subjects: The models.
        answers: The answers of each.
        photos: The photos.
        classes: How many classes the models tell apart.

    Returns:
        What they reached on the photos that all of them could read.

    Raises:
        ValueError: None of the photos could be read.
    """
    read = np.logical_and.reduce([one.answered for one in answers])
    if not read.any():
        raise ValueError(f"None of the {len(photos.names):,} photos in {photos.files.path} can be read.")
    hits = [{best: one.hits(best)[read] for best in (1, 5)} for one in answers]
    left_out = {name: convert(name) for name in photos.files.others}
    left_out |= {name: why for one in answers for name, why in one.errors.items()}
    pairs = [
        Pair(subjects[i].name, subjects[j].name, *(paired(hits[i][best], hits[j][best]) for best in (1, 5)))
        for i, j in combinations(range(len(subjects)), 2)
    ]
    differences = [None, *(pair.top1 for pair in pairs[: len(subjects) - 1])]
    reached = [
        _reached(subject, one.confidence[read], own, difference)
        for subject, one, own, difference in zip(subjects, answers, hits, differences, strict=True)
    ]
    shown = len(set(photos.labels))
    return Evaluation(photos.files.name, len(photos.names), classes, shown, left_out, reached, pairs)


def _reached(
    subject: Subject, confidence: np.ndarray, hits: dict[int, np.ndarray], to_first: Difference | None
) -> Reached:
    top1, top5 = (Share.of(hits[best]) for best in (1, 5))
    finite = np.isfinite(confidence)
    error, ranges = calibration(confidence[finite], hits[1][finite])
    published = subject.classifier.published
    return Reached(
        name=subject.name,
        bytes=subject.bytes,
        photos=len(confidence),
        top1=top1,
        top5=top5,
        calibration_error=error,
        ranges=ranges,
        not_finite=int((~finite).sum()),
        difference=to_first,
        published=None if published is None else Published.of(published, top1),
    )


def _row(one: Reached) -> dict[str, Any]:
    row: dict[str, Any] = {"model": one.name, "bytes": one.bytes, "photos": one.photos}
    for name, share in (("top1", one.top1), ("top5", one.top5)):
        row |= {name: share.share, f"{name}_low": share.low, f"{name}_high": share.high}
    row |= {"calibration_error": one.calibration_error, "not_finite": one.not_finite}
    of_difference = asdict(one.difference) if one.difference else dict.fromkeys(Difference.__dataclass_fields__)
    row |= {name if name == "difference" else f"difference_{name}": value for name, value in of_difference.items()}
    published = one.published
    return row | {
        "published_top1": published.top1 if published else None,
        "published_top5": published.top5 if published else None,
        "published_by": published.source if published else None,
    }
