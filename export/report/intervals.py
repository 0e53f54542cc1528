"""How sure an accuracy is, and how photos count on which classes are tied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerascnn.statistics import wilson


def interval(accuracy: Mapping[str, Any]) -> str:
    """Write the interval of a top-1 accuracy, such as `65.7 to 76.8 %`."""
    low, high = wilson(accuracy["top1"], accuracy["images"])
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def has_ties(accuracy: Mapping[str, Any]) -> bool:
    """Tell whether photos count in part: the hits are then no whole number."""
    hits = (accuracy[key] * accuracy["images"] for key in ("top1", "top5"))
    return any(abs(number - round(number)) > 1e-6 for number in hits)


def notes(keras: Mapping[str, Any], tied: Sequence[str]) -> list[str]:
    """Explain intervals, and ties where there are any.

    Args:
        keras: The accuracy of the Keras model.
        tied: The artifacts with photos on which classes are tied.
    """
    lines = [
        f"Intervals: on all photos of this kind, the top-1 of the Keras model is {interval(keras)}, with 95 % "
        f"confidence (Wilson); {keras['images']} photos tell no more. All artifacts answered the same photos, so they "
        "differ from one another by less. The column of the same best class compares them photo by photo."
    ]
    if tied:
        give = "give" if len(tied) > 1 else "gives"
        lines.append(
            f"Ties: on some photos {' and '.join(tied)} {give} several classes the same score: int8 scores move "
            "in steps. Such a photo counts by the chance that its own class is drawn among these, so that the accuracy "
            "may be one that no number of photos gives."
        )
    return lines
