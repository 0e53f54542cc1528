"""What answers photos: a Keras model or an artifact, with its preprocessing and its class names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kerascnn import registry
from kerascnn.build_info import build_info
from kerascnn.photos.files import PhotosError
from kerascnn.photos.gathering import Photo
from kerascnn.photos.preparing import Given, Preparation
from kerascnn.photos.preprocessing import known_preprocessing
from kerascnn.photos.reading import read_ahead
from kerascnn.registry import PublishedError

if TYPE_CHECKING:
    import keras

BATCH = 32


class Guess(NamedTuple):
    """One class that a photo may show.

    Attributes:
        name: Its name.
        probability: From 0 to 1.
        number: Its place among the model's outputs.
    """

    name: str
    probability: float
    number: int


@dataclass(frozen=True)
class Answer:
    """What a model says of a photo.

    Attributes:
        photo: The path of the photo, or its place among those that were given, such as "photo 1".
        classes: The most probable classes, best first.
    """

    photo: str
    classes: tuple[Guess, ...]

    def __str__(self) -> str:
        return f"{self.photo}: " + ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in self.classes)


@dataclass(frozen=True)
class Classifier:
    """Something that tells classes apart, in memory or in a file.

    Attributes:
        name: What messages call it.
        preparation: How photos become its input.
        run: From prepared photos to probabilities, float [n, classes].
        labels: Class names in the order of its outputs; None where they are not known.
        published: The errors that its network or its weights were published with; None where nothing is known of them.
    """

    name: str
    preparation: Preparation
    run: Callable[[np.ndarray], np.ndarray]
    labels: Sequence[str] | None = None
    published: PublishedError | None = None

    def answers(
        self, photos: Sequence[Photo], top: int = 5, broken: Callable[[Photo, str], None] | None = None
    ) -> Iterator[tuple[Photo, Answer]]:
        """Answer photos in their order, a batch at a time.

        Args:
            photos: The photos.
            top: How many classes to name.
            broken: Told of each photo that cannot be read, and why; by default, that is an error.

        Raises:
            PhotosError: A photo cannot be read.
            ValueError: `top` is less than 1, or the labels do not fit.
        """
        if top < 1:
            raise ValueError(f"top is how many classes are named, at least 1; it is {top}.")
        batch: list[tuple[Photo, np.ndarray]] = []
        for photo, prepared in zip(photos, read_ahead(self._prepared, photos, BATCH), strict=True):
            if isinstance(prepared, ValueError):
                if broken is None:
                    raise PhotosError(f"{photo.name} cannot be read: {prepared}") from prepared
                broken(photo, str(prepared))
                continue
            if len(batch) == BATCH or (batch and batch[0][1].shape != prepared.shape):
                yield from self._answer(batch, top)
                batch = []
            batch.append((photo, prepared))
        if batch:
            yield from self._answer(batch, top)

    def _prepared(self, photo: Photo) -> np.ndarray | ValueError:
        try:
            return self.preparation.prepare(photo)
        except ValueError as error:  # a PhotosError is one
            return error

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return what it answers to prepared photos, float64 [n, classes].

        Raises:
            ValueError: It is no classifier.
        """
        probabilities = np.asarray(self.run(images), np.float64)
        if probabilities.ndim != 2:
            raise ValueError(
                f"{self.name} answers a photo with {'x'.join(map(str, probabilities.shape[1:]))} numbers; a classifier "
                "answers with one for each class."
            )
        if probabilities.shape[1] == 1:  # one output tells two classes apart
            probabilities = np.concatenate([1 - probabilities, probabilities], axis=1)
        return probabilities

    def _answer(self, batch: Sequence[tuple[Photo, np.ndarray]], top: int) -> Iterator[tuple[Photo, Answer]]:
        probabilities = self.probabilities(np.stack([prepared for _, prepared in batch]))
        names = self.names(probabilities.shape[1])
        for (photo, _), row in zip(batch, probabilities, strict=True):
            best = np.argsort(-row, kind="stable")[:top]
            yield photo, Answer(photo.name, tuple(Guess(names[i], float(row[i]), int(i)) for i in best))

    def names(self, outputs: int) -> Sequence[str]:
        """Return the names of its classes, of which there are `outputs`; "class 0" and so on where it knows none.

        Raises:
            ValueError: Its class names are not as many.
        """
        if self.labels is None:
            return [f"class {i}" for i in range(outputs)]
        if len(self.labels) != outputs:
            raise ValueError(f"There are {len(self.labels):,} labels, but {self.name} tells {outputs:,} classes apart.")
        return self.labels


def classifier(model: keras.Model, preprocessing: Given = None, labels: Sequence[str] | None = None) -> Classifier:
    """Make a classifier of a Keras model; what it does not remember has to be given.

    Raises:
        ValueError: It is no classifier of photos, or how photos are prepared for it is not known.
    """
    from kerascnn.surgery.logits import ending
    from kerascnn.surgery.parts import inference_model

    name = model.name
    if len(getattr(model, "inputs", ())) != 1:
        raise ValueError(f"{name} takes {len(getattr(model, 'inputs', ()))} inputs; a classifier of photos takes one.")
    model = inference_model(model)
    if len(model.outputs) != 1 or isinstance(getattr(model, "output", None), dict):
        raise ValueError(f"{name} has {len(model.outputs)} outputs; a classifier has one. Take keras.Model(...) of it.")
    known = Preparation.for_input(tuple(model.inputs[0].shape[1:]), known_preprocessing(model), preprocessing, name)
    logits = not _ends_in_sigmoid(model) and ending(model) == "logits"
    info = build_info(model)
    if labels is None and info is not None:
        labels = info.class_names(model.outputs[0].shape[-1])

    def run(images: np.ndarray) -> np.ndarray:
        import keras

        outputs = np.asarray(keras.ops.convert_to_numpy(model(images, training=False)), np.float64)
        return softmax(outputs) if logits else outputs

    weights = info.weights if info is not None else None
    keys = (weights.full_name, weights.sha256) if weights is not None else ()
    published = published_error(info.variant, *keys) if info is not None else None
    return Classifier(name, known, run, labels, published)


def published_error(variant: str | None, *keys: str | None) -> PublishedError | None:
    """Find what the publisher of weights measured, else what was published of the network.

    Args:
        variant: The network.
        *keys: The full name or the SHA-256 of the weights, where they are known.
    """
    row, known = registry.variants().get(variant or ""), set(keys) - {None, ""}
    if row is None:
        return None
    record = next((one for one in row.weights if {one.full_name, one.sha256} & known), None)
    errors = row.errors if record is None or record.errors is None else (record.errors,)
    return errors[0] if errors else None


def _ends_in_sigmoid(model: keras.Model) -> bool:
    import keras

    from kerascnn.keras_graph import node_of

    return getattr(node_of(model.outputs[0]).operation, "activation", None) is keras.activations.sigmoid


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turn logits [n, classes] into probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
