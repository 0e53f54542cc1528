"""Describe in numbers what a network is at one moment of its compression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.compression.networks import kernels, layer_of
from kerascnn.weights import container

if TYPE_CHECKING:
    import keras

    from export.checking.accuracy import Accuracy

Score = Callable[["keras.Model"], "Accuracy"]


@dataclass(frozen=True)
class State:
    """A network at one moment.

    Attributes:
        bytes: size of the coded file.
        sparsity: share of zeros in the kernels.
        values: how many different values each layer's kernel has.
        accuracy: on labeled photos; None without any.
    """

    bytes: int
    sparsity: float
    values: Mapping[str, int]
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class Step:
    """One step of a compression: its name, its settings, and the network before and after."""

    name: str
    options: Mapping[str, float | None]
    before: State
    after: State


def state(model: keras.Model, score: Score | None = None) -> State:
    """Describe a network as it is now."""
    arrays = {path: np.asarray(kernel, np.float32) for path, kernel in kernels(model).items()}
    zeros = sum(int((array == 0).sum()) for array in arrays.values())
    return State(
        bytes=coded_bytes(model),
        sparsity=zeros / max(sum(array.size for array in arrays.values()), 1),
        values={layer_of(path): len(np.unique(array)) for path, array in arrays.items()},
        accuracy=score(model) if score else None,
    )


def coded_bytes(model: keras.Model) -> int:
    """Return the size of the network's .kdc file; for a network that such a file cannot describe, an estimate."""
    try:
        return len(container.encode(container.describe(model), container.arrays_of(model)))
    except ValueError:
        return sum(_entropy_bytes(array) for array in container.arrays_of(model).values())


def _entropy_bytes(array: np.ndarray) -> int:
    width = 2 if np.array_equal(array.astype(np.float16).astype(np.float32), array) else 4
    _, counts = np.unique(array, return_counts=True)
    if len(counts) > 256:
        return width * array.size
    coded = -float((counts * np.log2(counts / array.size)).sum()) / 8 + width * len(counts)
    return round(min(coded, width * array.size))


class Recorder:
    """Collects the steps of a compression; the state after a step is the state before the next."""

    def __init__(self, model: keras.Model, score: Score | None = None):
        self._model, self._score = model, score
        self._last = state(model, score)
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str, **options: float | None) -> Iterator[None]:
        """Record what happens within the block as one step."""
        yield
        before, self._last = self._last, state(self._model, self._score)
        self.steps.append(Step(name, options, before, self._last))
