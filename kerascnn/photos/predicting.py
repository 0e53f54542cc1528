"""From photos to the names of what they show."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.build_info import build_info
from kerascnn.data import imagenet_classes
from kerascnn.photos.classifying import Answer, classifier
from kerascnn.photos.files import PhotosError
from kerascnn.photos.gathering import Photo, gather
from kerascnn.photos.opening import open_classifier

if TYPE_CHECKING:
    import keras

    from kerascnn.photos.preparing import Given

logger = logging.getLogger("kerascnn")


def predict(
    model: keras.Model | str | os.PathLike[str],
    photos: Any,
    top: int = 5,
    *,
    preprocessing: Given = None,
    labels: Sequence[str] | None = None,
) -> list[Answer]:
    """Name what photos show.

    Args:
        model: A classifier, or the path of one: a .keras, .kdc, .tflite or .onnx file, a SavedModel or an export.
        photos: A path, a folder, a zip, the bytes of a file, a Pillow image, an array of values from 0 to 255, or a
            list of any of these; see `preprocess_input`. Sizes and kinds may differ.
        top: How many classes to name for each photo.
        preprocessing: How photos are prepared, or the name of weights or of a normalization; the model's own by
            default.
        labels: Class names in the order of the outputs; the model's own by default, else "class 0" and so on.

    Returns:
        An answer for each photo. Files of a folder or a zip that cannot be read are left out, with a warning in the
        log `kerascnn`.

    Raises:
        ValueError: A photo that was given by itself cannot be read, there is none, or the model is no classifier of
            photos or does not know how they are prepared.
        TypeError: Something is not a photo.
    """
    if isinstance(model, str | os.PathLike):
        asked = open_classifier(os.fspath(model), preprocessing=preprocessing, labels=labels)
    else:
        asked = classifier(model, preprocessing, labels)

    def skip(photo: Photo, reason: str) -> None:
        if photo.named:
            raise PhotosError(f"{photo.name} cannot be read: {reason}")
        logger.warning("%s is left out: %s", photo.name, reason)

    gathered = gather(photos, asked.preparation.gray, lambda name, why: logger.warning("%s is left out: %s", name, why))
    answers = [answer for _, answer in asked.answers(gathered, top, skip)]
    if not answers:
        raise PhotosError(f"None of the {len(gathered)} photos can be read.")
    return answers


def decode_predictions(
    probabilities: Any, top: int = 5, *, model: keras.Model | None = None
) -> list[list[tuple[str, str, float]]]:
    """Name the most probable classes of each image.

    Args:
        probabilities: Shape (batch, classes).
        top: How many to return for each image; all where there are fewer.
        model: Where the classes are not ImageNet's: the model that answered, which remembers their names.

    Returns:
        For each image a list of (WordNet id, class name, probability), most probable first. Classes of one's own have
        their number as the id.

    Raises:
        ValueError: The shape is another one, `top` is less than 1, or the model does not know its classes.
    """
    array = np.asarray(probabilities)
    classes = imagenet_classes()
    if model is not None:
        info = build_info(model)
        names = info.class_names(array.shape[-1]) if info is not None and array.ndim else None
        if names is None:
            raise ValueError(f"The model {model.name!r} does not know the names of {array.shape[-1:]} classes.")
        if names != tuple(name for _, name in classes):
            classes = tuple((str(i), name) for i, name in enumerate(names))
    if array.ndim != 2 or array.shape[1] != len(classes):
        hint = "" if model is not None else " For a model's own classes, give model=."
        raise ValueError(
            f"Probabilities of {len(classes):,} classes have the shape (batch, {len(classes)}); these have "
            f"{array.shape}.{hint}"
        )
    if top < 1:
        raise ValueError(f"top is how many classes are named, at least 1; it is {top}.")
    order = np.argsort(-array, axis=1, kind="stable")[:, :top]
    return [[(*classes[i], float(row[i])) for i in best] for row, best in zip(array, order, strict=True)]
