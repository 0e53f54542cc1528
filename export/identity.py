"""Tell one network from another, whatever they are called: by a digest of layers and weights."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_WITHOUT_MEANING = {"name", "trainable", "build_config"}  # to what a network answers


def digest(model: keras.Model) -> str:
    """Return the SHA-256 of the layers of a model and of their weights.

    A model that is built again, or loaded from a file, has the same one, although Keras gives its layers other names.
    """
    import keras

    known = hashlib.sha256(json.dumps(_layers(model), sort_keys=True).encode())
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        known.update(f"{values.dtype} {values.shape}".encode())
        known.update(values.tobytes())
    return known.hexdigest()


def _layers(model: keras.Model) -> Any:
    """Return the model's configuration with numbers in place of the names of layers."""
    from kerascnn.keras_graph import all_layers

    layers = all_layers(model)
    names = {layer.name: f"layer {number}" for number, layer in enumerate(layers)}
    try:
        config = model.get_config()
    except NotImplementedError:  # a layer of the user's own does not tell
        return [type(layer).__name__ for layer in layers]
    return _plain(config, names)


def _plain(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part, names) for key, part in value.items() if key not in _WITHOUT_MEANING}
    if isinstance(value, list | tuple):
        return [_plain(part, names) for part in value]
    if isinstance(value, str):
        return names.get(value, value)
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__
