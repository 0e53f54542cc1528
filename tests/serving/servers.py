"""Development servers in the test's process, and what they serve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COLOURS = ("red", "green", "blue")


@contextmanager
def running(models: Path, config: str | None = None, batching: Any = None) -> Iterator[Any]:
    """A development server on free ports of 127.0.0.1; gives where it listens, and its table."""
    from serving.configuration.tfs import messages
    from serving.development import configuration, server

    if config is None:
        configs = configuration.from_folder(models)
    else:
        message = messages.parse(config, "ModelServerConfig", "the test's config")
        configs = configuration.from_message(message, models, "the test's config")
    table = server.make_table(batching)
    table.configure(configs)
    table.poll()
    try:
        with (
            server.following(table, lambda: None),
            server.listening(table, server.bind("127.0.0.1", 0), 0, models=models) as where,
        ):
            yield where, table
    finally:
        table.close()


def write_colours(version: Path, strength: float = 5.0) -> None:
    """A network that says whether a photo is red, green or blue, exported with all of its signatures."""
    import keras
    import numpy as np

    from export.formats.saved_model import write_saved_model
    from export.tracing.graph import trace
    from kerascnn.photos.preprocessing import Preprocessing

    images = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.MaxPooling2D()(images))
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(images, dense(pooled))
    dense.set_weights([strength * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    preprocessing = Preprocessing.named("tf", (16, 16, 3))
    write_saved_model(trace(model), version, preprocessing=preprocessing, labels=COLOURS)
