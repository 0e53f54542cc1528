"""Set the weights that matter least to zero: at once, or little by little while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from export.compression.networks import by_kernel, kernels, layer_of
from export.errors import RequestError

if TYPE_CHECKING:
    import keras

    from export.compression.sensitivity import Sensitivity

Pattern = Literal["unstructured", "2:4", "block"]
PATTERNS = ("unstructured", "2:4", "block")
GROUP = 4  # neighboring inputs, of which 2:4 keeps two, and which a block keeps or loses together
Sparsity = float | Mapping[str, float]


def prune(
    model: keras.Model,
    sparsity: Sparsity,
    *,
    pattern: Pattern = "unstructured",
    whole: bool = False,
    sensitivities: Mapping[str, Sensitivity] | None = None,
) -> None:
    """Set the smallest weights of convolutions and dense layers to zero.

    Args:
        model: changed in place.
        sparsity: the share of zeros, 0 to less than 1, of every layer, or by layer name. Weights that are zero already
            count towards it.
        pattern: "unstructured"; "2:4": at most two of four neighboring inputs stay (the sparsity is then 0.5, whatever
            is given); "block": four neighboring inputs stay or go together.
        whole: give that sparsity to the whole network rather than to each layer: the weights that matter least go,
            wherever they are.
        sensitivities: by `layer/weight`; they say which weights matter least. Without them these are the smallest.

    Raises:
        RequestError: a sparsity is not in [0, 1), a layer is unknown, or one cannot be divided into fours.
    """
    wanted = check(model, sparsity, pattern)
    variables = kernels(model)
    scores = {}
    for path in wanted:
        kernel = np.asarray(variables[path], np.float32)
        importance = sensitivities[path].importance(kernel.shape) if sensitivities else 1.0
        scores[path] = _scores(np.square(kernel) * importance, pattern)
    if pattern == "2:4":
        keep = {path: _best_two(score) for path, score in scores.items()}
    elif whole:
        flat = np.concatenate([score.ravel() for score in scores.values()])
        share = sum(wanted[path] * score.size for path, score in scores.items()) / flat.size
        kept = np.split(_largest(flat, share), np.cumsum([score.size for score in scores.values()])[:-1])
        keep = {path: part.reshape(scores[path].shape) for path, part in zip(scores, kept, strict=True)}
    else:
        keep = {path: _largest(score, wanted[path]) for path, score in scores.items()}
    for path, mask in keep.items():
        variables[path].assign(np.asarray(variables[path], np.float32) * mask)


def check(model: keras.Model, sparsity: Sparsity, pattern: str = "unstructured") -> dict[str, float]:
    """Return the sparsity of each kernel by `layer/weight`.

    Raises:
        RequestError: as for `prune`.
    """
    if pattern not in PATTERNS:
        raise RequestError(f"There is no pattern {pattern!r}. Choose from {', '.join(PATTERNS)}.")
    variables = kernels(model)
    wanted = by_kernel(model, sparsity)
    for path, share in wanted.items():
        name, inputs = layer_of(path), variables[path].shape[-2]
        if not 0 <= share < 1:
            raise RequestError(f"{name}: a sparsity is 0 to less than 1, the share of zeros; it is {share}.")
        if pattern != "unstructured" and inputs % GROUP:
            raise RequestError(
                f"{name} has {inputs} inputs, which {pattern} cannot divide into groups of {GROUP}. Name the layers "
                "to prune: sparsity={'layer': 0.5, ...}."
            )
    return wanted


def _scores(power: np.ndarray, pattern: str) -> np.ndarray:
    """Return what the loss of each weight costs; for blocks, what the loss of its block costs."""
    if pattern != "block":
        return power
    grouped = _grouped(power)
    return np.broadcast_to(grouped.mean(axis=-2, keepdims=True), grouped.shape).reshape(power.shape)


def _grouped(power: np.ndarray) -> np.ndarray:
    return power.reshape(*power.shape[:-2], -1, GROUP, power.shape[-1])


def _best_two(power: np.ndarray) -> np.ndarray:
    rank = np.argsort(np.argsort(-_grouped(power), axis=-2, kind="stable"), axis=-2, kind="stable")
    return (rank < 2).reshape(power.shape)


def _largest(scores: np.ndarray, sparsity: float) -> np.ndarray:
    """Mark the largest scores, all but the share `sparsity`; equal ones stay or go together."""
    dropped = round(sparsity * scores.size)
    if not dropped:
        return np.ones(scores.shape, bool)
    return scores > np.partition(scores.ravel(), dropped - 1)[dropped - 1]


def gradually(sparsity: float, begin: int, end: int, step: int) -> float:
    """Return the sparsity at `step` of a schedule that rises from 0 at `begin` to `sparsity` at `end`, fast at first.

    It is a third power (Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878).
    """
    done = min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)
    return sparsity * (1 - (1 - done) ** 3)
