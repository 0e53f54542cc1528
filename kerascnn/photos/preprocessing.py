"""What an image goes through before a network, bound to the weights that were trained with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kerascnn import registry
from kerascnn.build_info import build_info
from kerascnn.photos import images
from kerascnn.registry import Variant, WeightsRecord

if TYPE_CHECKING:
    import keras
    from PIL import Image

# name: (channel order, mean, standard deviation), in that channel order and on the scale 0 to 255
_NORMALIZATIONS: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "none": ("rgb", (0.0,), (1.0,)),
    "unit": ("rgb", (0.0,), (255.0,)),
    "tf": ("rgb", (127.5,), (127.5,)),
    "torch": ("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ("bgr", (103.939, 116.779, 123.68), (1.0,)),
}
NORMALIZATIONS = tuple(_NORMALIZATIONS)
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
CHANNEL_ORDERS = ("rgb", "bgr", "gray")


@dataclass(frozen=True)
class Preprocessing:
    """From a photo to a network's input: resize, center crop, channel order, then (x - mean) / std on 0 to 255.

    Attributes:
        resize: (height, width) in pixels, or one number for the shorter side, or None.
        crop: (height, width) of the center crop, or None.
        interpolation: "bilinear", "bicubic" or "nearest", as Pillow does them (with antialiasing).
        channel_order: The channel order of the network's input: "rgb", "bgr", or "gray" for one channel.
        mean: One value a channel in that order, or one for all, on the scale 0 to 255.
        std: As `mean`.

    Raises:
        ValueError: A field is none of these.
    """

    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    channel_order: str = "rgb"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, allowed in (("interpolation", INTERPOLATIONS), ("channel_order", CHANNEL_ORDERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}; it is {getattr(self, name)!r}.")
        if not (self.resize is None or _is_side(self.resize) or _is_size(self.resize)):
            raise ValueError(f"resize is (height, width), a number for the shorter side, or None: {self.resize!r}.")
        if not (self.crop is None or _is_size(self.crop)):
            raise ValueError(f"crop is (height, width) or None; it is {self.crop!r}.")
        if not (_are_numbers(self.mean) and _are_numbers(self.std) and all(self.std)):
            raise ValueError(f"mean and std are numbers, one or one a channel, std not 0: {self.mean!r}, {self.std!r}.")

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """Make one of fields as TOML and JSON hold them, with lists for tuples.

        Raises:
            ValueError, TypeError: There is no such field, or its value is not allowed.
        """
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        return cls(**values)

    @classmethod
    def from_record(cls, record: WeightsRecord | Variant) -> Preprocessing:
        """Read the preprocessing that trained weights were made with, or that a variant's paper describes."""
        return cls.from_fields(record.preprocessing or {})

    @classmethod
    def default(cls, input_shape: tuple[int | None, ...]) -> Preprocessing:
        """Make one for networks that nobody has trained yet: centered and scaled by ImageNet's statistics."""
        return cls.named("torch" if input_shape[-1] == 3 else "unit", input_shape)

    @classmethod
    def named(cls, name: str, input_shape: tuple[int | None, ...]) -> Preprocessing:
        """Make one with a usual normalization after resizing the whole photo: none, unit, tf, torch or caffe.

        Raises:
            ValueError: There is no normalization of that name.
        """
        if name not in _NORMALIZATIONS:
            raise ValueError(f"There is no preprocessing named {name!r}. The names are: {', '.join(NORMALIZATIONS)}.")
        order, mean, std = _NORMALIZATIONS[name]
        height, width, channels = input_shape
        size = (height, width) if height and width else None
        return cls(resize=size, channel_order="gray" if channels == 1 else order, mean=mean, std=std)

    @property
    def without_normalization(self) -> Preprocessing:
        """The same resizing and cropping, but RGB (or gray) from 0 to 255 as the result."""
        order = "gray" if self.channel_order == "gray" else "rgb"
        return replace(self, channel_order=order, mean=(0.0,), std=(1.0,))

    def for_channels(self, channels: int) -> Preprocessing:
        """Return the same for one channel instead of three: gray, with the average of the three means and deviations.

        Gray becomes RGB for three channels. For any other number it stays as it is: only the caller knows what the
        other channels hold.
        """
        if channels == 3 and self.channel_order == "gray":
            return replace(self, channel_order="rgb")
        if channels != 1 or self.channel_order == "gray":
            return self
        return replace(
            self,
            channel_order="gray",
            mean=(sum(self.mean) / len(self.mean),),
            std=(sum(self.std) / len(self.std),),
        )

    def for_size(self, height: int, width: int) -> Preprocessing:
        """Return the same for another input size, with the same part of the photo cropped away."""
        if self.crop is None:
            return replace(self, resize=(height, width) if self.resize is not None else None)
        scale = (height / self.crop[0], width / self.crop[1])
        resize: tuple[int, int] | int | None = self.resize
        if isinstance(resize, tuple):
            resize = (round(resize[0] * scale[0]), round(resize[1] * scale[1]))
        elif resize is not None:
            resize = round(resize * max(scale))
        return replace(self, resize=resize, crop=(height, width))

    def checked(self, shape: tuple[int | None, ...]) -> Preprocessing:
        """Return it as it is, where it gives an image of this shape.

        Args:
            shape: (height, width, channels); sides may be None.

        Raises:
            ValueError: It gives another size, or has another number of means or deviations than there are channels.
        """
        size, (height, width, channels) = self.crop or self.resize, shape
        if height and width and size is not None and size != (height, width):
            given = f"{size[0]}x{size[1]}" if isinstance(size, tuple) else f"a shorter side of {size} and no crop"
            raise ValueError(
                f"The preprocessing gives images of {given}, the network takes {height}x{width}. Give a crop of that "
                "size (--crop), or resize the whole photo to it (--resize whole)."
            )
        for name, numbers in (("means", self.mean), ("deviations", self.std)):
            if len(numbers) not in (1, channels):
                raise ValueError(
                    f"There are {len(numbers)} {name} for {channels} channels; give one, or one a channel."
                )
        return self

    @property
    def words(self) -> str:
        """What it does, in words for messages: "shorter side to 256, center 224x224, RGB, minus 127.5, by 127.5"."""
        parts = []
        if isinstance(self.resize, tuple):
            parts.append(f"whole photo to {self.resize[0]}x{self.resize[1]}")
        elif self.resize is not None:
            parts.append(f"shorter side to {self.resize}")
        if self.crop is not None:
            parts.append(f"center {self.crop[0]}x{self.crop[1]}")
        parts.append(self.channel_order if self.channel_order == "gray" else self.channel_order.upper())
        parts += [f"minus {_listed(self.mean)}"] if any(self.mean) else []
        parts += [f"divided by {_listed(self.std)}"] if set(self.std) != {1.0} else []
        return ", ".join(parts)

    def value_range(self, channels: int) -> tuple[float, float]:
        """Return the least and the greatest value of a network's input."""
        ends = [self.normalize(np.full((1, 1, channels), value, np.float32)) for value in (0.0, 255.0)]
        return float(np.min(ends)), float(np.max(ends))

    def normalize(self, pixels: Any) -> np.ndarray:
        """Bring RGB (or gray) images from 0 to 255 to channel order, mean and scale.

        Args:
            pixels: Shape (..., height, width, channels).

        Returns:
            float32 of the same shape.
        """
        x = np.asarray(pixels)
        x = np.array(x[..., ::-1] if self.channel_order == "bgr" else x, np.float32, order="C")
        # Row by row: numpy is several times slower where what it repeats is three numbers long.
        rows = x.reshape(*x.shape[:-2], -1)
        for operation, numbers, neutral in ((np.subtract, self.mean, 0), (np.divide, self.std, 1)):
            channels = np.broadcast_to(np.asarray(numbers, np.float32), x.shape[-1:])
            if (channels != neutral).any():
                operation(rows, np.tile(channels, x.shape[-2]), out=rows)
        return x

    def load(self, image: Image.Image) -> np.ndarray:
        """Turn an opened photo of any kind into the network's input, float32 of shape (height, width, channels)."""
        from PIL import Image

        image = images.upright(image, "L" if self.channel_order == "gray" else "RGB")
        method = Image.Resampling[self.interpolation.upper()]
        if self.crop is not None and isinstance(self.resize, int):
            image = images.middle(image)
        if isinstance(self.resize, tuple):
            image = image.resize((self.resize[1], self.resize[0]), method)
        elif self.resize is not None:
            # The longer side is cut to a whole number of pixels, as torchvision and timm do it.
            short = min(image.size)
            width, height = (int(self.resize * side / short) for side in image.size)
            image = image.resize((width, height), method)
        if self.crop is not None:
            top = round((image.height - self.crop[0]) / 2)
            left = round((image.width - self.crop[1]) / 2)
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = np.asarray(image)
        return self.normalize(pixels[..., None] if pixels.ndim == 2 else pixels)


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_side, value))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(number, int | float) for number in value)


