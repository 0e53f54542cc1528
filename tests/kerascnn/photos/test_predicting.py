"""Photos of every kind become a network's input and its answer, and what is no photo is refused by name."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerascnn
from kerascnn import registry
from kerascnn.build_info import BuildInfo, set_build_info
from kerascnn.data import read_labels
from kerascnn.photos import classifying, images
from kerascnn.photos.files import PhotosError
from kerascnn.photos.preprocessing import Preprocessing, find_preprocessing
from tests import pages
from tests.networks import built

WEIGHTS = "resnet20_cifar/cifar10"


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return built("resnet20_cifar", weights="cifar10")


def photo(width: int = 48, height: int = 40) -> Image.Image:
    """A smooth photo whose left and right, top and bottom, and channels differ."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([255 * x / width, 255 * y / height, 255 - 255 * x / width], -1).astype("uint8"))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(image: Image.Image, orientation: int) -> bytes:
    """A file that says how it has to be turned to look like the image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif.tobytes())


RGB, GRAY = photo(), photo().convert("L")
PALETTE = GRAY.convert("P")
KINDS = {
    "bytes": (saved(RGB), RGB),
    "image": (RGB, RGB),
    "turned": (turned(RGB, 6), RGB),
    "transparent": (saved(RGB.convert("RGBA")), RGB),
    "gray": (GRAY, GRAY),
    "palette with transparency": (saved(PALETTE, transparency=bytes([0, 255])), PALETTE.convert("RGB")),
    "first frame": (saved(PALETTE, "GIF", save_all=True, append_images=[Image.new("P", PALETTE.size)]), PALETTE),
    "cmyk": (saved(RGB.convert("CMYK"), "TIFF"), RGB.convert("CMYK").convert("RGB")),
    "16 bits": (saved(Image.fromarray(np.asarray(GRAY).astype("uint16") * 256)), GRAY),
    "array": (np.asarray(RGB), RGB),
    "gray array": (np.asarray(GRAY), GRAY),
    "array of floats": (np.asarray(RGB).astype("float32"), RGB),
    "array of 16 bits": (np.asarray(RGB).astype("uint16") * 257, RGB),
    "array with transparency": (np.asarray(RGB.convert("RGBA")), RGB),
    "array of booleans": (np.asarray(GRAY) > 100, Image.fromarray((np.asarray(GRAY) > 100).astype("uint8") * 255)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_photo_is_read_as_its_pixels(kind: str, model: keras.Model) -> None:
    given, expected = KINDS[kind]
    prepared = kerascnn.preprocess_input(given, model)
    np.testing.assert_array_equal(prepared, find_preprocessing(WEIGHTS).load(expected)[None])


def test_sizes_and_kinds_mix_in_folders_zips_and_lists(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/a.png").write_bytes(saved(photo(33, 77)))
    (tmp_path / "folder/deep/pixel.jpg").write_bytes(saved(photo(1, 1), "JPEG"))
    (tmp_path / "folder/notes.txt").write_text("no photo")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("cat/b.webp", saved(photo(64, 64), "WEBP"))
    given = [tmp_path / "folder", str(tmp_path / "some.zip"), [RGB, np.zeros((2, 9, 9, 3), np.uint8)], saved(GRAY)]
    answers = kerascnn.predict(model, given, top=3)
    names = ["folder/a.png", "folder/deep/pixel.jpg", "some.zip/cat/b.webp"]
    assert [answer.photo for answer in answers] == [
        *(f"{tmp_path}/{name}" for name in names),
        *(f"photo {number}" for number in (4, 5, 6, 7)),
    ]
    prepared = kerascnn.preprocess_input(given, model)
    expected = model.predict_on_batch(prepared)
    for answer, row in zip(answers, expected, strict=True):
        best = np.argsort(-row)[:3]
        assert [guess.number for guess in answer.classes] == list(best)
        np.testing.assert_allclose([guess.probability for guess in answer.classes], row[best], atol=1e-5)
    assert str(answers[0]).startswith(f"{tmp_path}/folder/a.png: {answers[0].classes[0].name} ")


def test_arrays_that_fit_are_only_normalized(model: keras.Model) -> None:
    """As in keras.applications: not even rounded. Other sizes are resized, also within a list."""
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    known = find_preprocessing(WEIGHTS)
    np.testing.assert_array_equal(kerascnn.preprocess_input(pixels, model), known.normalize(pixels))
    np.testing.assert_array_equal(kerascnn.preprocess_input(pixels[0], model), known.normalize(pixels[:1]))
    assert kerascnn.preprocess_input([np.zeros((50, 60, 3)), pixels[0]], model).shape == (2, 32, 32, 3)
    by_name = kerascnn.preprocess_input(pixels[:, :20], WEIGHTS)  # no network, so no size to bring them to
    np.testing.assert_array_equal(by_name, known.normalize(pixels[:, :20]))
    with pytest.raises(PhotosError, match="9x9 and 8x8 make no batch"):
        kerascnn.preprocess_input([np.zeros((9, 9)), np.zeros((8, 8))], WEIGHTS)


def test_gray_networks_take_gray_arrays() -> None:
    model = built("lenet5", weights="mnist")
    digits = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    as_images = kerascnn.preprocess_input([Image.fromarray(digit) for digit in digits], model)
    np.testing.assert_array_equal(kerascnn.preprocess_input(digits, model), as_images)
    np.testing.assert_array_equal(kerascnn.preprocess_input(digits[..., None], model), as_images)
    assert kerascnn.preprocess_input(RGB, model).shape == as_images[:1].shape
    assert len(kerascnn.predict(model, digits)) == 3


def test_an_extremely_long_photo_takes_no_more_memory_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its middle is kept, so only its middle is resized."""
    sizes = []
    resize = Image.Image.resize

    def watch(self: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        sizes.append(size)
        return resize(self, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", watch)
    assert Preprocessing(resize=256, crop=(224, 224)).load(photo(4000, 2)).shape == (224, 224, 3)
    assert sizes == [(256 * 20, 256)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://example.org/cat.jpg", "is an address; download"),
        ("nowhere.jpg", "There is no photo or folder nowhere.jpg"),
        (b"text", "photo 1 cannot be read: no image of a known kind"),
        ([], "There are no photos: the list is empty"),
        (np.random.default_rng(0).uniform(0, 1, (32, 32, 3)), "go from 0 to 255; these go from .* to 0.99"),
        (np.full((32, 32, 3), -99.0), "go from 0 to 255; these go from -99"),
        (np.full((40, 40, 3), np.nan), "go from 0 to 255; these go from nan"),
        (np.zeros((3, 32, 32)), "the channels come last. This one is .3, 32, 32"),
        (np.zeros((2, 2, 32, 32, 3)), "An array of photos is"),
        (np.zeros((32, 32, 3), complex), "is no photo"),
    ],
)
def test_what_is_no_photo_is_refused(given: Any, message: str, model: keras.Model) -> None:
    for ask in (kerascnn.predict, lambda model, photos: kerascnn.preprocess_input(photos, model)):
        with pytest.raises(ValueError, match=message):
            ask(model, given)


@pytest.mark.parametrize("given", [None, 7, {"cat": "cat.jpg"}, [["cat.jpg", 7]][0][1:]])
def test_other_types_are_refused(given: Any, model: keras.Model) -> None:
    with pytest.raises(TypeError, match="Photos are a path, a folder"):
        kerascnn.predict(model, given)


def test_broken_photos_in_a_folder_are_named_and_left_out(
    model: keras.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.png").write_bytes(saved(RGB))
    (tmp_path / "cut.jpg").write_bytes(saved(photo(400, 300), "JPEG")[:3000])
    (tmp_path / "IMG_1.HEIC").write_bytes(b"from a telephone")
    with caplog.at_level(logging.WARNING, "kerascnn"):
        (answer,) = kerascnn.predict(model, tmp_path)
    assert answer.photo.endswith("good.png")
    assert "IMG_1.HEIC is left out: HEIC is not read; save the photo as JPEG or PNG" in caplog.text
    assert "cut.jpg is left out: image file is truncated" in caplog.text
    for named in ("cut.jpg", "IMG_1.HEIC"):
        with pytest.raises(PhotosError, match=f"{named} cannot be read"):
            kerascnn.predict(model, tmp_path / named)
    (tmp_path / "good.png").unlink()
    with pytest.raises(PhotosError, match="None of the 1 photos can be read"):
        kerascnn.predict(model, tmp_path)
    (tmp_path / "cut.jpg").unlink()
    with pytest.raises(PhotosError, match=r"holds no images .* IMG_1.HEIC: HEIC is not read"):
        kerascnn.predict(model, tmp_path)


def ending_in(classes: int, activation: str | None, size: int | None = 8) -> keras.Model:
    image = keras.Input((size, size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, keras.layers.Dense(classes, activation, name="end")(pooled), name="own")


@pytest.mark.parametrize(("classes", "activation"), [(3, "softmax"), (3, None), (3, "sigmoid"), (1, "sigmoid")])
def test_models_of_ones_own(classes: int, activation: str | None) -> None:
    """Whatever they end in, the answer is in probabilities; names and preprocessing are given or remembered."""
    model = ending_in(classes, activation)
    with pytest.raises(ValueError, match="for own is not known: it does not say. Give --preprocessing"):
        kerascnn.predict(model, RGB)
    (answer,) = kerascnn.predict(model, RGB, preprocessing="tf")
    logits = model.get_layer("end").kernel.numpy().T @ kerascnn.preprocess_input(RGB, "tf").mean((0, 1, 2))
    expected = 1 / (1 + np.exp(-logits)) if activation == "sigmoid" else np.exp(logits) / np.exp(logits).sum()
    if classes == 1:
        expected = np.array([1 - expected[0], expected[0]])
    found = {guess.name: guess.probability for guess in answer.classes}
    np.testing.assert_allclose([found[f"class {i}"] for i in range(len(expected))], expected, atol=0.02)
    set_build_info(model, BuildInfo(preprocessing=Preprocessing.named("tf", (8, 8, 3))))
    names = ["cat", "dog", "bird"][: len(expected)]
    assert {guess.name for guess in kerascnn.predict(model, RGB, labels=names)[0].classes} == set(names)
    with pytest.raises(ValueError, match="There are 4 labels, but own tells"):
        kerascnn.predict(model, RGB, labels=["a", "b", "c", "d"])


def test_networks_of_any_size_answer_photos_of_several_sizes() -> None:
    model = ending_in(2, "softmax", size=None)
    answers = kerascnn.predict(
        model, [np.zeros((9, 9, 3)), np.zeros((8, 8, 3)), np.zeros((8, 8, 3))], preprocessing="tf"
    )
    assert len(answers) == 3


def test_channels_may_come_first() -> None:
    image = keras.Input((3, 8, 8))
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D("channels_first")(image)))
    (answer,) = kerascnn.predict(model, Image.new("RGB", (20, 20), (255, 0, 0)), preprocessing="unit")
    assert answer.classes[0].number == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.Model(inputs := [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))], inputs[0]), "takes 2 inputs"),
        (lambda: keras.Model(image := keras.Input((8, 8, 3)), [image, image]), "has 2 outputs"),
        (lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, "softmax")]), "which are no photos"),
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Softmax()]), "a classifier answers with one"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1, activation="relu")]),
            "neither probabilities nor logits",
        ),
    ],
)
def test_models_that_are_no_classifiers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kerascnn.predict(make(), RGB, preprocessing="unit")


