"""Set the weights that matter least to zero: at once, or little by little while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from export.compression.networks import kernels
from export.errors import RequestError

if TYPE_CHECKING:
    import keras

    from export.compression.sensitivity import Sensitivity

Pattern = Literal["unstructured", "2:4", "block"]
PATTERNS = ("unstructured", "2:4", "block")
GROUP = 4  # neighbouring inputs, of which 2:4 keeps two, and which a block keeps or loses together
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
            are the first to be counted.
        pattern: "unstructured"; "2:4": at most two of four neighbouring inputs stay (the sparsity is 0.5, whatever is
            said); "block": four neighbouring inputs stay or go together.
        whole: give that sparsity to the whole network rather than to each layer, taking the weights that matter least
            wherever they are.
        sensitivities: by `layer/weight`: what matters least is then measured; otherwise it is what is smallest.

    Raises:
        RequestError: a sparsity is not in [0, 1), a layer is unknown, or one cannot be divided into fours.
    """
    wanted = check(model, sparsity, pattern)
    scores = {}
    for path in wanted:
        kernel = np.asarray(kernels(model)[path], np.float32)
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
        variable = kernels(model)[path]
        variable.assign(np.asarray(variable, np.float32) * mask)


def check(model: keras.Model, sparsity: Sparsity, pattern: str = "unstructured") -> dict[str, float]:
    """The sparsity of each kernel by `layer/weight`; see `prune` for what is refused."""
    if pattern not in PATTERNS:
        raise RequestError(f"There is no pattern {pattern!r}. Choose from {', '.join(PATTERNS)}.")
    known = kernels(model)
    if isinstance(sparsity, Mapping):
        wanted = {f"{name}/kernel": share for name, share in sparsity.items()}
    else:
        wanted = dict.fromkeys(known, sparsity)
    for path, share in wanted.items():
        name = path.removesuffix("/kernel")
        if path not in known:
            raise RequestError(f"{model.name} has no convolution or dense layer {name!r} to prune.")
        if not 0 <= share < 1:
            raise RequestError(f"{name}: a sparsity is 0 to less than 1, the share of zeros; it is {share}.")
        inputs = known[path].shape[-2]
        if pattern != "unstructured" and inputs % GROUP:
            raise RequestError(
                f"{name} has {inputs} inputs, which {pattern} cannot divide into groups of {GROUP}. Name the layers "
                "to prune: sparsity={'layer': 0.5, ...}."
            )
    return wanted


def _scores(power: np.ndarray, pattern: str) -> np.ndarray:
    """What each weight's loss costs; for blocks, what the whole block's does."""
    if pattern != "block":
        return power
    grouped = power.reshape(*power.shape[:-2], -1, GROUP, power.shape[-1])
    return np.broadcast_to(grouped.mean(axis=-2, keepdims=True), grouped.shape).reshape(power.shape)


def _best_two(power: np.ndarray) -> np.ndarray:
    grouped = power.reshape(*power.shape[:-2], -1, GROUP, power.shape[-1])
    rank = np.argsort(np.argsort(-grouped, axis=-2, kind="stable"), axis=-2, kind="stable")
    return (rank < 2).reshape(power.shape)


def _largest(scores: np.ndarray, sparsity: float) -> np.ndarray:
    """Where the largest scores are, all but the share `sparsity`; equal ones stay or go together."""
    dropped = round(sparsity * scores.size)
    if not dropped:
        return np.ones(scores.shape, bool)
    return scores > np.partition(scores.ravel(), dropped - 1)[dropped - 1]


def gradually(sparsity: float, begin: int, end: int, step: int) -> float:
    """The sparsity at `step` of a schedule that rises from 0 at `begin` to `sparsity` at `end`, fast at first.

    Zhu & Gupta 2017, "To prune, or not to prune" (arXiv:1710.01878): a third power.
    """
    done = min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)
    return sparsity * (1 - (1 - done) ** 3)
