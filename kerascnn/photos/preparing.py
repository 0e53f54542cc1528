"""From photos of any size to what one network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.photos import images
from kerascnn.photos.choosing import PreprocessingChoice
from kerascnn.photos.files import PhotosError
from kerascnn.photos.gathering import CHANNELS, Photo, gather, split
from kerascnn.photos.preprocessing import NORMALIZATIONS, Preprocessing, find_preprocessing
from kerascnn.registry import WeightsRecord

if TYPE_CHECKING:
    import keras

Given = Preprocessing | PreprocessingChoice | str | None  # how photos are prepared, as users say it


@dataclass(frozen=True)
class Preparation:
    """How photos become the input of one network.

    Attributes:
        preprocessing: For its own size.
        size: (height, width) of its input; None where it takes any.
        channels_first: Whether its input is (channels, height, width).
    """

    preprocessing: Preprocessing
    size: tuple[int, int] | None = None
    channels_first: bool = False

    @classmethod
    def for_input(
        cls, shape: tuple[int | None, ...], known: Preprocessing | None, given: Given, name: str
    ) -> Preparation:
        """Fit a preprocessing to an input (height, width, channels) or (channels, height, width).

        Args:
            shape: The shape of the input without the batch.
            known: What the model brings, for its own size; None where it brings nothing.
            given: What the user says instead.
            name: What messages call the model.

        Raises:
            ValueError: It is not the input of photos, what is given does not fit it, or nothing is known.
        """
        first = len(shape) == 3 and shape[-1] not in (1, 3) and shape[0] in (1, 3)
        height, width, channels = (*shape[1:], shape[0]) if first else shape if len(shape) == 3 else (None, None, None)
        if channels not in (1, 3):
            raise ValueError(f"{name} takes inputs of shape {tuple(shape)}, which are no photos: gray or RGB.")
        if isinstance(given, str):
            given = PreprocessingChoice(named=given)
        if isinstance(given, PreprocessingChoice):
            known = given.resolve((height, width, channels), known)
        elif given is not None:
            known = given.checked((height, width, channels))
        if known is None:
            raise ValueError(
                f"How photos are prepared for {name} is not known: it does not say. Give --preprocessing (from Python: "
                f"preprocessing=): the weights that it was trained from, such as squeezenet/imagenet, or one of "
                f"{', '.join(NORMALIZATIONS)}."
            )
        known = known.for_channels(channels)
        if not height or not width:
            return cls(known, None, first)
        if known.resize is None and known.crop is None:
            known = replace(known, resize=(height, width))
        return cls(known, (height, width), first)

    @property
    def gray(self) -> bool:
        """Whether the network takes gray photos."""
        return self.preprocessing.channel_order == "gray"

    def prepare(self, photo: Photo) -> np.ndarray:
        """Read a photo, and resize, crop and normalize it. An array that fits is only normalized.

        Raises:
            PhotosError: It cannot be read.
            ValueError: The values of an array are not those of a photo.
        """
        prepared = None if photo.array is None else self.normalized(photo.array)
        if prepared is not None:
            return prepared
        as_it_is = photo.array is not None and self.size is None
        loading = replace(self.preprocessing, resize=None, crop=None) if as_it_is else self.preprocessing
        return self._ordered(loading.load(photo.open()))

    def normalized(self, pixels: np.ndarray) -> np.ndarray | None:
        """Normalize an array (..., height, width, channels) of the network's size; None where it has another.

        Raises:
            ValueError: The values are not those of a photo.
        """
        if pixels.ndim == 2 or (self.gray and pixels.ndim == 3 and pixels.shape[-1] not in CHANNELS):
            pixels = pixels[..., None]
        fits = self.size in (None, pixels.shape[-3:-1]) and pixels.shape[-1] in ((1,) if self.gray else (1, 3))
        if not fits:
            return None
        if pixels.dtype.kind == "f":
            images.check_values(pixels)
        else:
            pixels = images.eight_bits(pixels)
        shape = pixels.shape if self.gray else (*pixels.shape[:-1], 3)
        return self._ordered(self.preprocessing.normalize(np.broadcast_to(pixels, shape)))

    def _ordered(self, prepared: np.ndarray) -> np.ndarray:
        return np.moveaxis(prepared, -1, -3) if self.channels_first else prepared


def preparation(source: keras.Model | str | WeightsRecord | Preprocessing) -> Preparation:
    """Find how photos become the input of a model, or of any network with such weights.

    Raises:
        ValueError: It is not known.
    """
    known = find_preprocessing(source)
    if isinstance(source, str | WeightsRecord | Preprocessing):
        return Preparation(known)
    return Preparation.for_input(tuple(source.inputs[0].shape[1:]), known, None, source.name)


def preprocess_input(photos: Any, model: keras.Model | str | WeightsRecord | Preprocessing) -> np.ndarray:
    """Turn photos into what a network takes: size, channel order, mean and scale.

    An array that has the network's size is only normalized, as in keras.applications; any other photo is resized and
    cropped as the network's weights want it. Where the model takes any size, or only the name of weights is given, no
    array is resized.

    Args:
        photos: A path, a folder, a zip, the bytes of a file, a Pillow image, an array of values from 0 to 255, or a
            list of any of these. An array is one photo (height, width) or (height, width, channels), or several
            (photos, height, width, channels); for gray networks also (photos, height, width).
        model: A model that remembers its preprocessing, or the name of weights such as "squeezenet/imagenet".

    Returns:
        float32 array of shape (photos, height, width, channels), also for one photo.

    Raises:
        ValueError: A photo cannot be read, the photos do not have one size and the network does not say which, or the
            preprocessing of the model is not known.
        TypeError: Something is not a photo.
    """
    known = preparation(model)
    if isinstance(photos, np.ndarray) and photos.ndim == 4:
        whole = known.normalized(np.asarray(split(photos)))
        if whole is not None:
            return whole
    prepared = []
    for photo in gather(photos, known.gray):
        try:
            prepared.append(known.prepare(photo))
        except PhotosError as error:
            raise PhotosError(f"{photo.name} cannot be read: {error}") from error
    sizes = list(dict.fromkeys(f"{pixels.shape[0]}x{pixels.shape[1]}" for pixels in prepared))
    if len(sizes) > 1:
        raise PhotosError(
            f"Photos of {' and '.join(sizes[:2])} make no batch, and this network takes any size. Resize them to one "
            "size, or prepare each by itself."
        )
    return np.stack(prepared)
