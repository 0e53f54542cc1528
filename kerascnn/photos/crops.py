"""One answer from many views of a photo: the ten crops, 144 crops and dense scales of ILSVRC's winners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from kerascnn.photos.preprocessing import Preprocessing, find_preprocessing
from kerascnn.surgery.logits import ending

if TYPE_CHECKING:
    from PIL import Image

Crops = Literal["centre", "ten", "144"]

# Szegedy et al. 2014 (arXiv:1409.4842, section 7): shorter sides for crops of 224 pixels
GOOGLENET_SIDES = (256, 288, 320, 352)
# He et al. 2015 (arXiv:1512.03385, section 3.4)
RESNET_SIDES = (224, 256, 384, 480, 640)


def ten_crops(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Cut the four corners and the center of an image, and mirror these five (Krizhevsky et al. 2012, section 4.1).

    Args:
        image: (height, width, channels).
        size: The size of the crops, (height, width) or one number for both.

    Returns:
        (10, *size, channels): top left, top right, bottom left, bottom right, center, then their mirror images.

    Raises:
        ValueError: The image is smaller than the crops.
    """
    height, width = (size, size) if isinstance(size, int) else size
    down, right = image.shape[0] - height, image.shape[1] - width
    if down < 0 or right < 0:
        raise ValueError(
            f"Crops of {height}x{width} do not fit into an image of {image.shape[0]}x{image.shape[1]}; resize it first."
        )
    corners = [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]
    return _with_mirrored([image[top : top + height, left : left + width] for top, left in corners])


def googlenet_crops(photo: Image.Image, size: int = 224, preprocessing: Preprocessing | None = None) -> np.ndarray:
    """GoogLeNet's 144 crops (section 7): 4 scales x 3 squares x 6 crops x 2 mirror images.

    The shorter side is resized to 256, 288, 320 and 352 (for other crops than 224, in proportion); of each the left,
    center and right square is taken (top, center and bottom of an upright photo); of each square the four corners, the
    center and the whole square resized.

    Args:
        photo: A photo of any size.
        size: Side of the crops.
        preprocessing: Says how to interpolate, and whether in gray; bilinear in RGB by default.

    Returns:
        (144, size, size, channels) from 0 to 255: by scale, then square, then the six crops and the six mirrored.
    """
    reading = (preprocessing or Preprocessing()).without_normalization
    crops = []
    for side in GOOGLENET_SIDES:
        pixels = replace(reading, resize=round(side * size / 224), crop=None).load(photo)
        short, long = sorted(pixels.shape[:2])
        for start in (0, round((long - short) / 2), long - short):
            across = pixels.shape[1] >= pixels.shape[0]
            square = pixels[:, start : start + short] if across else pixels[start : start + short]
            whole = replace(reading, resize=(size, size), crop=None).load(_to_photo(square))
            crops.append(_with_mirrored([*ten_crops(square, size)[:5], whole]))
    return np.concatenate(crops)


