"""SavedModel: what TensorFlow Serving and TensorFlow itself load."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from export.graph import TracedModel


def write_saved_model(traced: TracedModel, folder: Path) -> None:
    """Write the version folder `folder` (`.../saved_model/1`) with the signature `serving_default`.

    The weights are stored as variables, so that a server can share and restore them, and the batch stays open.
    """
    import tensorflow as tf

    module = tf.Module()
    module.weights = traced.variables
    # Reachable as an attribute too, because the signature is only a wrapper that calls it.
    module.network = traced.function
    tf.saved_model.save(module, str(folder), signatures={"serving_default": traced.function})
