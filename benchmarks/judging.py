"""What the benchmarks of compression share: how answers are judged, and tables that a second run goes on with."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def judged(answers: Any, reference: Any, labels: np.ndarray) -> dict[str, float]:
    """Divergence in nats from the reference's probabilities, share of equal best classes, top-1 and top-5.

    Args:
        answers, reference: `export.checking.runtimes.Prediction`s of the same n photos.
        labels: [n].
    """
    from export.checking.accuracy import accuracy
    from kerascnn.statistics import compare, log_probabilities

    ours, theirs = (log_probabilities(one.logits) for one in (answers, reference))
    divergence, agreement = compare(theirs, ours)
    score = accuracy(answers.output, labels)
    return {
        "divergence": round(divergence, 5),
        "agreement": round(agreement, 4),
        "top1": round(score.top1, 4),
        "top5": round(score.top5, 4),
    }


def read(table: Path | None) -> list[dict[str, str]]:
    """The rows of a CSV file; none where it does not exist."""
    if table is None or not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(table: Path | None, fields: Sequence[str], rows: list[dict[str, str]]) -> None:
    """All rows, so far."""
    if table is None:
        return
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
