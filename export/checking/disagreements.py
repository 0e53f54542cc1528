"""Photos on which an artifact's best class is not the Keras model's, kept while they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHOWN = 12
_BEST = 5


def disagreements(
    names: Sequence[str], labels: Sequence[int], scores: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Find the photos of one chunk on which an artifact answers otherwise than the Keras model.

    An artifact that gives several classes its highest score, as int8 does, agrees if Keras's best class is among them.

    Args:
        names: The names of the n photos.
        labels: The labels of the n photos.
        scores: The scores of "keras" and of each artifact by its path, [n, ..., classes].
    """
    flat = {name: np.reshape(answers, (len(names), -1)) for name, answers in scores.items()}
    rows = np.arange(len(names))
    best = flat["keras"].argmax(axis=1)
    agrees = {name: answers[rows, best] >= answers.max(axis=1) for name, answers in flat.items()}  # not with NaN
    return [
        {
            "photo": names[i],
            "label": int(labels[i]),
            "disagree": [name for name in flat if not agrees[name][i]],
            "answers": {name: _best(answers[i]) for name, answers in flat.items()},
        }
        for i in range(len(names))
        if not all(answer[i] for answer in agrees.values())
    ]


def _best(scores: np.ndarray) -> list[list[Any]]:
    """Return the five highest as [class, score]; the score is None where it is not finite."""
    order = np.argsort(-scores, kind="stable")[:_BEST]
    return [[int(i), round(float(scores[i]), 6) if np.isfinite(scores[i]) else None] for i in order]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count the photos, and keep those on which most artifacts disagree."""
    order = sorted(rows, key=lambda row: (-len(row["disagree"]), row["photo"]))
    return {"photos": len(rows), "shown": order[:SHOWN]}
