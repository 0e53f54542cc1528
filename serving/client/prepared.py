"""What a client of the Open Inference Protocol does itself: prepare photos, and read the answers of classification.

The networks take prepared images there. How a photo is prepared, and which input it is for, are in the model's
configuration, which `python -m serving init --server triton` has written.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.client.errors import ClientError, ServerError
from serving.contract import NOT_READABLE, TOP

if TYPE_CHECKING:
    from kerascnn.photos.preprocessing import Preprocessing

PREPROCESSING = "preprocessing"


@dataclass(frozen=True)
class Network:
    """A model as its configuration describes it.

    Attributes:
        input: The name of its input.
        output: The name of its output, one score a class.
        top: How many classes are asked for.
        preprocessing: From a photo to its input, the fields of `Preprocessing`; None where it is not known.
    """

    input: str
    output: str
    top: int
    preprocessing: Mapping[str, Any] | None

    @classmethod
    def of(cls, model: str, inputs: Sequence[str], outputs: Sequence[tuple[str, int]], text: str) -> Network:
        """Make one of the names and sizes in a configuration, and the text of its parameter `preprocessing`."""
        if len(inputs) != 1 or len(outputs) != 1:
            raise ClientError(f"{model} has {len(inputs)} inputs and {len(outputs)} outputs; a classifier has one.")
        ((name, classes),) = outputs
        try:
            fields = json.loads(text) if text else None
        except ValueError as error:
            raise ServerError(f"The parameter {PREPROCESSING} of {model} is not JSON: {error}.") from error
        return cls(inputs[0], name, min(TOP, classes), fields)

    def classify(
        self, model: str, files: Sequence[bytes], ask: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Prepare photos, ask for their best classes, and return them as TensorFlow Serving's signature does.

        Args:
            model: The name of the model, for messages.
            files: JPEG or PNG files. One that cannot be decoded is not sent; its ids are -1.
            ask: Returns the answers of Triton's classification, [n, k], for prepared photos.

        Raises:
            ClientError: How photos are prepared is not known, or the request failed.
        """
        preparing = self._preprocessing(model)
        prepared = [_prepared(file, preparing) for file in files]
        images = [image for image in prepared if image is not None]
        answers = iter(ask(np.stack(images)) if images else ())
        unreadable = np.array([f"0:{NOT_READABLE}:".encode()] * self.top, object)
        return classes(np.stack([unreadable if image is None else next(answers) for image in prepared]))

    def _preprocessing(self, model: str) -> Preprocessing:
        from kerascnn.photos.preprocessing import Preprocessing

        if self.preprocessing is None:
            raise ClientError(
                f"The configuration of {model} does not say how photos are prepared (the parameter {PREPROCESSING}). "
                "Prepare them yourself, and call predict."
            )
        try:
            return Preprocessing.from_fields(self.preprocessing)
        except (TypeError, ValueError) as error:
            raise ServerError(f"The parameter {PREPROCESSING} of {model} cannot be used: {error}") from error


def _prepared(file: bytes, preprocessing: Preprocessing) -> np.ndarray | None:
    """Return a photo as a network takes it, float32 [height, width, channels]; None if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as photo:
            return preprocessing.load(photo).astype(np.float32)
    except (OSError, ValueError, SyntaxError):
        return None


def classes(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Read the answers of Triton's classification, [n, k] of `score:number` or `score:number:label`.

    Raises:
        ServerError: They are something else.
    """
    try:
        parts = [[element.decode(errors="replace").split(":", 2) for element in row] for row in rows]
        ids = np.array([[int(part[1]) for part in row] for row in parts])
        scores = np.array([[float(part[0]) for part in row] for row in parts], np.float32)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ServerError("The server did not answer with classes (score:number:label).") from error
    labels = np.array([[part[2].encode() if len(part) > 2 else b"" for part in row] for row in parts], object)
    return {"top_ids": ids, "top_scores": scores, "top_labels": labels}
