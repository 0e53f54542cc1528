"""How sure accuracies and their differences are, how far answers diverge, and how far confidences can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # of a 95 % interval
BINS = 15  # of the calibration error, as in Guo et al. 2017


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent trials (Wilson, 1927)."""
    center = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return center - half, center + half


def with_interval(share: float, count: int, digits: int = 1) -> str:
    """Write a share of `count` independent trials with its 95 % interval, such as `71.6 % (65.7 to 76.8)`."""
    low, high = (f"{100 * end:.{digits}f}" for end in wilson(share, count))
    return f"{100 * share:.{digits}f} % ({low} to {high})"


def ranks(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where the right class stands among the scores of each of n photos.

    Args:
        scores: [n, classes].
        labels: [n].

    Returns:
        How many classes have a higher score, and how many have the same one, itself included: 0 where it is NaN.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    return (scores > own).sum(axis=1), (scores == own).sum(axis=1)


def hits(above: np.ndarray, tied: np.ndarray, best: int) -> np.ndarray:
    """Tell of each photo whether its class is among the `best` ones: 1, 0, or in between where scores are equal.

    An int8 softmax gives many classes the same score, and a NaN is never among the best: neither may look like a hit
    because of the order in which a sort leaves ties. Such a photo counts as a coin toss would, on average.
    """
    return np.where(tied > 0, np.clip((best - above) / np.maximum(tied, 1), 0.0, 1.0), 0.0)


@dataclass(frozen=True)
class Difference:
    """Which of two answered the same photos better, and how sure that is.

    Attributes:
        difference: Of the second's share of hits to the first's.
        low: The lower end of its 95 % interval.
        high: The upper end.
        better: Photos that the second got and the first did not.
        worse: Photos that the first got and the second did not.
        p: How likely these photos fall at least so unevenly where neither is better: McNemar's exact test.
    """

    difference: float
    low: float
    high: float
    better: int
    worse: int
    p: float


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare the hits of a first and a second on the same photos.

    The interval is Wald's after half a photo more in each of the four cells (Agresti and Min, 2005, Statistics in
    Medicine 24, 729-740). A photo that counts in part is better where it counts for more.
    """
    gains = second - first
    count, total = len(gains) + 2, float(gains.sum())
    spread = math.sqrt(max(0.0, float((gains**2).sum()) + 1 - total**2 / count)) / count
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    middle = total / count
    return Difference(
        total / len(gains), middle - Z * spread, middle + Z * spread, better, worse, sign_test(better, worse)
    )


def sign_test(one: int, other: int) -> float:
    """Return how likely a fair coin falls at least so unevenly: the p of the exact binomial test, two-sided."""
    count, least = one + other, min(one, other)
    if one == other:
        return 1.0
    ways = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(least + 1)]
    return min(1.0, 2 * math.fsum(math.exp(way - count * math.log(2)) for way in ways))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms [n, classes] of what a softmax makes of logits [n, ..., classes], in float64."""
    rows = np.reshape(logits, (len(logits), -1)).astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    return np.asarray(rows - np.log(np.exp(rows).sum(axis=1, keepdims=True)))


def compare(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Compare the log-probabilities [n, classes] of two networks.

    Returns:
        The mean divergence of the second from the first in nats a photo, and the share of photos with the same best
        class.
    """
    divergence = (np.exp(before) * (before - after)).sum(axis=-1).mean()
    return float(divergence), float((before.argmax(axis=-1) == after.argmax(axis=-1)).mean())


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in one range.

    Attributes:
        high: The upper end of the range.
        photos: How many they are.
        confidence: Their mean confidence.
        accuracy: Their share of hits.
    """

    high: float
    photos: int
    confidence: float
    accuracy: float


def calibration(confidence: np.ndarray, hit: np.ndarray) -> tuple[float, list[Bin]]:
    """Compare the confidence in the best class with how often it is right (Guo et al. 2017, arXiv:1706.04599).

    Args:
        confidence: The probability of the best class of each photo.
        hit: Whether it was right.

    Returns:
        The expected calibration error over `BINS` ranges of equal width, and the ranges that hold photos.
    """
    places = np.clip(np.ceil(confidence * BINS).astype(int), 1, BINS)
    bins = [
        Bin(place / BINS, int(inside.sum()), float(confidence[inside].mean()), float(hit[inside].mean()))
        for place in range(1, BINS + 1)
        if (inside := places == place).any()
    ]
    total = sum(row.photos for row in bins)
    return sum(row.photos * abs(row.confidence - row.accuracy) for row in bins) / max(1, total), bins
