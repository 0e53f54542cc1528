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

    ours, theirs = (_log_softmax(one.logits.reshape(len(labels), -1)) for one in (answers, reference))
    score = accuracy(answers.output, labels)
    return {
        "divergence": round(float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean()), 5),
        "agreement": round(float((theirs.argmax(axis=1) == ours.argmax(axis=1)).mean()), 4),
        "top1": round(score.top1, 4),
        "top5": round(score.top5, 4),
    }


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


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
