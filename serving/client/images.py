"""Images from any source, as the JPEG or PNG bytes that are sent."""

from __future__ import annotations

import io
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.client.errors import UnreadableImageError

if TYPE_CHECKING:
    Image = str | PathLike[str] | bytes | np.ndarray

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_JPEG_QUALITY = 95


def to_bytes(image: Image, *, lossless: bool = False) -> bytes:
    """Return an image as a JPEG or PNG file.

    Args:
        image: A path, the bytes of a file, or an array: uint8 [h, w, 3] (RGB), [h, w, 1] or [h, w] (gray). JPEG and PNG
            files are sent as they are; other formats that Pillow reads become PNG.
        lossless: Send arrays as PNG, which is exact and several times larger, rather than as JPEG.

    Raises:
        UnreadableImageError: The file is missing, or the data is not an image.
    """
    if isinstance(image, np.ndarray):
        return _encode(image, "PNG" if lossless else "JPEG")
    if isinstance(image, (bytes, bytearray, memoryview)):
        data, name = bytes(image), "the image"
    elif isinstance(image, (str, PathLike)):
        name = fspath(image)
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise UnreadableImageError(f"{name} cannot be read: {error.strerror or error}.") from error
    else:
        raise UnreadableImageError(f"An image is a path, bytes or an array; this is a {type(image).__name__}.")
    return data if data.startswith(_MAGIC) else _convert(data, name)


def _encode(array: np.ndarray, kind: str) -> bytes:
    from PIL import Image

    shape = array.shape
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3)):
        raise UnreadableImageError(
            f"An array is uint8 [h, w, 3] (RGB) or [h, w] (gray), 0 to 255; this one is {array.dtype} {list(shape)}."
        )
    if 0 in shape:
        raise UnreadableImageError(f"This image is empty: {list(shape)}.")
    file = io.BytesIO()
    picture = Image.fromarray(array[..., 0] if array.ndim == 3 and shape[2] == 1 else array)
    # 4:4:4: Pillow's default halves the resolution of the colors.
    picture.save(file, kind, **({"quality": _JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {}))
    return file.getvalue()


def _convert(data: bytes, name: str) -> bytes:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except Exception as error:  # Pillow's decoders raise many kinds
        raise UnreadableImageError(f"{name} is not an image that can be read: {str(error)[:200]}") from error
    return _encode(np.asarray(upright), "PNG")
