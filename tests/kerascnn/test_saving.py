"""What is known of a model survives in its .keras file, and plain Keras loads such a file."""

import json
import pickle
import zipfile

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.build_info import ASSET, BuildInfo, build_info, set_build_info, to_json
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.restoring import from_json
from kerascnn.training.finetuning import replace_head
from tests import processes

WHOLE = Preprocessing((16, 16), channel_order="bgr", mean=(104.0, 117.0, 124.0))


@pytest.fixture(scope="module")
def trained():
    return kerascnn.create_model("resnet20_cifar", weights="cifar10")


@pytest.mark.smoke
def test_a_saved_model_remembers_all_of_it(trained, tmp_path):
    trained.save(tmp_path / "mine.keras")
    for load in (kerascnn.load_model, keras.saving.load_model):
        assert build_info(load(tmp_path / "mine.keras")) == build_info(trained)
    assert build_info(pickle.loads(pickle.dumps(trained))) == build_info(trained)


def test_a_new_head_keeps_its_labels_and_how_its_photos_are_prepared(tmp_path):
    model = replace_head(
        "resnet20_cifar", "cifar10", 2, labels=["newt", "crab"], preprocessing=WHOLE, input_shape=(16, 16, 3)
    )
    model.save(tmp_path / "mine.keras")
    info = build_info(kerascnn.load_model(tmp_path / "mine.keras"))
    assert (info.class_names(2), info.preprocessing) == (("newt", "crab"), WHOLE)
    assert info.weights.full_name == "resnet20_cifar/cifar10"
    with pytest.raises(ValueError, match="3 labels for 2 classes"):
        replace_head("resnet20_cifar", "cifar10", 2, labels=["a", "b", "c"])


def test_a_new_head_of_as_many_classes_has_not_the_old_names(trained):
    assert build_info(trained).class_names(10) == CIFAR10_CLASSES
    new = replace_head("resnet20_cifar", "cifar10", 10, input_shape=(16, 16, 3))
    assert build_info(new).class_names(10) is None
    assert build_info(new).preprocessing.crop == (16, 16)


def test_an_ensemble_and_its_members_remember(trained, tmp_path):
    other = kerascnn.create_model("squeezenet_cifar", weights="cifar10")
    ensemble = kerascnn.applications.ensemble([trained, other])
    ensemble.save(tmp_path / "both.keras")
    loaded = kerascnn.load_model(tmp_path / "both.keras")
    assert build_info(loaded) == build_info(ensemble)
    assert build_info(loaded.get_layer("resnet20_cifar")) == build_info(trained)


def test_plain_keras_loads_a_network_of_its_own_layers(tmp_path):
    trained = kerascnn.create_model("squeezenet_cifar", weights="cifar10")
    trained.save(tmp_path / "mine.keras")
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    code = """
import sys, keras, numpy as np
model = keras.saving.load_model("mine.keras")
assert "kerascnn" not in sys.modules
np.save("answer.npy", model.predict(np.load("image.npy"), verbose=0))
"""
    done = processes.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), trained.predict(image, verbose=0), atol=1e-6)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"preprocessing": {"resize": "large"}}', '{"weights": {"a": 1}}'])
def test_what_cannot_be_read_is_said_and_left_out(trained, tmp_path, text):
    trained.save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "odd.keras", "w") as odd:
        for name in whole.namelist():
            odd.writestr(name, text if name.endswith(ASSET) else whole.read(name))
    with pytest.warns(UserWarning, match="cannot be read"):
        model = kerascnn.load_model(tmp_path / "odd.keras")
    assert build_info(model) is None


def test_json_says_everything_and_leaves_room_for_later_fields():
    record = kerascnn.variant("squeezenet_cifar").weights[0]
    info = BuildInfo(
        "squeezenet_cifar", {"bypass": None, "ratios": (1, 2)}, frozenset("ab"), labels=("ä",), weights=record
    )
    assert from_json(to_json(info)) == info
    assert from_json(json.dumps({**json.loads(to_json(info)), "later": 1})) == info


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.keras", None, "There is no model file"),
        ("cut.keras", b"PK\x03\x04cut", "is damaged"),
        ("photo.jpg", b"x", "its name must end in .keras, .h5, .kdc"),
    ],
)
def test_files_that_are_no_models(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        kerascnn.load_model(tmp_path / name)


def test_models_of_ones_own_are_saved_as_before(tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    model.save(tmp_path / "own.keras")
    with zipfile.ZipFile(tmp_path / "own.keras") as archive:
        assert not [name for name in archive.namelist() if "asset" in name]
    set_build_info(model, BuildInfo(preprocessing=WHOLE))
    model.save(tmp_path / "own.keras")
    assert build_info(kerascnn.load_model(tmp_path / "own.keras")).preprocessing == WHOLE
