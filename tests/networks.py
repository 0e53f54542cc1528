"""Networks that tests read and do not change, each built once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import keras
import numpy as np

import kerascnn


def built(name: str, **options: Any) -> keras.Model:
    """Build a variant with its initial weights, or return what an earlier test built.

    Args:
        name: The variant.
        **options: Of its builder.
    """
    return _built(name, _key(options))


def structure(name: str, **options: Any) -> keras.Model:
    """Build a variant without values for its weights, or return what an earlier test built.

    Args:
        name: The variant.
        **options: Of its builder.
    """
    return _structure(name, _key(options))


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give a model biases and moving statistics that are not 0 and 1, so that what they do shows; return it."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            weight.assign(random.normal(size=weight.shape) * np.sqrt(2 / np.prod(weight.shape[:-1])))
        else:
            spread = (0.5, 1.5) if weight.path.endswith(("variance", "gamma")) else (-0.3, 0.3)
            weight.assign(random.uniform(*spread, size=weight.shape))
    return model


@contextmanager
def without_values() -> Iterator[None]:
    """Build models whose weights have shapes but no values: in a third of the time, and without the memory."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.backend.clear_session(free_memory=False)  # or Keras would give them values with those of the next model


Key = tuple[tuple[str, Any], ...]


def _key(options: dict[str, Any]) -> Key:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(options.items()))


# The tests of a file ask for the same networks, those of other files seldom do.
@lru_cache(maxsize=4)
def _built(name: str, options: Key) -> keras.Model:
    keras.utils.set_random_seed(0)
    return kerascnn.create_model(name, **dict(options))


@lru_cache(maxsize=16)
def _structure(name: str, options: Key) -> keras.Model:
    with without_values():
        return kerascnn.create_model(name, **dict(options))
