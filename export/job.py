"""One export under way: the model, what its artifacts take, and the photos that they are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import RequestError
from export.images import ImageSource, find_images, labels_from_folders, load_images, spread
from export.opening import LoadedModel
from export.request import Plan, check_source

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preprocessing import Preprocessing

CALIBRATION_PHOTOS = 100
COMPRESSION_PHOTOS = 500
VERIFICATION_PHOTOS = 250
VERIFICATION_SYNTHETIC = 8
EVALUATION_CHUNK = 64


@dataclass(frozen=True)
class Photos:
    """Photos that are listed, and labelled where they are to be scored, but not yet read."""

    source: ImageSource
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Job:
    """What an export works on.

    Attributes:
        included: the preprocessing that the artifacts do themselves; None where their input is the model's.
        reading: how a photo becomes the artifacts' input; None where that is not known.
        calibration: float32 inputs of the artifacts, or photos to read them from.
        evaluation: photos to score every artifact on.
    """

    loaded: LoadedModel
    plan: Plan
    included: Preprocessing | None
    reading: Preprocessing | None
    calibration: np.ndarray | Photos | None
    evaluation: Photos | None

    @property
    def name(self) -> str:
        return self.loaded.origin.name

    @property
    def has_photos(self) -> bool:
        return isinstance(self.calibration, Photos) or self.evaluation is not None

    def to_model(self, images: np.ndarray) -> np.ndarray:
        """From what the artifacts take to what the Keras model takes."""
        return self.included.normalize(images) if self.included else images

    def read(self, photos: Photos, count: int) -> tuple[np.ndarray, int]:
        """`count` photos, evenly spaced over all, as the artifacts take them; and how many could not be read."""
        assert self.reading is not None
        found = load_images(photos.source, spread(photos.source.names, count), self.reading)
        return found.images, len(found.skipped)

    def labelled_chunks(self) -> Iterator[tuple[np.ndarray, list[int], tuple[str, ...], int]]:
        """The evaluation photos as (inputs, labels, names, how many could not be read), a bounded number at a time."""
        assert self.reading is not None
        assert self.evaluation is not None
        source = self.evaluation.source
        by_name = dict(zip(source.names, self.evaluation.labels, strict=True))
        for start in range(0, len(source.names), EVALUATION_CHUNK):
            names = source.names[start : start + EVALUATION_CHUNK]
            try:
                found = load_images(source, names, self.reading)
            except RequestError:  # not one of these could be read; others may
                yield np.zeros((0, 1, 1, 1), np.float32), [], (), len(names)
                continue
            yield found.images, [by_name[name] for name in found.names], found.names, len(found.skipped)


def make_job(
    loaded: LoadedModel,
    plan: Plan,
    calibration: np.ndarray | Path | None,
    evaluate: Path | None,
    include_preprocessing: bool,
) -> Job:
    """Check that the model, its labels and the photos fit together.

    Raises:
        RequestError: they do not.
    """
    _check_labels(loaded)
    preprocessing = loaded.preprocessing
    if plan.compression is not None:
        _check_compression(loaded, plan, calibration)
    if include_preprocessing and preprocessing is None:
        raise RequestError(
            f"How images for {loaded.origin.name} are prepared is not known, so it cannot be put into the artifacts. "
            "Name it with --preprocessing (from Python: preprocessing=)."
        )
    if plan.needs_calibration and calibration is None:
        raise RequestError(
            "int8, int16x8 and int4 need photos to choose their steps with. Give --calibration-data DIR or .zip (from "
            "Python: calibration=); 100 photos like those it will see are plenty."
        )
    if preprocessing is None and (isinstance(calibration, Path) or evaluate is not None):
        raise RequestError(
            f"How photos are prepared for {loaded.origin.name} is not known. Name it with --preprocessing (from "
            "Python: preprocessing=): the weights that it was fine-tuned from, such as squeezenet/imagenet, or one of "
            "none, unit, tf, torch, caffe."
        )
    return Job(
        loaded,
        plan,
        included=preprocessing if include_preprocessing else None,
        reading=preprocessing.without_normalization if preprocessing and include_preprocessing else preprocessing,
        calibration=Photos(find_images(check_source(calibration, "calibration data")))
        if isinstance(calibration, Path)
        else _checked_inputs(calibration, loaded),
        evaluation=_labelled(evaluate, loaded) if evaluate is not None else None,
    )


def _check_compression(loaded: LoadedModel, plan: Plan, calibration: np.ndarray | Path | None) -> None:
    from export.compression import recipe
    from export.compression.coding import describe

    assert plan.compression is not None
    if calibration is None:
        raise RequestError(
            "Compression needs photos to measure which weights matter. Give --calibration-data DIR or .zip (from "
            "Python: calibration=); 100 photos like those it will see are plenty."
        )
    asked = plan.compression
    recipe.check(loaded.model, asked.sparsity, asked.bits, asked.target_bytes)
    describe(loaded)


def _check_labels(loaded: LoadedModel) -> None:
    classes = loaded.model.outputs[0].shape[-1]
    if loaded.labels is not None and len(loaded.labels) != classes:
        raise RequestError(
            f"There are {len(loaded.labels)} labels, but {loaded.origin.name} has {classes} outputs; one name a line, "
            "in the order of the outputs."
        )


def _checked_inputs(calibration: np.ndarray | None, loaded: LoadedModel) -> np.ndarray | None:
    if calibration is None:
        return None
    shape = tuple(loaded.model.inputs[0].shape[1:])
    if calibration.ndim != 4 or calibration.shape[1:] != shape or not len(calibration):
        raise RequestError(
            f"The calibration array has the shape {calibration.shape}; {loaded.origin.name} takes [n, "
            f"{', '.join(map(str, shape))}]."
        )
    return calibration.astype(np.float32)


def _labelled(folder: Path, loaded: LoadedModel) -> Photos:
    from kerascnn.data import imagenet_classes

    source = find_images(check_source(folder, "evaluation data"))
    names = tuple(name for _, name in imagenet_classes())
    wnids = [wnid for wnid, _ in imagenet_classes()] if loaded.labels == names else None
    classes = loaded.model.outputs[0].shape[-1]
    return Photos(source, tuple(labels_from_folders(source.names, loaded.labels, wnids, classes)))


def find_preprocessing(model: keras.Model, given: Preprocessing | str | None) -> Preprocessing | None:
    """The preprocessing for photos: what was given, else what the model brings, else None.

    Raises:
        RequestError: the name is unknown.
    """
    from kerascnn.build_info import build_info
    from kerascnn.photos import preprocessing

    shape = model.inputs[0].shape[1:]
    if given is None:
        info = build_info(model)
        known = info.preprocessing if info else None
        # It is that of the variant, and the model may have been built for another size.
        return known.for_size(*shape[:2]) if known and None not in shape[:2] else known
    if isinstance(given, preprocessing.Preprocessing):
        return given
    try:
        if given in preprocessing.NORMALIZATIONS:
            return preprocessing.Preprocessing.named(given, shape)
        return preprocessing.find_preprocessing(given).for_size(*shape[:2])
    except ValueError as error:
        names = ", ".join(preprocessing.NORMALIZATIONS)
        raise RequestError(f"There is no preprocessing {given!r}: take one of {names}, or weights. {error}") from None


def verification_images(job: Job, calibration: np.ndarray | None) -> tuple[np.ndarray, str]:
    """The images that every artifact is compared on, and what they are: the user's own where there are any."""
    from export.checking.parity import synthetic_images

    if job.evaluation is not None:
        return job.read(job.evaluation, VERIFICATION_PHOTOS)[0], "evaluation photos"
    if isinstance(job.calibration, Photos):
        return job.read(job.calibration, VERIFICATION_PHOTOS)[0], "calibration photos"
    if calibration is not None:
        return calibration[:VERIFICATION_PHOTOS], "calibration inputs"
    low, high = _input_range(job)
    shape = job.loaded.model.inputs[0].shape
    return synthetic_images(shape, VERIFICATION_SYNTHETIC, low=low, high=high), "synthetic images"