def test_decode_predictions_of_ones_own_classes(model: keras.Model) -> None:
    probabilities = np.eye(10)[[3, 8]]
    decoded = kerascnn.decode_predictions(probabilities, 2, model=model)
    assert [row[0] for row in decoded] == [("3", "cat", 1.0), ("8", "ship", 1.0)]
    with pytest.raises(ValueError, match=r"For a model's own classes, give model=\."):
        kerascnn.decode_predictions(probabilities)
    assert kerascnn.decode_predictions(np.eye(1000)[:1])[0][0] == ("n01440764", "tench", 1.0)


def test_preprocessing_by_name() -> None:
    pixels = np.full((2, 2, 3), 100.0)
    assert kerascnn.preprocess_input(pixels, "caffe")[0, 0, 0, 0] == pytest.approx(100 - 103.939, abs=1e-5)
    with pytest.raises(ValueError, match="no preprocessing 'imagenet'. Take a normalization .*squeezenet/imagenet"):
        kerascnn.preprocess_input(pixels, "imagenet")


def test_values_of_a_resampled_photo_may_overshoot() -> None:
    assert images.eight_bits(np.array([[-3.2, 258.0]])).tolist() == [[0, 255]]
    assert replace(Preprocessing(), mean=(1.0,)).normalize([[[0.0]]])[0, 0, 0] == -1


