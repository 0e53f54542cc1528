"""Ensembles: the right mean, each member's own view of the photo, and one model that saves, loads and exports."""

import os
import subprocess
import sys
from dataclasses import astuple, replace

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import kerascnn
from kerascnn import applications
from kerascnn.applications import ensemble
from kerascnn.build_info import BuildInfo, build_info, set_build_info
from kerascnn.layers.auxiliary import AuxiliaryModel
from kerascnn.layers.ensembling import PhotoPreparation, resampling_matrix
from kerascnn.photos.preprocessing import Preprocessing

CAFFE = Preprocessing(36, (24, 24), "bilinear", "bgr", (103.9, 116.8, 123.7), (1.0,))
TORCH = Preprocessing(36, (32, 32), "bilinear", "rgb", (123.7, 116.3, 103.5), (58.4, 57.1, 57.4))


def member(preprocessing=TORCH, *, seed=0, classes=4, activation="softmax", name="small", size=None, channels=3):
    """A small classifier with random weights that answers differently to each image."""
    image = keras.Input((*(size or preprocessing.crop), channels))
    initializer = keras.initializers.RandomNormal(stddev=0.05, seed=seed)
    x = layers.Conv2D(8, 5, 3, activation="relu", kernel_initializer=initializer, name="conv")(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(
        image, layers.Dense(classes, activation, kernel_initializer="he_normal", name="out")(x), name=name
    )
    set_build_info(model, BuildInfo(preprocessing=preprocessing))
    return model


def photo(width=50, height=70, seed=0):
    """Smooth and coloured, as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def seen(model, picture):
    """The member's own answer to a photo, in NumPy from its own preprocessing."""
    size = model.inputs[0].shape[1:3]
    return np.asarray(model(build_info(model).preprocessing.for_size(*size).load(picture)[None]))[0]


def answer(model, picture):
    return np.asarray(model(build_info(model).preprocessing.load(picture)[None]))[0]


def geometric(probabilities, weights):
    mean = np.exp(np.average(np.log(probabilities), axis=0, weights=weights))
    return mean / mean.sum()


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("size", "target"), [(97, 31), (97, 96), (41, 100), (7, 7)])
def test_resizing_is_pillows(method, size, target):
    """Two products with matrices give Pillow's pixels, but for its rounding to whole levels after each."""
    image = np.random.default_rng(0).integers(0, 256, (size, size + 2, 3), np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize((target + 1, target), Image.Resampling[method.upper()]), float)
    ours = np.asarray(PhotoPreparation((target, target + 1), None, method)(image[None].astype("float32")))[0]
    assert np.abs(ours - theirs).max() <= (0 if method == "nearest" else 1.1)
    np.testing.assert_allclose(resampling_matrix(size, target, method).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("weights", [None, [3, 1, 0]])
@pytest.mark.parametrize("activations", [("softmax",) * 3, (None,) * 3, ("softmax", None, "softmax")])
def test_both_means_of_members_that_share_their_input(weights, activations):
    members = [member(seed=i, activation=activation) for i, activation in enumerate(activations)]
    x = np.random.default_rng(0).normal(size=(5, 32, 32, 3)).astype("float32")
    answers = [
        np.asarray(m(x) if m.layers[-1].activation is keras.activations.softmax else keras.ops.softmax(m(x)))
        for m in members
    ]
    expected = {
        "probabilities": np.average(answers, axis=0, weights=weights),
        "logits": np.stack([geometric(np.stack(rows), weights) for rows in zip(*answers, strict=True)]),
    }
    for average, values in expected.items():
        model = ensemble(members, weights, average)
        assert model.input_shape == (None, 32, 32, 3)
        assert build_info(model).preprocessing == TORCH
        np.testing.assert_allclose(np.asarray(model(x)), values, atol=1e-6)
        np.testing.assert_array_equal(kerascnn.preprocess_input(x, model), TORCH.normalize(x))


def test_a_member_that_needs_no_resizing_sees_the_very_pixels_of_its_own_pipeline():
    """Other crops, channel orders, means and scales of photos resized alike."""
    members = [member(TORCH), member(CAFFE, seed=1), member(replace(TORCH, std=(1.0,)), seed=2)]
    model = ensemble(members)
    assert build_info(model).preprocessing == Preprocessing(36, (32, 32))
    for picture in (photo(), photo(90, 41, 1)):
        for one, column in zip(members, ("small", "small_2", "small_3"), strict=True):
            pixels = build_info(model).preprocessing.load(picture)[None]
            own = build_info(one).preprocessing.load(picture)
            np.testing.assert_allclose(model.get_layer(f"{column}_preparation")(pixels)[0], own, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(answer(model, picture), np.mean([seen(m, picture) for m in members], 0), atol=1e-5)
        assert np.ptp([seen(m, picture) for m in members], axis=0).max() > 0.05  # a wrong view would show


def test_members_of_other_sizes_see_the_photo_resized():
    """The input is the largest picture that a member crops from; its own pipeline resizes the photo in one step."""
    small = replace(CAFFE, resize=24, crop=(20, 20))
    squeezing = Preprocessing((28, 28), None, mean=(127.5,), std=(127.5,))
    members = [member(small), member(TORCH, seed=1), member(squeezing, seed=2, size=(28, 28))]
    model = ensemble(members, [1, 2, 1])
    assert build_info(model).preprocessing == Preprocessing(36, (36, 36))
    square = photo(64, 64)  # of any other, the member that squeezes sees the centre square
    expected = np.average([seen(m, square) for m in members], axis=0, weights=[1, 2, 1])
    np.testing.assert_allclose(answer(model, square), expected, atol=0.01)
    assert build_info(ensemble([member(squeezing, size=(28, 28)), member(squeezing, size=(20, 24))])).preprocessing == (
        Preprocessing((28, 28), (28, 28))
    )


def test_members_in_gray():
    gray = Preprocessing((28, 28), None, "bilinear", "gray", (33.0,), (78.0,))
    both = ensemble([member(gray, size=(28, 28), channels=1), member(replace(TORCH, resize=28, crop=(28, 28)), seed=1)])
    assert both.input_shape == (None, 28, 28, 3)
    picture = photo(28, 28)
    np.testing.assert_allclose(
        both.get_layer("small_preparation")(build_info(both).preprocessing.load(picture)[None])[0],
        gray.load(picture),
        atol=0.51 / 78,  # Pillow's gray has whole levels
    )
    bordered = replace(gray, resize=(20, 20), crop=(23, 25))  # as MNIST's digits are for the larger inputs of 1998
    lenets = [member(bordered, channels=1), member(replace(bordered, resize=(10, 10), crop=(13, 13)), channels=1)]
    model = ensemble(lenets)
    assert build_info(model).preprocessing == Preprocessing((20, 20), (20, 20), channel_order="gray")
    source = build_info(model).preprocessing.load(picture)
    shrunk = Image.fromarray(source[..., 0].astype("uint8"))
    for name, one in zip(("small_preparation", "small_2_preparation"), lenets, strict=True):
        own = build_info(one).preprocessing.load(shrunk)
        np.testing.assert_allclose(model.get_layer(name)(source[None])[0], own, atol=1.1 / 78)
    sizes = ensemble([member(gray, size=(28, 28), channels=1), member(gray, size=(14, 14), channels=1)])
    assert sizes.input_shape == (None, 28, 28, 1)
    assert build_info(sizes).preprocessing.load(picture).shape == (28, 28, 1)


def test_a_member_listed_twice_counts_twice():
    one, other = member(), member(seed=1)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    model = ensemble([one, other, one])
    assert model.count_params() == one.count_params() + other.count_params()
    np.testing.assert_allclose(model(x), ensemble([one, other], [2, 1])(x), atol=1e-7)
    np.testing.assert_allclose(ensemble([one, one])(x), one(x), atol=1e-7)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_save_and_load_with_equal_names(average, tmp_path):
    members = [member(replace(TORCH, crop=(side, side)), seed=side) for side in (32, 24, 31)]
    names = [layer.name for layer in members[0].layers]
    model = ensemble(members, average=average, name="columns")
    assert (model.name, model.input_shape) == ("columns", (None, 32, 32, 3))
    assert [m.name for m in members] == ["small"] * 3  # the caller's models stay as they are
    assert [layer.name for layer in members[0].layers] == names
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    model.save(tmp_path / "columns.keras")
    loaded = keras.saving.load_model(tmp_path / "columns.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    third = loaded.get_layer("small_3")
    np.testing.assert_array_equal(third.get_weights()[0], members[2].get_weights()[0])
    members[1].set_weights(members[0].get_weights())  # shared, not copied
    assert np.abs(np.asarray(loaded(x)) - np.asarray(model(x))).max() > 1e-6


def test_auxiliary_classifiers_stay_out_of_it():
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(image)
    outputs = {name: layers.Dense(4, "softmax", name=name)(x) for name in ("predictions", "aux1")}
    auxiliary = AuxiliaryModel(image, outputs, name="auxiliary")
    set_build_info(auxiliary, BuildInfo(preprocessing=TORCH))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    for average in ("probabilities", "logits"):
        np.testing.assert_allclose(ensemble([auxiliary], average=average)(x), auxiliary(x), atol=1e-6)


def test_an_ensemble_of_ensembles():
    parts = [member(seed=i) for i in range(3)]
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    nested = ensemble([ensemble(parts[:2], name="pair"), parts[2]], [2, 1])
    np.testing.assert_allclose(nested(x), ensemble(parts)(x), atol=1e-6)
    with pytest.raises(ValueError, match="pair is itself an ensemble"):
        ensemble([ensemble(parts[:2], name="pair"), parts[2]], average="logits")
    logits = ensemble([ensemble(parts[:2], average="logits"), parts[2]], [2, 1], average="logits")
    np.testing.assert_allclose(logits(x), ensemble(parts, average="logits")(x), atol=1e-6)


def test_mixed_precision_prepares_and_averages_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        members = [applications.resnet20_cifar(input_shape=(side, side, 3)) for side in (32, 24)]
        model = ensemble(members)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("resnet20_cifar_preparation").compute_dtype == "float32"
    assert model.output.dtype == "float32"
    assert members[0].layers[1].compute_dtype == "float16"


def unknown(size):
    model = member(size=size)
    set_build_info(model, None)
    return model


def sharing():
    one = member()
    trunk = one.layers[-2].output
    return [one, keras.Model(one.input, layers.Dense(4, "softmax")(trunk), name="other")]


BAD = {
    "the list is empty": lambda: ensemble([]),
    "takes a list of models": lambda: ensemble(member()),
    "Keras models; one is a str": lambda: ensemble(["resnet50"]),
    "resnet20_cifar has 4, small has 5": lambda: ensemble(
        [applications.resnet20_cifar(classes=4), member(classes=5, size=(32, 32))]
    ),
    "one vector of class scores": lambda: ensemble([applications.resnet20_cifar(include_top=False)]),
    "one vector of class scores an image": lambda: ensemble([applications.resnet20_cifar(features=True)]),
    "these are features": lambda: ensemble([applications.resnet20_cifar(include_top=False, pooling="avg")]),
    "activation 'sigmoid'": lambda: ensemble([member(activation="sigmoid")]),
    "no symbolic input": lambda: ensemble([keras.Sequential([layers.Dense(3)])]),
    "one number for each of the 2": lambda: ensemble([member(), member()], [1]),
    "not negative": lambda: ensemble([member(), member()], [2, -1]),
    "not all zero": lambda: ensemble([member(), member()], [0, 0]),
    "must be finite": lambda: ensemble([member()], [float("nan")]),
    "average must be": lambda: ensemble([member()], average="median"),
    "is not known": lambda: ensemble([member(), unknown((24, 24))]),
    "cannot be made from an RGB photo": lambda: ensemble([member(), member(size=(32, 32), channels=4)]),
    "share weights": lambda: ensemble(sharing()),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_averaged_is_refused(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_members_without_preprocessing_of_one_size_are_averaged():
    model = ensemble([unknown((32, 32)), unknown((32, 32))])
    assert model.input_shape == (None, 32, 32, 3)
    with pytest.raises(ValueError, match="not known"):
        kerascnn.preprocess_input(np.zeros((32, 32, 3)), model)


def test_open_sides_stay_open_where_they_can():
    sides = {"input_shape": (None, None, 3)}
    model = ensemble([applications.resnet20_cifar(**sides), applications.plain20_cifar(**sides)])
    assert model.input_shape == (None, None, None, 3)
    fixed = ensemble([applications.resnet20_cifar(**sides), member(CAFFE, classes=10)])
    assert fixed.get_layer("resnet20_cifar_preparation").output.shape == (None, 32, 32, 3)


def test_export_of_two_sizes_to_every_format(tmp_path):
    """Preparation and mean in standard operators; the saved file exports as well, also where Keras comes in late."""
    from export import export
    from export.keras_models import open_file

    members = [member(replace(CAFFE, resize=24, crop=(20, 20))), member(TORCH, seed=1, activation=None)]
    for average in ("probabilities", "logits"):
        manifest = export(ensemble(members, [2, 1], average), tmp_path / average)
        assert {artifact["format"] for artifact in manifest["artifacts"]} == {"saved_model", "tflite", "onnx"}
        assert manifest["signature"]["input"]["shape"] == (None, 36, 36, 3)
        assert manifest["signature"]["output"]["name"] == "probabilities"
        assert manifest["preprocessing"]["resize"] == 36

    import onnx

    proto = onnx.load(next((tmp_path / "probabilities").glob("*.onnx")))
    assert {node.domain for node in proto.graph.node} == {""}
    saved = tmp_path / "pair.keras"
    model = ensemble(members)
    model.save(saved)
    x = np.random.default_rng(0).uniform(0, 255, (2, 36, 36, 3)).astype("float32")
    np.testing.assert_array_equal(open_file(saved).model(x), model(x))
    code = f"""
from pathlib import Path
from export.keras_models import open_file
from export.opening import expand_names
expand_names(({str(saved)!r},))
print(open_file(Path({str(saved)!r})).model.name)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert run.stdout.strip().endswith("ensemble"), run.stderr[-2000:]


def environment(**more):
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


@pytest.mark.slow
def test_the_jax_backend_gives_the_same_answers(tmp_path):
    """The saved ensemble of two sizes, gray and colour, loaded and rebuilt there."""
    pytest.importorskip("jax")
    gray = Preprocessing(30, (24, 24), "bicubic", "gray", (33.0,), (78.0,))
    model = ensemble([member(), member(gray, channels=1, seed=1, activation=None)], average="logits")
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 255, (2, 36, 36, 3)).astype("float32")
    np.savez(tmp_path / "x.npz", x=x, y=model(x))
    code = (
        f"FIELDS = {[astuple(TORCH), astuple(gray)]}"
        + """
import keras, kerascnn, kerascnn.photos.preprocessing, numpy as np
from kerascnn.build_info import BuildInfo, set_build_info
assert keras.backend.backend() == "jax"
model = keras.saving.load_model("model.keras")
data = np.load("x.npz")
np.testing.assert_allclose(np.asarray(model(data["x"])), data["y"], atol=1e-5)
columns = [model.get_layer(name) for name in ("small", "small_2")]
for column, fields in zip(columns, FIELDS):
    set_build_info(column, BuildInfo(preprocessing=kerascnn.photos.preprocessing.Preprocessing(*fields)))
again = kerascnn.applications.ensemble(columns, average="logits")
np.testing.assert_allclose(np.asarray(again(data["x"])), data["y"], atol=1e-5)
"""
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu"),
    )
    assert run.returncode == 0, run.stderr[-3000:]
