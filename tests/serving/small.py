"""A small network that takes photos, and photos for it."""

from __future__ import annotations

import io

import numpy as np

CLASSES = ("red", "green", "blue", "yellow", "cyan", "magenta", "gray")
SIDE = 16


def photo(height: int = 40, width: int = 50, seed: int = 0):
    """A Pillow image of soft coloured shapes, as photos have them."""
    from PIL import Image

    from export.checking.parity import synthetic_images

    pixels = synthetic_images((None, height, width, 3), 1, seed=seed, low=0.0, high=255.0)[0]
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def encoded(image, kind: str = "JPEG", **options) -> bytes:
    """A Pillow image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def small_model(channels: int = 3, activation: str | None = "softmax", top: bool = True, seed: int = 1):
    """A network of two layers whose answers depend on colours and on where they are."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, channels), name="photo")
    x = keras.layers.Conv2D(8, 5, strides=3, activation="relu", name="conv")(image)
    if top:
        x = keras.layers.Dense(len(CLASSES), activation=activation, name="classes")(keras.layers.Flatten()(x))
    return keras.Model(image, x, name="small")


def small_preprocessing(channels: int = 3):
    """Every step that there is: the short side, a crop, the channel order, mean and deviation."""
    from kerascnn.photos.preprocessing import Preprocessing

    if channels == 1:
        return Preprocessing(20, (SIDE, SIDE), "bicubic", "gray", (127.5,), (127.5,))
    return Preprocessing(20, (SIDE, SIDE), "bilinear", "bgr", (104.0, 117.0, 123.0), (58.0, 57.0, 56.0))


def write_model(folder, model, preprocessing=None, labels=None, output_name: str = "probabilities"):
    """Write the SavedModel of `model` into `folder`, check it as an export does, and load it."""
    from export.checking.photo_signatures import check_photo_signatures
    from export.formats.saved_model import open_saved_model, write_saved_model
    from export.tracing.graph import trace

    write_saved_model(trace(model, output_name=output_name), folder, preprocessing=preprocessing, labels=labels)
    runtime = open_saved_model(folder)
    check_photo_signatures(runtime, folder, preprocessing, labels)
    return runtime.module
