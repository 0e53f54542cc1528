"""A request fitted to its model: whether the two go together, and how photos are read for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export.errors import RequestError
from export.images import ImageSource, LoadedImages, labels_from_folders, load_images, spread
from export.opening import LoadedModel
from export.request import Request
from kerascnn.keras_graph import all_layers
from kerascnn.photos.choosing import PreprocessingChoice
from kerascnn.photos.reading import read_ahead

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preprocessing import Preprocessing

COMPRESSION_PHOTOS = 500
VERIFICATION_PHOTOS = 250
VERIFICATION_SYNTHETIC = 8
EVALUATION_CHUNK = 64


class LabeledPhotos(NamedTuple):
    """Some of the photos that artifacts are scored on.

    Attributes:
        images: float32 [n, height, width, channels], as the artifacts take them.
        labels: The class of each.
        names: The name of each.
        skipped: How many files could not be read.
    """

    images: np.ndarray
    labels: list[int]
    names: tuple[str, ...]
    skipped: int


@dataclass(frozen=True)
class Job:
    """What an export works on.

    Attributes:
        request: What is asked for.
        loaded: The model, with the labels and the preprocessing that the request gives, or else its own.
        calibration: float32 inputs of the artifacts, or photos to read them from.
        classes: The class of each evaluation photo by its name.
        seen: Photos that were read, by source and name, as the artifacts take them.
    """

    request: Request
    loaded: LoadedModel
    calibration: np.ndarray | ImageSource | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    seen: dict[tuple[Path, str], np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What messages call the model."""
        return self.loaded.origin.name

    @property
    def evaluation(self) -> ImageSource | None:
        """Photos to score every artifact on."""
        return self.request.evaluation

    @cached_property
    def sha256(self) -> str:
        """The digest of the network, as it is when this is first asked: a compression changes it."""
        from export.identity import digest

        return digest(self.loaded.model)

    @property
    def has_photos(self) -> bool:
        """Whether artifacts are compared on photos."""
        return isinstance(self.calibration, ImageSource) or self.evaluation is not None

    @property
    def included(self) -> Preprocessing | None:
        """What the artifacts do to a photo themselves; None where their input is the model's."""
        return self.loaded.preprocessing if self.request.include_preprocessing else None

    @property
    def reading(self) -> Preprocessing | None:
        """How a photo becomes the artifacts' input; None where that is not known."""
        return self.included.without_normalization if self.included else self.loaded.preprocessing

    @property
    def metadata(self) -> dict[str, str]:
        """What an ONNX or TFLite file says of itself: model, labels and preprocessing, as JSON texts."""
        origin = self.loaded.origin
        values = {"model": origin.name}
        if origin.trained is not None:
            values["trained"] = json.dumps(origin.trained)
        if self.loaded.labels:
            values["labels"] = json.dumps(self.loaded.labels, ensure_ascii=False)
        if self.reading:
            values["preprocessing"] = json.dumps(asdict(self.reading))
        return values

    def to_model(self, images: np.ndarray) -> np.ndarray:
        """Turn what the artifacts take into what the Keras model takes."""
        return self.included.normalize(images) if self.included else images

    def read(self, source: ImageSource, count: int) -> LoadedImages:
        """Read `count` photos, evenly spaced over all, as the artifacts take them; they are kept for the next time."""
        loaded = self._load(source, spread(source.names, count))
        if count <= VERIFICATION_PHOTOS:
            self.seen.update(zip(((source.path, name) for name in loaded.names), loaded.images, strict=True))
        return loaded

    def labeled_photos(self) -> Iterator[LabeledPhotos]:
        """Read the evaluation photos, a bounded number at a time; while some are answered, the next are read."""
        assert self.evaluation is not None
        names = self.evaluation.names
        chunks = [names[start : start + EVALUATION_CHUNK] for start in range(0, len(names), EVALUATION_CHUNK)]
        return read_ahead(self._labeled, chunks, ahead=1, threads=1)

    def _labeled(self, names: Sequence[str]) -> LabeledPhotos:
        assert self.evaluation is not None
        try:
            loaded = self._load(self.evaluation, names)
        except RequestError:  # not one of these could be read; others may
            return LabeledPhotos(np.zeros((0, 1, 1, 1), np.float32), [], (), len(names))
        return LabeledPhotos(
            loaded.images, [self.classes[name] for name in loaded.names], loaded.names, len(loaded.skipped)
        )

    def _load(self, source: ImageSource, names: Sequence[str]) -> LoadedImages:
        """Read photos that were not read before."""
        assert self.reading is not None
        known = {name: self.seen[source.path, name] for name in names if (source.path, name) in self.seen}
        return load_images(source, names, self.reading, known)


def refuse_recurrent(request: Request, loaded: LoadedModel) -> None:
    """Refuse TFLite and ONNX for an image network with a recurrent layer.

    The layer is a loop whose body reads variables, and these formats need a graph of constants.

    Raises:
        RequestError: There is such a layer, and one of the formats was asked for.
    """
    import keras

    loops = [layer for layer in all_layers(loaded.model) if isinstance(layer, keras.layers.RNN) and not layer.unroll]
    titles = dict.fromkeys(item.format.title for item in request.items if item.format.name != "saved_model")
    if loops and titles:
        raise RequestError(
            f"{loaded.origin.name} takes an image and has a recurrent layer, {loops[0].name!r}. Such a network is "
            f"exported as a SavedModel, not as {' or '.join(titles)}: ask for --saved-model, or make the layer with "
            "unroll=True."
        )


