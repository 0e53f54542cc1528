"""Photos in a folder or a zip, one folder a class."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training.recipes import Augmentation

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
PARTS = {"train": ("train", "training"), "test": ("test", "val", "validation")}

# What Pillow raises for damaged files of one kind or another, and zipfile for damaged or encrypted entries.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    KeyError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Photos:
    """Photos that are read whenever they are needed.

    names: within `path`, a folder or a zip; folders: the one that each lies in, which is its class.
    """

    path: Path
    names: tuple[str, ...]
    archive: zipfile.ZipFile | None = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Photos:
        """List the photos of a folder or zip, at any depth, in the order of their names.

        Raises:
            ValueError: there is none, or one lies in no folder.
        """
        archive = None
        if path.is_dir():
            found = [file.relative_to(path).as_posix() for file in path.rglob("*")]
        elif zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            found = archive.namelist()
        else:
            raise ValueError(f"{path} is no folder of photos, no zip and no .npz.")
        names = sorted(
            name
            for name in found
            if name.lower().endswith(SUFFIXES) and not _hidden(name) and (archive or not (path / name).is_dir())
        )
        if not names:
            raise ValueError(f"{path} holds no images ({', '.join(SUFFIXES)}) among its {len(found):,} files.")
        loose = [name for name in names if "/" not in name]
        if loose:
            raise ValueError(
                f"{loose[0]!r} lies directly in {path}, so that its class is not known. Put each image into a folder "
                "named after its class."
            )
        return cls(path, tuple(names), archive)

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(name.split("/")[-2] for name in self.names)

    def parts(self) -> dict[str, Photos]:
        """Those to train on and to test with, where folders named so hold the classes' folders; else none."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            folders = [folder.lower() for folder in name.split("/")[:-2]]
            for part, known in PARTS.items():
                if any(folder in known for folder in folders):
                    found.setdefault(part, []).append(name)
        if "train" not in found:
            return {}
        return {part: Photos(self.path, tuple(names), self.archive) for part, names in found.items()}

    def data(self, name: str) -> bytes:
        """The file's bytes."""
        return self.archive.read(name) if self.archive else (self.path / name).read_bytes()

    def read(self, name: str, size: Preprocessing) -> np.ndarray:
        """One photo as `size` says, uint8; see UNREADABLE for what a damaged file raises."""
        with Image.open(io.BytesIO(self.data(name))) as image:
            return size.load(image).astype(np.uint8)

    def cut(
        self, name: str, size: Preprocessing, augmentation: Augmentation, random: np.random.Generator
    ) -> np.ndarray:
        """A part of a photo, drawn as the recipe says, uint8 of the network's size."""
        with Image.open(io.BytesIO(self.data(name))) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if size.channel_order == "gray" else "RGB")
        pixels = np.asarray(_cut(upright, sides(size), size.interpolation, augmentation, random))
        return pixels[..., None] if pixels.ndim == 2 else pixels


def sides(size: Preprocessing) -> tuple[int, int]:
    """(height, width) of what a preprocessing makes.

    Raises:
        ValueError: it leaves photos as large as they are.
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
    """A box of random area and shape within the image (Szegedy et al. 2014, section 6); its middle where none fits."""
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


def _hidden(name: str) -> bool:
    # macOS puts a resource fork named like the photo beside each one it zips.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def check(photos: Photos, names: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The names of files that begin as images do, and (name, reason) of the others."""
    good, bad = [], []
    for name in names:
        try:
            with Image.open(io.BytesIO(photos.data(name))):
                good.append(name)
        except UNREADABLE as error:
            bad.append((name, reason(error)))
    return good, bad


def reason(error: BaseException) -> str:
    """One line for what an image library says."""
    if isinstance(error, UnidentifiedImageError):
        return "no image of a known kind"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
