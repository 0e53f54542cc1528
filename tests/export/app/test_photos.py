"""The Android app prepares photos as Python does. The iOS app has the same lines in Swift, which are not run here."""

import subprocess
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from export.app.project import fields_of
from kerascnn.photos import files, images
from kerascnn.photos.preprocessing import Preprocessing
from tests.export.app.kotlin import SOURCES, compiled

pytestmark = pytest.mark.slow  # the compiler needs 10 s

SQUEEZENET = Preprocessing((256, 256), (227, 227), channel_order="bgr", mean=(104.0, 117.0, 123.0))
WAYS = (
    SQUEEZENET,
    Preprocessing((224, 224)),
    Preprocessing(256, (224, 224), mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    Preprocessing(236, (224, 224), "bicubic", mean=(127.5,), std=(127.5,)),
    Preprocessing((97, 131), None, "nearest"),
    Preprocessing(32, (33, 28), channel_order="gray", std=(255.0,)),
    Preprocessing(None, (40, 51)),
)
SIZES = ((500, 375), (64, 301), (31, 29), (2000, 12))
STEP, ZERO_POINT = np.float32(0.0317), -9  # as in Main.kt
# Before Pillow 13 the horizontal pass always came first, which rounds tall photos otherwise.
EXACT = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    target = tmp_path_factory.mktemp("kotlin") / "photos.jar"
    return compiled(target, SOURCES / "kerascnn/app/Photos.kt", Path(__file__).parent / "Main.kt")


def prepared(program, folder, cases):
    """What the app makes of (photo, preprocessing) pairs: float inputs, and the same as int8."""
    lines = []
    for number, (photo, how) in enumerate(cases):
        (folder / f"{number}.rgb").write_bytes(np.asarray(photo).tobytes())
        fields = fields_of(how)
        numbers = [",".join(map(repr, fields[name])) or "-" for name in ("resize", "crop", "mean", "std")]
        words = [
            folder / f"{number}.rgb",
            *photo.size,
            *numbers[:2],
            how.interpolation,
            how.channel_order,
            *numbers[2:],
        ]
        lines.append(" ".join(map(str, [*words, folder / f"{number}.out"])))
    subprocess.run(
        ["java", "-cp", str(program), "kerascnn.app.MainKt"], input="\n".join(lines), text=True, check=True, timeout=300
    )
    for number in range(len(lines)):
        content = (folder / f"{number}.out").read_bytes()
        floats = len(content) // 5 * 4
        yield np.frombuffer(content[:floats], "<f4"), np.frombuffer(content[floats:], np.int8)


def levels(program, folder, cases):
    """How far apart the app's numbers and Python's are, on the scale 0 to 255."""
    found = 0.0
    for (photo, how), (floats, whole) in zip(cases, prepared(program, folder, cases), strict=True):
        expected = how.load(photo)
        found = max(found, float((np.abs(floats.reshape(expected.shape) - expected) * np.asarray(how.std)).max()))
        steps = np.clip(np.round(floats / STEP) + ZERO_POINT, -128, 127).astype(np.int8)
        assert (whole == steps).all()
    return found


def photo(width, height):
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 / width, y * 255 / height, 127 + 120 * np.sin((x + y) / 7)], -1)
    pixels += np.random.default_rng(0).normal(0, 20, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def test_pixels_are_pillows(program, tmp_path):
    assert levels(program, tmp_path, [(photo(*size), how) for size in SIZES for how in WAYS]) <= EXACT


def test_swapped_channels_are_seen(program, tmp_path):
    image = photo(90, 70)
    swapped = Image.fromarray(np.asarray(image)[..., ::-1])
    [(floats, _)] = prepared(program, tmp_path, [(swapped, SQUEEZENET)])
    assert np.abs(floats.reshape(227, 227, 3) - SQUEEZENET.load(image)).max() > 1


@pytest.mark.data
def test_sample_photos(program, data, tmp_path):
    source = files.find_photos(data / "imagenet_sample_250.zip")
    photos = [images.decode(source.open(name)).convert("RGB") for name in files.spread(source.names, 25)]
    assert levels(program, tmp_path, [(image, how) for image in photos for how in WAYS[:4]]) <= EXACT
