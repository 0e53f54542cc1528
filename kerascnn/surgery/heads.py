"""The layers that a network ends with."""

from __future__ import annotations

from typing import Any

import keras

from kerascnn.keras_graph import walk_back


def last_layers(model: keras.Model) -> list[Any]:
    """Return the last layer with weights before each output; the input's where there is none."""
    last = []
    for output in model.outputs:
        for node in walk_back(output):
            layer = node.operation
            if getattr(layer, "weights", None):
                break
        last.append(layer)
    return last
