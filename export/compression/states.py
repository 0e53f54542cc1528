"""What a network is at one moment of its compression, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from export.compression.networks import kernels
from kerascnn.weights import container

if TYPE_CHECKING:
    import keras

    from export.checking.accuracy import Accuracy

Score = Callable[["keras.Model"], "Accuracy"]


@dataclass(frozen=True)
class State:
    """bytes: of the coded file. sparsity: the share of zeros in kernels. values: different ones, by layer.

    accuracy: on labelled photos, where there are any.
    """

    bytes: int
    sparsity: float
    values: Mapping[str, int]
    accuracy: Accuracy | None = None


@dataclass
class Step:
    """One step: its name, what it was asked for, and the network before and after."""

    name: str
    before: State
    options: Mapping[str, object] = field(default_factory=dict)
    after: State | None = None


def state(model: keras.Model, score: Score | None = None) -> State:
    """Describe a network as it is now."""
    found = {path: np.asarray(kernel, np.float32) for path, kernel in kernels(model).items()}
    zeros = sum(int((kernel == 0).sum()) for kernel in found.values())
    return State(
        bytes=coded_bytes(model),
        sparsity=zeros / max(sum(kernel.size for kernel in found.values()), 1),
        values={path.removesuffix("/kernel"): len(np.unique(kernel)) for path, kernel in found.items()},
        accuracy=score(model) if score else None,
    )


def coded_bytes(model: keras.Model) -> int:
    """The size of the network's .kdc file; near it, for a network that such a file cannot describe."""
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
    """Collects steps; the state after one is the state before the next."""

    def __init__(self, model: keras.Model, score: Score | None = None):
        self._model, self._score = model, score
        self.last = state(model, score)
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str, **options: object) -> Iterator[None]:
        step = Step(name, self.last, options)
        yield
        self.last = step.after = state(self._model, self._score)
        self.steps.append(step)
