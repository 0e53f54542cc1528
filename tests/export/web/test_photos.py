"""A photo becomes the same numbers in the page as in Python: decoded by the browser, resized as Pillow does it."""

import base64
import io
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, features

from export.web import page
from export.web.browser import serving
from kerascnn.photos import files, images
from kerascnn.photos.preprocessing import Preprocessing

PAGE = Path(page.__file__).parent / "page"
SQUEEZENET = Preprocessing((256, 256), (227, 227), channel_order="bgr", mean=(104.0, 117.0, 123.0))
WHOLE = Preprocessing((224, 224))
PREPARE = """async ([content, how]) => {
    const { decode, prepare } = await import('./photos.js');
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const input = new Uint8Array(prepare(await decode(new Blob([bytes])), how).buffer);
    let text = '';
    for (let at = 0; at < input.length; at += 8192) text += String.fromCharCode(...input.subarray(at, at + 8192));
    return btoa(text);
}"""
# Before Pillow 13 the horizontal pass always came first, which rounds tall photos otherwise.
EXACT = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    """A page of the browser in which the module can be imported."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "photos.js").write_bytes((PAGE / "photos.js").read_bytes())
    (folder / "empty.html").write_text("<!doctype html><title>Empty</title>")
    with serving(folder) as address:
        opened = browser.new_page()
        opened.goto(f"{address}empty.html")
        yield opened
        opened.close()


def photo(width, height, mode="RGB", seed=0):
    """Smooth colors with noise and hard edges, in any mode."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 / width, y * 255 / height, 127 + 120 * np.sin((x + y) / 7)], -1)
    pixels = np.clip(pixels + random.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8)
    pixels[height // 4 : height // 3] = 255
    return Image.fromarray(pixels).convert(mode)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def levels(tab, content, how):
    """How far apart the page's numbers and Python's are, on the scale 0 to 255."""
    expected = how.load(images.decode(content))
    text = tab.evaluate(PREPARE, [base64.b64encode(content).decode(), asdict(how)])
    got = np.frombuffer(base64.b64decode(text), np.float32)
    return float((np.abs(got.reshape(expected.shape) - expected) * np.asarray(how.std)).max())


@pytest.mark.parametrize(
    "how",
    [
        SQUEEZENET,
        WHOLE,
        Preprocessing(256, (224, 224), mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        Preprocessing(236, (224, 224), "bicubic", mean=(127.5,), std=(127.5,)),
        Preprocessing((97, 131), None, "nearest"),
        Preprocessing(32, (32, 32), "nearest"),
        Preprocessing(32, (33, 28), channel_order="gray", std=(255.0,)),
        Preprocessing(None, (40, 51)),
    ],
    ids=lambda how: how.words,
)
@pytest.mark.parametrize("size", [(500, 375), (64, 301), (31, 29)], ids=str)
def test_pixels_are_pillows(tab, how, size):
    assert levels(tab, saved(photo(*size)), how) <= EXACT


def test_extremely_long_photos_are_cut_first(tab):
    assert levels(tab, saved(photo(2000, 12)), Preprocessing(24, (24, 24))) <= EXACT


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes_of_png_files(tab, mode):
    """Colors below transparency count, as they do in Python."""
    image = photo(90, 70)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))))
    for how in (SQUEEZENET, Preprocessing((50, 60), channel_order="gray")):
        assert levels(tab, saved(image.convert(mode)), how) <= EXACT


def test_palette_with_transparency_and_animations(tab):
    image = photo(90, 70, "P")
    assert levels(tab, saved(image, "GIF", transparency=3), WHOLE) <= EXACT
    assert levels(tab, saved(image, "GIF", save_all=True, append_images=[photo(90, 70, "P", seed=1)]), WHOLE) <= EXACT


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(tab, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(photo(160, 90), "JPEG", exif=exif, quality=95)
    assert levels(tab, content, Preprocessing(64, (64, 64))) <= 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 40, "subsampling": 2},
        {"subsampling": 1},
        {"progressive": True},
        {"icc_profile": True},
        {"mode": "L"},
    ],
    ids=str,
)
def test_jpeg_files(tab, options):
    """Nothing of a color profile is applied, as Python does not either."""
    options = dict(options)
    image = photo(333, 251, options.pop("mode", "RGB"))
    if options.get("icc_profile"):
        from PIL import ImageCms

        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert levels(tab, saved(image, "JPEG", **options), SQUEEZENET) <= 1


def test_webp_files(tab):
    assert levels(tab, saved(photo(333, 251), "WEBP", lossless=True), SQUEEZENET) <= EXACT
    assert levels(tab, saved(photo(333, 251), "WEBP", quality=80), SQUEEZENET) <= 1


def test_a_photo_larger_than_one_strip(tab):
    assert levels(tab, saved(photo(700, 1300)), WHOLE) <= EXACT


def test_what_is_no_photo_is_refused(tab):
    with pytest.raises(Exception, match="could not be decoded"):
        tab.evaluate(PREPARE, [base64.b64encode(b"no photo").decode(), asdict(WHOLE)])


@pytest.mark.data
def test_sample_photos(tab, data):
    """Within one level of 255, JPEG decoding included."""
    source = files.find_photos(data / "imagenet_sample_250.zip")
    assert max(levels(tab, source.open(name), SQUEEZENET) for name in files.spread(source.names, 25)) <= 1


def test_other_kinds_of_files(tab):
    """16 bits, inks, an orientation in a PNG file, AVIF and BMP."""
    exif = Image.Exif()
    exif[0x0112] = 6
    sixteen = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (70, 90), np.uint16))
    assert levels(tab, saved(sixteen), WHOLE) <= EXACT
    assert levels(tab, saved(photo(90, 70, "CMYK"), "JPEG", quality=95), WHOLE) <= 1
    assert levels(tab, saved(photo(90, 70), exif=exif), WHOLE) <= EXACT
    assert levels(tab, saved(photo(90, 70), "BMP"), WHOLE) <= EXACT
    if features.check("avif"):
        assert levels(tab, saved(photo(90, 70), "AVIF"), WHOLE) <= 1
