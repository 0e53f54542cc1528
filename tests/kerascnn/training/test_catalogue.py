"""Data sets of tensorflow-datasets by name: one that is built here, because nothing can be fetched in a test."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training import catalogue
from kerascnn.training.data import LazyImages, open_data
from kerascnn.training.recipes import Augmentation
from tests.kerascnn.training.conftest import bars

SIZE = Preprocessing.default((24, 24, 3))


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets", reason="pip install 'kerascnn[tfds]'")


@pytest.fixture(scope="module")
def home(tfds, tmp_path_factory) -> Path:
    """A folder of data sets: `bars_of_tests` of 40 images in three classes and 9 to test with, `texts_of_tests`."""
    folder = tmp_path_factory.mktemp("tfds")

    class BarsOfTests(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            classes = tfds.features.ClassLabel(names=["zigzag", "lying", "standing"])
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": classes,
                "id": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(0, 40), "test": self._generate_examples(40, 49)}

        def _generate_examples(self, first, last):
            images, labels = bars(49, 3, 30)
            for i in range(first, last):
                buffer = io.BytesIO()
                Image.fromarray(images[i]).convert("RGB").save(buffer, "PNG")
                yield i, {"image": io.BytesIO(buffer.getvalue()), "label": int(labels[i]), "id": str(i)}

    class TextsOfTests(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"text": tfds.features.Text(), "label": tfds.features.Scalar(np.int32)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"text": "no image", "label": 0}

    for builder in (BarsOfTests, TextsOfTests):
        builder(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))


def test_images_labels_and_class_names_are_the_data_sets(tfds):
    """Decoded by the package, in the order of the data set's own numbers."""
    train, test = open_data(Path("tfds:bars_of_tests"), None, SIZE, Augmentation())
    assert train.classes == test.classes == ("zigzag", "lying", "standing")
    assert (len(train), len(test)) == (40, 9)
    images, labels = bars(49, 3, 30)
    wanted = {
        (int(label), SIZE.without_normalization.load(Image.fromarray(image).convert("RGB")).astype(np.uint8).tobytes())
        for image, label in zip(images[:40], labels[:40], strict=True)
    }
    assert {(int(label), pixels.tobytes()) for pixels, label in zip(train.pixels, train.labels, strict=True)} == wanted
    again, _ = open_data(Path("tfds:bars_of_tests:1.0.0"), None, SIZE, Augmentation())
    np.testing.assert_array_equal(again.pixels, train.pixels)


def test_a_recipe_that_cuts_has_the_whole_images():
    train, _ = open_data(Path("tfds:bars_of_tests"), None, SIZE, Augmentation(resize=(24, 30)))
    assert isinstance(train, LazyImages)
    pixels, labels = train.batch(np.arange(40), np.random.default_rng(0))
    assert pixels.shape == (40, 24, 24, 3)
    assert (labels == train.labels).all()


def test_other_photos_to_validate_with(photos):
    """Their folders are named as the data set's classes."""
    _, test = open_data(Path("tfds:bars_of_tests"), photos, SIZE, Augmentation())
    assert len(test) == 40
    assert {test.classes[label] for label in test.labels} == {"lying", "standing"}


def test_what_cannot_be_read_is_said(tfds, monkeypatch):
    def read(name: str, most: int = 2**30):
        return catalogue.read(Path(f"tfds:{name}"), most)

    with pytest.raises(ValueError, match="has no cifar11.*nearest names are:.*cifar10"):
        read("cifar11")
    with pytest.raises(ValueError, match="needs the features image and label, and has"):
        read("texts_of_tests")
    with pytest.raises(ValueError, match="more than 0.0 GiB of memory"):
        read("bars_of_tests", 1000)

    def no_network(*arguments, **options):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", no_network)
    with pytest.raises(OSError, match="tfds:mnist is not on this machine.*Name or service.*TFDS_DATA_DIR"):
        read("mnist")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kerascnn\[tfds\]'"):
        read("mnist")


def test_the_command_line_takes_names(call):
    """A paragraph and exit code 2 for a name that there is not; training with one that there is."""
    arguments = ("train", "--model", "lenet5", "--recipe", "onecycle_mnist", "--epochs", 1, "--batch", 8)
    code, printed = call(*arguments, "--data", "tfds:bars_of_test", "--output", "none")
    assert code == 2
    assert "Error: tensorflow-datasets has no bars_of_test" in printed.err
    assert "Traceback" not in printed.err
    code, printed = call(*arguments, "--data", "tfds:bars_of_tests", "--output", "run")
    assert code == 0, printed.err
    assert "of 9 validation images" in printed.out
