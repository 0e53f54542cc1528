"""Photos in a folder or a zip, each in a folder named after its class, and what a recipe cuts from them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kerascnn.photos.files import PhotoFiles, PhotosError, find_photos, reason, unreadable
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training.recipes import Augmentation

PARTS = {"train": ("train", "training"), "test": ("test", "val", "validation")}


class Photos(PhotoFiles):
    """Photos, each in a folder named after its class."""

    @classmethod
    def find(cls, path: Path) -> Photos:
        """List the photos of a folder or zip, at any depth, in the order of their names.

        Raises:
            PhotosError: There is none, or one is not in a folder.
        """
        files = find_photos(path)
        loose = [name for name in files.names if "/" not in name]
        if loose:
            raise PhotosError(
                f"{loose[0]!r} lies directly in {path}, so its class is not known. Put each image into a folder "
                "named after its class."
            )
        return cls(path, files.names, files.archive, others=files.others)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folder of each photo, which is its class."""
        return tuple(name.split("/")[-2] for name in self.names)

    def parts(self) -> dict[str, Photos]:
        """Divide the photos by folders named train and test above those of the classes; empty without a train part."""
        names: dict[str, list[str]] = {}
        for name in self.names:
            folders = {folder.lower() for folder in name.split("/")[:-2]}
            for part in (part for part, known in PARTS.items() if folders.intersection(known)):
                names.setdefault(part, []).append(name)
        if "train" not in names:
            return {}
        return {
            part: Photos(self.path, tuple(chosen), self.archive, others=self.others if part == "train" else ())
            for part, chosen in names.items()
        }

    def read(self, name: str, size: Preprocessing) -> np.ndarray:
        """Read a photo as `size` says, as uint8; see `unreadable` for what a damaged file raises."""
        with Image.open(io.BytesIO(self.open(name))) as image:
            return size.load(image).astype(np.uint8)

    def cut(
        self, name: str, size: Preprocessing, augmentation: Augmentation, random: np.random.Generator
    ) -> np.ndarray:
        """Read a part of a photo, drawn as the recipe says, as uint8 of the network's size."""
        with Image.open(io.BytesIO(self.open(name))) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if size.channel_order == "gray" else "RGB")
        pixels = np.asarray(_cut(upright, sides(size), size.interpolation, augmentation, random))
        return pixels[..., None] if pixels.ndim == 2 else pixels


def sides(size: Preprocessing) -> tuple[int, int]:
    """Return the (height, width) that a preprocessing gives photos.

    Raises:
        ValueError: It does not change their size.
    """
    if size.crop is not None:
        return size.crop
    if isinstance(size.resize, tuple):
        return size.resize
    raise ValueError("The network takes photos of any size, and a batch needs one size: give --input-size.")


def _cut(
    image: Image.Image,
    to: tuple[int, int],
    interpolation: str,
    augmentation: Augmentation,
    random: np.random.Generator,
) -> Image.Image:
    height, width = to
    method = Image.Resampling[interpolation.upper()]
    if augmentation.crop_area is not None:
        box = _random_shape(image.size, augmentation.crop_area, augmentation.aspect, random)
        return image.resize((width, height), method, box=box)
    least, greatest = augmentation.resize or (min(image.size), min(image.size))
    short = max(int(random.integers(least, greatest + 1)), height, width)
    scale = short / min(image.size)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))), method)
    left, top = (int(random.integers(0, room + 1)) for room in (image.width - width, image.height - height))
    return image.crop((left, top, left + width, top + height))


def _random_shape(
    size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], random: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a box of random area and shape in the image (Szegedy et al. 2014, section 6); its middle if none fits."""
    for _ in range(10):
        share = random.uniform(*area) * size[0] * size[1]
        ratio = math.exp(random.uniform(math.log(aspect[0]), math.log(aspect[1])))
        width, height = round(math.sqrt(share * ratio)), round(math.sqrt(share / ratio))
        if 0 < width <= size[0] and 0 < height <= size[1]:
            x = int(random.integers(0, size[0] - width + 1))
            y = int(random.integers(0, size[1] - height + 1))
            return x, y, x + width, y + height
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def check(photos: Photos, names: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Find the files that begin like an image.

    Returns:
        Their names, and (name, reason) of the others.
    """
    readable, skipped = [], []
    for name in names:
        try:
            with Image.open(io.BytesIO(photos.open(name))):
                readable.append(name)
        except unreadable() as error:
            skipped.append((name, reason(error)))
    return readable, skipped
