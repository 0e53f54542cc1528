"""Say how long a compression will still take, from the work of its parts and the time that the first of them took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.compression.distillation import BATCH, SHOWN
from export.compression.networks import kernel_layers
from export.compression.sensitivity import DRAWS, EVERY, SAMPLES
from export.compression.sequence import PLACES

if TYPE_CHECKING:
    import keras

ATTEMPTS = 3  # that finding the price takes, as a rule
# Seconds of one core for an operation: they need only be right in proportion.
_PRODUCT = 1e-11
_CHOICE = 2e-11  # one input after another, or in float64
_TUNING = 4  # passes of a photo in a step of fine-tuning: the teacher's, and a forward and a backward one
_SHARING, _PASSING = 0.05, 0.4  # of each layer, whatever its size


class Pace:
    """Gives each step of a compression its time left.

    Args:
        step: is called with the sentences.
        parts: in their order, with the work of each of their steps.
        clock: the time in seconds.
    """

    def __init__(
        self,
        step: Callable[[str], None],
        parts: Mapping[str, Sequence[float]],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._step, self._parts, self._clock = step, dict(parts), clock
        self._start, self._done, self._current = clock(), 0.0, 0.0

    def part(self, name: str) -> Callable[[str], None]:
        """Begin a part; return what is to be called with a sentence before each of its steps."""
        names = list(self._parts)
        later = sum(sum(self._parts[other]) for other in names[names.index(name) + 1 :])
        waiting = list(self._parts[name])

        def step(text: str) -> None:
            self._done += self._current
            left = later + sum(waiting)
            if waiting:
                self._current = waiting.pop(0)
            self._step(f"{text}{self._left(left)}")

        return step

    def _left(self, work: float) -> str:
        if not self._done:
            return ""
        seconds = (self._clock() - self._start) * work / self._done
        return f", about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a time as it is said, such as "25 s" or "3 min"."""
    return f"{5 * max(1, round(seconds / 5))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def plan(model: keras.Model, photos: int, *, measured: bool, to_size: bool, tuning: int) -> dict[str, list[float]]:
    """Return the work of each step of a compression, as `Pace` takes it.

    Args:
        model: the network.
        photos: how many there are.
        measured: whether the sensitivities are known.
        to_size: whether a size was asked for, to which a second pass in order is needed as a rule.
        tuning: steps of fine-tuning.
    """
    forward, moments, sharing = [], [], []
    for layer in kernel_layers(model):
        shape = layer.kernel.shape
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        rows = int(np.prod(shape[:2] if depthwise else shape[:-1]))
        groups, outputs = (shape[2], shape[3]) if depthwise else (getattr(layer, "groups", 1), shape[-1])
        forward.append(2 * _PRODUCT * photos * rows * float(np.prod(layer.output.shape[1:])))
        moments.append(2 * _PRODUCT * SAMPLES * groups * rows**2)
        # Conjugate gradients take a dozen products with the moments; to factor these takes rows**3.
        sharing.append(_SHARING + _CHOICE * rows**2 * (26 * outputs + 2 * groups * rows))
    signs = -(-photos // EVERY)
    backward = 3 * DRAWS * sum(forward)  # for each draw, a backward pass takes twice a forward one
    measuring = [sum(forward + moments) / signs] * signs + [backward / signs] * signs
    order = [2 * f + 2 * PLACES / SAMPLES * m + s + _PASSING for f, m, s in zip(forward, moments, sharing, strict=True)]
    return {
        "measuring": [] if measured else measuring,
        "attempts": [sum(sharing)] * ATTEMPTS,
        "order": order * (2 if to_size else 1),
        "tuning": [_TUNING * BATCH / photos * sum(forward) * SHOWN] * -(-tuning // SHOWN),
    }