class Unregistered(keras.layers.Layer):
    """A layer of the user's own, which the command line does not know."""

    def call(self, inputs: Any) -> Any:
        return inputs


def test_a_layer_of_ones_own_is_named(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8, 8, 3)), Unregistered()]).save(tmp_path / "own.keras")
    with pytest.raises(ValueError, match="own.keras holds Unregistered, a class of your own that is not imported"):
        kerascnn.predict(tmp_path / "own.keras", RGB)


def test_labels_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A byte-order mark belongs to no name, and names that occur twice do not pass without a word."""
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfcat\r\n dog\r\n\r\ncat\r\n")
    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog", "cat")
    assert "classes share a name: 'cat' (2 times)." in caplog.text


def test_the_command(call: Any, tmp_path: Path) -> None:
    (tmp_path / "cat's <1>.png").write_bytes(saved(RGB))
    (tmp_path / "small.png").write_bytes(saved(photo(9, 9)))
    code, printed = call("predict", "resnet20_cifar", "cat's <1>.png", "small.png", "--top", 2, "--html", "sheet.html")
    assert (code, printed.err) == (0, "Written: sheet.html\n")
    lines = printed.out.splitlines()
    assert [lines[0], lines[3], len(lines)] == ["cat's <1>.png", "small.png", 6]
    assert "█" in printed.out
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "cat&#39;s &lt;1&gt;.png" in page
    assert "http" not in page.replace("http-equiv", "")
    code, printed = call("predict", "resnet20_cifar", "small.png", "--json", "--top", 1)
    (answer,) = json.loads(printed.out)["answers"]
    assert (answer["photo"], len(answer["classes"]), code) == ("small.png", 1, 0)
    (tmp_path / "broken.png").write_bytes(b"")
    code, printed = call("predict", "resnet20_cifar", "small.png", "broken.png")
    assert code == 1
    assert printed.err == "Left out: broken.png: no image of a known kind\n"
    assert printed.out.startswith("small.png\n")


def test_the_contact_sheet_in_a_browser(call: Any, browser: Any, tmp_path: Path) -> None:
    for number, size in enumerate([(90, 40), (30, 60), (1, 1)]):
        (tmp_path / f"a_photo_with_a_long_name_{number}_{'x' * 60}.png").write_bytes(saved(photo(*size)))
    (tmp_path / "broken.png").write_bytes(b"")
    assert call("predict", "resnet20_cifar", ".", "--html", "sheet.html")[0] == 0
    pages.check(browser, tmp_path / "sheet.html")
    with pages.opened(browser, tmp_path / "sheet.html") as page:
        assert page.locator(".sheet img").count() == 3
        assert "broken.png: no image of a known kind" in page.inner_text("main")


REFUSED = [
    (["resnet2_cifar", "a.png"], "There is no model named 'resnet2_cifar'. The nearest names are"),
    (["mine.keras", "a.png"], "There is no model file mine.keras"),
    (["a.png", "a.png"], "a.png is no model that can be asked; such files end in .keras"),
    (["empty", "a.png"], "empty is neither an export (manifest.json) nor a SavedModel"),
    (["broken.tflite", "a.png"], "broken.tflite cannot be opened: "),
    (["broken.onnx", "a.png"], "broken.onnx cannot be opened: "),
    (["resnet20_cifar", "nowhere.png"], "There is no photo or folder nowhere.png"),
    (["resnet20_cifar", "http://example.org/a.png"], "is an address"),
    (["resnet20_cifar", "empty"], "empty holds no images"),
    (["resnet20_cifar"], "Missing argument 'PHOTO...'"),
    (["resnet20_cifar", "a.png", "--weights", "imagenet"], "has no weights named 'imagenet'"),
    (["resnet20_cifar", "a.png", "--top", "0"], "0 is not in the range"),
    (["resnet20_cifar", "a.png", "--html", "sheet.pdf"], "--html writes a file whose name ends in .html"),
    (["resnet20_cifar", "a.png", "--html", "no/sheet.html"], "There is no folder 'no'"),
    (["resnet20_cifar", "a.png", "--labels", "two.txt"], "There are 2 labels, but resnet20_cifar tells 10 classes"),
    (["resnet20_cifar", "broken.png"], "broken.png cannot be read: no image of a known kind"),
    (["plain20_cifar", "a.png"], "plain20_cifar has no published weights. Give --weights FILE"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_refused_by_the_command(arguments: list[str], message: str, call: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(RGB))
    (tmp_path / "empty").mkdir()
    for name in ("broken.tflite", "broken.onnx", "broken.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "two.txt").write_text("\ufeffcat\ndog\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    code, printed = call("predict", *arguments)
    assert code == 2
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_published_errors_are_those_of_the_weights_else_of_the_network(model: keras.Model) -> None:
    """Also of packaged weights that are given as a file."""
    measured = classifying.classifier(model).published
    assert measured is not None
    assert measured.source.endswith("5,000 test images as JPEG")
    (record,) = [one for one in registry.variant("resnet20_cifar").weights if one.packaged]
    assert classifying.published_error("resnet20_cifar", None, record.sha256) == measured
    of_paper = classifying.published_error("resnet20_cifar")
    assert of_paper is not None
    assert of_paper.source.startswith("paper")
    assert classifying.published_error("mine") is classifying.published_error(None) is None