def _input_range(job: Job) -> tuple[float, float]:
    """The least and the greatest value that an artifact's input takes."""
    if job.reading:
        return job.reading.value_range(job.loaded.model.inputs[0].shape[-1])
    scaling = {"Rescaling", "Normalization", "PhotoPreparation"} & {
        type(layer).__name__ for layer in job.loaded.model.layers
    }
    return (0.0, 255.0) if scaling else (-2.0, 2.0)


def with_preprocessing(job: Job) -> keras.Model:
    """The model behind its normalisation, as a 1x1 convolution: one standard operator in every format."""
    if job.included is None:
        return job.loaded.model
    import keras

    model, preprocessing = job.loaded.model, job.included
    channels = model.inputs[0].shape[-1]
    order = list(range(channels))[::-1] if preprocessing.channel_order == "bgr" else list(range(channels))
    std = np.broadcast_to(np.asarray(preprocessing.std, np.float32), (channels,))
    mean = np.broadcast_to(np.asarray(preprocessing.mean, np.float32), (channels,))
    kernel = np.zeros((1, 1, channels, channels), np.float32)
    kernel[0, 0, order, range(channels)] = 1 / std
    layer = keras.layers.Conv2D(channels, 1, data_format="channels_last", name="image_normalization")
    image = keras.Input(model.inputs[0].shape[1:], name="images")
    wrapped = keras.Model(image, model(layer(image)), name=model.name)
    layer.set_weights([kernel, -mean / std])
    return wrapped


def described(photos: Any, skipped: int, **more: Any) -> dict[str, Any] | None:
    """What the manifest says of photos; None where there were none."""
    if photos is None:
        return None
    if isinstance(photos, np.ndarray):
        return {"source": "array", "photos": len(photos), "skipped": 0, **more}
    return {"source": photos.source.path.name, "photos": len(photos.source.names), "skipped": skipped, **more}
