"""What a client of the Open Inference Protocol does itself: prepare photos, and read the answers of classification.

The networks take prepared images there. How a photo is prepared, and which input it is for, are in the model's
configuration, which `python -m serving init --server triton` has written.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.client.errors import ClientError, ServerError, UnreadableImageError
from serving.contract import TOP

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

    def prepare(self, model: str, files: Sequence[bytes]) -> np.ndarray:
        """Return photos as the network takes them, float32 [n, height, width, channels].

        Raises:
            ClientError: How is not known, or a file is not an image.
        """
        from PIL import Image

        from kerascnn.photos.preprocessing import Preprocessing

        if self.preprocessing is None:
            raise ClientError(
                f"The configuration of {model} does not say how photos are prepared (the parameter {PREPROCESSING}). "
                "Prepare them yourself, and call predict."
            )
        try:
            preparing = Preprocessing.from_fields(self.preprocessing)
        except (TypeError, ValueError) as error:
            raise ServerError(f"The parameter {PREPROCESSING} of {model} cannot be used: {error}") from error
        images = []
        for number, file in enumerate(files, start=1):
            try:
                with Image.open(io.BytesIO(file)) as photo:
                    images.append(preparing.load(photo))
            except (OSError, ValueError, SyntaxError) as error:
                raise UnreadableImageError(f"Photo {number} of a request cannot be decoded: {error}") from error
        return np.stack(images).astype(np.float32)


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
