"""The worker: it builds the network once, and finds the classes of batches of files."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn import factory, registry
from kerascnn.data import class_names
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.registry import WeightsRecord
from kerascnn.scoring.files import schema

if TYPE_CHECKING:
    import keras
    import pyarrow as pa

TOP = 5


@dataclass(frozen=True)
class Network:
    """What each worker builds: a variant, and its weights by name or as a file that every machine can read."""

    model: str
    weights: str

    @property
    def record(self) -> WeightsRecord:
        """The record of the weights, found without Keras.

        Raises:
            ValueError: There are no such weights, or they do not say how photos are prepared.
        """
        from kerascnn.weights import find

        record = find(self.model, self.weights)
        if record is None or record.preprocessing is None:
            raise ValueError(
                f"{self.weights} does not say how photos are prepared for it. Give the name of published weights, or a "
                ".kdc file that `python -m kerascnn train` wrote."
            )
        return record

    def build(self) -> tuple[keras.Model, Preprocessing]:
        """Build the network for the size that its weights were trained with; also return how photos are prepared."""
        record, options = self.record, {}
        crop = (record.preprocessing or {}).get("crop")
        if record.input_shape is None and crop:
            options["input_shape"] = (*crop, registry.variant(self.model).input_shape[2])
        model = factory.create_model(self.model, weights=self.weights, **options)
        height, width = model.inputs[0].shape[1:3]
        return model, Preprocessing.from_record(record).for_size(height, width)


class Scorer:
    """A worker, which makes a batch of rows from a batch of files.

    It builds its network for the first batch and not in its constructor: a failure in a batch ends the run with its own
    message, while Ray tries a constructor again and prints what each of its parts says of it.
    """

    def __init__(self, network: Network):
        self.network = network
        self.labels = class_names(network.record.labels)

    @functools.cached_property
    def built(self) -> tuple[keras.Model, Preprocessing]:
        """The network, and how photos are prepared for it."""
        return self.network.build()

    def __call__(self, files: pa.Table) -> pa.Table:
        """Score a batch of files."""
        import pyarrow as pa

        model, preprocessing = self.built
        images, errors = [], []
        for data in files["bytes"].to_pylist():
            image, error = _loaded(data, preprocessing)
            errors.append(error)
            if image is not None:
                images.append(image)
        predictions = iter(model.predict_on_batch(np.stack(images)) if images else ())
        rows = [
            {"path": path, "error": error, "model": self.network.model, "weights": Path(self.network.weights).name}
            | (self._best(next(predictions)) if error is None else {})
            for path, error in zip(files["path"].to_pylist(), errors, strict=True)
        ]
        return pa.Table.from_pylist(rows, schema=schema())

    def _best(self, probabilities: np.ndarray) -> dict[str, Any]:
        order = np.argsort(-probabilities, kind="stable")[:TOP]
        names = [self.labels[i] if self.labels else str(i) for i in order]
        return {
            "class": int(order[0]),
            "label": names[0],
            "probability": float(probabilities[order[0]]),
            "top_classes": order.tolist(),
            "top_labels": names,
            "top_probabilities": probabilities[order].tolist(),
        }


def _loaded(data: bytes, preprocessing: Preprocessing) -> tuple[np.ndarray | None, str | None]:
    """Return the network's input, or why there is none."""
    from PIL import Image

    from kerascnn.photos.files import reason, unreadable

    try:
        with Image.open(io.BytesIO(data)) as image:
            return preprocessing.load(image), None
    except unreadable() as error:
        return None, reason(error)