def make_job(request: Request, loaded: LoadedModel) -> Job:
    """Fit a request to a model.

    Raises:
        RequestError: The model, its labels and the photos do not fit together.
    """
    name, preprocessing = loaded.origin.name, _preprocessing(loaded, request.preprocessing)
    labels = loaded.labels if request.labels is None else request.labels
    classes = loaded.model.outputs[0].shape[-1]
    if labels is not None and len(labels) != classes:
        raise RequestError(
            f"There are {len(labels)} labels, but {name} has {classes} outputs; one name a line, in the order of the "
            "outputs."
        )
    if preprocessing is None and request.include_preprocessing:
        raise RequestError(
            f"How images for {name} are prepared is not known, so it cannot be put into the artifacts. Name it with "
            "--preprocessing (from Python: preprocessing=)."
        )
    if preprocessing is None and (isinstance(request.calibration, ImageSource) or request.evaluation is not None):
        raise RequestError(
            f"How photos are prepared for {name} is not known. Name it with --preprocessing (from Python: "
            "preprocessing=): the weights that it was fine-tuned from, such as squeezenet/imagenet, or one of none, "
            "unit, tf, torch, caffe."
        )
    calibration = request.calibration
    if isinstance(calibration, Mapping):
        if len(calibration) != 1:
            raise RequestError(f"{name} has one input; the calibration data are {', '.join(calibration) or 'none'}.")
        (calibration,) = calibration.values()
    if isinstance(calibration, np.ndarray):
        calibration = _checked_inputs(calibration, loaded)
    loaded = replace(loaded, preprocessing=preprocessing, labels=labels)
    return Job(request, loaded, calibration, _classes_by_photo(request.evaluation, labels, classes))


def _checked_inputs(calibration: np.ndarray, loaded: LoadedModel) -> np.ndarray:
    shape = tuple(loaded.model.inputs[0].shape[1:])
    if calibration.ndim != 4 or calibration.shape[1:] != shape or not len(calibration):
        raise RequestError(
            f"The calibration array has the shape {calibration.shape}; {loaded.origin.name} takes [n, "
            f"{', '.join(map(str, shape))}]."
        )
    if not np.isfinite(calibration).all():
        raise RequestError("The calibration array holds NaN or infinity.")
    return calibration.astype(np.float32)


def _classes_by_photo(photos: ImageSource | None, labels: tuple[str, ...] | None, classes: int) -> dict[str, int]:
    from kerascnn.data import wordnet_ids

    if photos is None:
        return {}
    known = labels_from_folders(photos.names, labels, wordnet_ids(labels), classes)
    return dict(zip(photos.names, known, strict=True))


def _preprocessing(loaded: LoadedModel, given: Preprocessing | PreprocessingChoice | None) -> Preprocessing | None:
    """Return the preprocessing for photos: what is given, else what the model brings, else None.

    Raises:
        RequestError: The name is unknown, or what is given does not fit the model's input.
    """
    shape = tuple(loaded.model.inputs[0].shape[1:])
    try:
        if isinstance(given, PreprocessingChoice):
            chosen: Preprocessing | None = given.resolve(shape, loaded.preprocessing)
            return chosen
        return loaded.preprocessing if given is None else given.checked(shape)
    except ValueError as error:
        raise RequestError(f"{loaded.origin.name}: {error}") from None


def verification_images(job: Job, calibration: np.ndarray | None) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return the images that every artifact is compared on: the user's own where there are any.

    Returns:
        The images, what they are, and the names of evaluation photos.
    """
    from export.checking.parity import synthetic_images

    if job.evaluation is not None:
        loaded = job.read(job.evaluation, VERIFICATION_PHOTOS)
        return loaded.images, "evaluation photos", loaded.names
    if isinstance(job.calibration, ImageSource):
        return job.read(job.calibration, VERIFICATION_PHOTOS).images, "calibration photos", ()
    if calibration is not None:
        return calibration[:VERIFICATION_PHOTOS], "calibration inputs", ()
    low, high = _input_range(job)
    shape = job.loaded.model.inputs[0].shape
    return synthetic_images(shape, VERIFICATION_SYNTHETIC, low=low, high=high), "synthetic images", ()


def _input_range(job: Job) -> tuple[float, float]:
    """Return the least and the greatest value that an artifact's input takes."""
    if job.reading:
        return job.reading.value_range(job.loaded.model.inputs[0].shape[-1])
    scaling = {"Rescaling", "Normalization", "PhotoPreparation"}
    scales = any(type(layer).__name__ in scaling for layer in job.loaded.model.layers)
    return (0.0, 255.0) if scales else (-2.0, 2.0)


def with_preprocessing(job: Job) -> keras.Model:
    """Put the normalization in front of the model, as a 1x1 convolution: one standard operator in every format."""
    model, preprocessing = job.loaded.model, job.included
    if job.request.trained:
        from export.quantization.trained import Ends, with_constants

        model = with_constants(model)
    if preprocessing is None:
        return model
    import keras

    channels = model.inputs[0].shape[-1]
    order = list(range(channels))[::-1] if preprocessing.channel_order == "bgr" else list(range(channels))
    std = np.broadcast_to(np.asarray(preprocessing.std, np.float32), (channels,))
    mean = np.broadcast_to(np.asarray(preprocessing.mean, np.float32), (channels,))
    kernel = np.zeros((1, 1, channels, channels), np.float32)
    kernel[0, 0, order, range(channels)] = 1 / std
    layer = keras.layers.Conv2D(channels, 1, data_format="channels_last", name="image_normalization")
    image = keras.Input(model.inputs[0].shape[1:], name="images")
    pixels = Ends(0.0, 255.0, "image_range")(image) if job.request.trained else image
    wrapped = keras.Model(image, model(layer(pixels)), name=model.name)
    layer.set_weights([kernel, -mean / std])
    return wrapped