def _listed(numbers: tuple[float, ...]) -> str:
    return "/".join(f"{number:g}" for number in numbers)


def find_preprocessing(source: keras.Model | str | WeightsRecord | Preprocessing) -> Preprocessing:
    """Find the preprocessing of a model that kerascnn built, of a weights record or of a weights name.

    Raises:
        ValueError: It is not known.
    """
    if isinstance(source, Preprocessing):
        return source
    if isinstance(source, WeightsRecord):
        return Preprocessing.from_record(source)
    if isinstance(source, str):
        if source in NORMALIZATIONS:
            return Preprocessing.named(source, (None, None, 3))
        variant, _, weights = source.partition("/")
        if variant not in registry.variants():
            raise ValueError(
                f"There is no preprocessing {source!r}. Take a normalization ({', '.join(NORMALIZATIONS)}), or the "
                'name of weights, such as "squeezenet/imagenet".'
            )
        records = registry.variant(variant).weights
        names = ", ".join(record.full_name for record in records) or "none"
        records = tuple(record for record in records if weights in ("", record.name, *record.aliases))
        if len(records) != 1:
            raise ValueError(f"{source!r} does not name one set of weights. Those of {variant}: {names}.")
        return Preprocessing.from_record(records[0])
    known = known_preprocessing(source)
    if known is None:
        raise ValueError(
            f"How images for the model {getattr(source, 'name', source)!r} are prepared is not known: it was not built "
            "by kerascnn, or was saved as a .h5 file. Give the name of the weights it was trained from, such as "
            '"squeezenet/imagenet".'
        )
    return known


def known_preprocessing(model: keras.Model) -> Preprocessing | None:
    """Return the preprocessing that a model brings, for its own input size; None where it brings none."""
    info = build_info(model)
    if info is None or info.preprocessing is None:
        return None
    height, width = model.inputs[0].shape[1:3]
    return info.preprocessing.for_size(height, width) if height and width else info.preprocessing
