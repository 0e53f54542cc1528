"""One photo, from the ways in which programs hold it to an upright Pillow image of 8 bits a channel."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_OVERSHOOT = 16  # how far resampled photos in floats may lie beyond 0 and 255
_BOUNDED = 20  # sides of more than 1 to this are cut to it where only the middle is wanted


def decode(content: bytes) -> Image.Image:
    """Decode an image file; of several frames, the first. See `files.unreadable` for what a damaged file raises."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def upright(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """Turn a photo as its EXIF says, and convert it to 8 bits, gray or RGB. Transparency is left out.

    Raises:
        ValueError: Its values are not those of a photo.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # more than 8 bits, where Pillow would cut off what is above 255
        image = Image.fromarray(eight_bits(np.asarray(image)))
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of transparency
    return image.convert(mode)


def middle(image: Image.Image) -> Image.Image:
    """Cut the ends off an extremely long photo: resizing all of it would take thousands of times its own memory."""
    short = min(image.size)
    if max(image.size) <= _BOUNDED * short:
        return image
    width, height = (min(side, _BOUNDED * short) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def thumbnail(image: Image.Image, side: int = 288) -> str:
    """Make a photo small enough for a page, as a data URI."""
    small = upright(image, "RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def from_array(pixels: np.ndarray) -> Image.Image:
    """Make an image of an array (height, width) or (height, width, channels) with 1, 3 or 4 channels.

    Raises:
        ValueError: Its values are not those of a photo.
    """
    from PIL import Image

    values = eight_bits(pixels)
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[2:] == (1,) else values))


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Bring the values of a photo to uint8: 0 to 255 of any type, or 16 bits (the higher 8 are kept), or booleans.

    Raises:
        ValueError: The values are not those of a photo.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    _, greatest = check_values(values)
    if values.dtype.kind in "ui":
        return (values >> 8 if greatest > 255 else values).astype(np.uint8)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def check_values(values: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest value of a photo.

    Raises:
        ValueError: They tell that these are not the values of a photo, but scaled or normalized ones.
    """
    if values.dtype.kind not in "buif" or not values.size:
        raise ValueError(f"An array of shape {values.shape} and type {values.dtype} is no photo.")
    least, greatest = float(values.min()), float(values.max())
    whole = values.dtype.kind != "f"
    beyond = least < 0 or greatest > 65535 if whole else not -_OVERSHOOT <= least <= greatest <= 255 + _OVERSHOOT
    if beyond or (0 < greatest <= 1 and not whole and bool((values % 1).any())):
        raise ValueError(
            f"The values of a photo go from 0 to 255; these go from {least:.4g} to {greatest:.4g}, as if they were "
            "scaled or normalized already. Give the photo as it was before."
        )
    return least, greatest
