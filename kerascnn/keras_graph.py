"""Room for networks of a thousand layers and more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

DEEPEST = 10_000  # ResNet-1202 has 4,200 layers in a row, each of them one call


@contextmanager
def deep_graphs() -> Iterator[None]:
    """Let Keras follow a deep network's graph, which it does recursively wherever it makes or loads a model."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