def predict_crops(
    model: keras.Model,
    photos: Image.Image | np.ndarray | Iterable[Image.Image | np.ndarray],
    crops: Crops = "ten",
    *,
    preprocessing: Preprocessing | str | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Average the probabilities of a model over crops of each photo.

    Ten crops are cut from what the preprocessing cuts its one crop from; where it leaves no margin, from a photo whose
    shorter side is 256/224 of the crop's.

    Args:
        model: A classifier with one image input, ending in a softmax or in logits.
        photos: One, or several: Pillow images, or arrays (height, width, 3) of bytes; any size.
        crops: "centre" for the usual single crop, "ten", or "144" (see `googlenet_crops`).
        preprocessing: As `preprocess_input` takes it; what the model brings by default.
        batch_size: How many crops the model answers at a time.

    Returns:
        (classes,) for one photo, (photos, classes) for several.

    Raises:
        ValueError: `crops` is not one of these; the preprocessing or the model's size is not known.
    """
    known, size = _prepared(model, preprocessing)
    if crops not in ("centre", "ten", "144"):
        raise ValueError(f'crops must be "centre", "ten" or "144"; it is {crops!r}.')
    if crops == "144" and size[0] != size[1]:
        raise ValueError(f"The 144 crops are square, but {model.name} takes {size[0]}x{size[1]}.")

    def cut(photo: Image.Image) -> np.ndarray:
        if crops == "144":
            return known.normalize(googlenet_crops(photo, size[0], known))
        if crops == "centre":
            return known.load(photo)[None]
        return ten_crops(replace(known, resize=_margin(known, size), crop=None).load(photo), size)

    single, pictures = _pictures(photos)
    count = {"centre": 1, "ten": 10, "144": 144}[crops]
    at_once = max(1, batch_size // count)
    means = []
    for start in range(0, len(pictures), at_once):
        views = np.concatenate([cut(photo) for photo in pictures[start : start + at_once]])
        answers = _probabilities(model, views, batch_size)
        means.append(answers.reshape(-1, count, answers.shape[-1]).mean(axis=1))
    return means[0][0] if single else np.concatenate(means)


def predict_scales(
    model: keras.Model,
    photos: Image.Image | np.ndarray | Iterable[Image.Image | np.ndarray],
    sides: Sequence[int] = RESNET_SIDES,
    *,
    mirror: bool = True,
    preprocessing: Preprocessing | str | None = None,
) -> np.ndarray:
    """Average the probabilities of a model over whole photos, uncropped, in several sizes.

    This is the dense evaluation of VGG and ResNet: the model sees every place of the photo and averages its scores.

    Args:
        model: A classifier whose sides are None: one that ends in global pooling, built with
            input_shape=(None, None, 3), or what `kerascnn.surgery.convolutional.fully_convolutional` makes.
        photos: As for `predict_crops`.
        sides: What the shorter side of the photo is resized to, one after another; VGG's are 256, 384 and 512.
        mirror: Answer each mirror image as well.
        preprocessing: As for `predict_crops`.

    Returns:
        (classes,) for one photo, (photos, classes) for several.

    Raises:
        ValueError: The model has a fixed size, there are no sides, or the preprocessing is not known.
    """
    known = find_preprocessing(model if preprocessing is None else preprocessing)
    shape = tuple(model.inputs[0].shape)
    if shape[1:3] != (None, None):
        raise ValueError(
            f"{model.name} takes {shape[1]}x{shape[2]} only. Build it with input_shape=(None, None, {shape[3]}), or, "
            "where its classifier is fully connected, take kerascnn.surgery.convolutional.fully_convolutional(model)."
        )
    if not sides:
        raise ValueError("sides must name at least one size for the shorter side of a photo.")
    single, pictures = _pictures(photos)
    means = []
    for photo in pictures:
        answers = []
        for side in sides:
            pixels = replace(known, resize=side, crop=None).load(photo)
            views = _with_mirrored([pixels]) if mirror else pixels[None]
            answers.append(_probabilities(model, views, len(views)))
        means.append(np.concatenate(answers).mean(axis=0))
    return means[0] if single else np.stack(means)


def _prepared(model: keras.Model, given: Preprocessing | str | None) -> tuple[Preprocessing, tuple[int, int]]:
    """Return the preprocessing for the model's own input size, and that size."""
    known = find_preprocessing(model if given is None else given)
    height, width = model.inputs[0].shape[1:3]
    if height and width:
        return known.for_size(height, width), (height, width)
    size = known.crop or known.resize
    if not isinstance(size, tuple):
        raise ValueError(f"{model.name} takes any size, and its preprocessing names none; give preprocessing=.")
    return known, size


def _margin(known: Preprocessing, size: tuple[int, int]) -> int | tuple[int, int]:
    """Return what ten crops of `size` resize the photo to."""
    resize = known.resize
    short = min(resize) if isinstance(resize, tuple) else resize
    if resize is not None and known.crop is not None and short is not None and short > max(size):
        return resize
    return round(max(size) * 256 / 224)


def _pictures(photos: Any) -> tuple[bool, list[Image.Image]]:
    """Return whether it is a single photo, and the photos as Pillow images."""
    from PIL import Image

    single = isinstance(photos, Image.Image) or (isinstance(photos, np.ndarray) and photos.ndim in (2, 3))
    pictures = [
        photo if isinstance(photo, Image.Image) else _to_photo(photo) for photo in ([photos] if single else photos)
    ]
    if not pictures:
        raise ValueError("There are no photos.")
    return single, pictures


def _to_photo(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    pixels = np.asarray(pixels).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)


def _with_mirrored(crops: Sequence[np.ndarray]) -> np.ndarray:
    straight = np.stack(crops)
    return np.concatenate([straight, straight[:, :, ::-1]])


def _probabilities(model: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    answers = np.concatenate([np.asarray(model.predict_on_batch(batch), np.float64) for batch in batches])
    if ending(model) == "logits":
        answers = np.exp(answers - answers.max(axis=-1, keepdims=True))
        answers /= answers.sum(axis=-1, keepdims=True)
    return answers
