"""Network in Network: Caffe's pools, scores that are means of maps, and training on CIFAR-10."""

import io
import zipfile

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerascnn import applications, weights
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.weights import WeightsError
from kerascnn.weights.naming import nin
from tests.parity import seeding


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def caffe_pool(x, reduce):
    """Windows of 3x3 from the first pixel on, at every second; one at the edge has the pixels that there are."""
    sides = [-(-(n - 3) // 2) + 1 for n in x.shape[1:3]]
    windows = [
        [reduce(x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], axis=(1, 2)) for j in range(sides[1])]
        for i in range(sides[0])
    ]
    return np.stack([np.stack(row, axis=1) for row in windows], axis=1)


@pytest.mark.parametrize("sides", [(32, 32), (27, 26), (30, 29), (30, 32)], ids=str)
@pytest.mark.parametrize(("pool2", "reduce2"), [("max", np.max), ("average", np.mean)])
def test_pools_of_the_cifar_network(sides, pool2, reduce2):
    model = applications.nin_cifar(input_shape=(*sides, 3), pool2=pool2)
    for name, reduce in (("cccp2", np.max), ("cccp4", reduce2)):
        maps = model.get_layer(name).output
        pooled = model.get_layer("drop3" if name == "cccp2" else "drop6").input
        x = np.abs(images(2, *maps.shape[1:]))
        found = keras.ops.convert_to_numpy(keras.Model(maps, pooled)(x))
        np.testing.assert_allclose(found, caffe_pool(x, reduce), rtol=1e-5)


def test_the_network_of_the_papers_experiments_has_maxima_alone():
    """mavenlin/cuda-convnet, NIN/cifar-10_def, lines 42 and 88."""
    pools = [type(layer).__name__ for layer in applications.nin_cifar().layers if "Pooling" in type(layer).__name__]
    assert pools == ["MaxPooling2D", "MaxPooling2D", "GlobalAveragePooling2D"]


@pytest.mark.parametrize(("build", "last"), [(applications.nin, "cccp8"), (applications.nin_cifar, "cccp6")])
def test_scores_are_the_means_of_rectified_maps(build, last):
    model = build(classifier_activation=None)
    side = model.input_shape[1]
    maps = np.asarray(keras.Model(model.input, model.get_layer(last).output)(images(1, side, side, 3)))
    assert maps.min() == 0 < maps.max()
    assert maps.shape[1:] == ((6, 6, 1000) if last == "cccp8" else (8, 8, 10))
    np.testing.assert_allclose(np.asarray(model(images(1, side, side, 3))), maps.mean(axis=(1, 2)), rtol=1e-4)
    dropouts = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert dropouts == [0.5] * (1 if last == "cccp8" else 2)


def test_any_size_for_imagenet_and_what_cifar_needs():
    assert applications.nin(input_shape=(None, None, 3), classes=4)(images(1, 250, 230, 3)).shape == (1, 4)
    for form in ({}, {"pool2": "average", "pool_padding": 1}):
        assert applications.nin_cifar(input_shape=(None, None, 3), **form)(images(1, 40, 33, 3)).shape == (1, 10)
    with pytest.raises(ValueError, match="depend on the size of the image"):
        applications.nin_cifar(input_shape=(None, 32, 3), pool2="average")
    with pytest.raises(ValueError, match="pool_padding must be one of 0, 1"):
        applications.nin_cifar(pool_padding=2)
    assert applications.nin_cifar(classes=100).output_shape == (None, 100)
    assert applications.nin_cifar(include_top=False, pooling="avg").output_shape == (None, 192)


def checkpoint(model, names, folder):
    state = seeding.state_dict(seeding.shapes(model, names))
    path = folder / "weights.safetensors"
    save_file(state, path)
    return path, state


def test_torch_copy_of_the_caffe_weights(tmp_path):
    model = applications.nin(input_shape=(64, 64, 3))
    own = [layer.name for layer in model.layers if layer.weights]
    path, state = checkpoint(model, nin.caffe_in_torch(own), tmp_path)
    assert state["features.0.weight"].shape == (96, 3, 11, 11)
    assert state["features.22.weight"].shape == (1024, 384, 3, 3)
    assert weights.load(model, path).naming == "caffe_in_torch"
    np.testing.assert_array_equal(np.asarray(model.get_layer("cccp8").bias), state["features.26.bias"])
    trunk = applications.nin(input_shape=(64, 64, 3), include_top=False, weights=str(path))
    np.testing.assert_array_equal(np.asarray(trunk.get_layer("cccp7").bias), state["features.24.bias"])


def test_pytorchcvs_naming_tells_its_pools(tmp_path):
    model = applications.nin_cifar(pool_padding=1, pool2="average")
    own = [layer.name for layer in model.layers if layer.weights]
    path, _ = checkpoint(model, nin.pytorchcv(own), tmp_path)
    assert weights.load(model, path).naming == "pytorchcv"
    with pytest.raises(WeightsError, match="pool_padding=1"):
        applications.nin_cifar(pool2="average", weights=str(path))


@pytest.mark.data
def test_learns_cifar(data):
    """Ten steps on 20 photos; every weight moves."""
    from PIL import Image

    with zipfile.ZipFile(data / "cifar10_test_5000.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::250]
        x = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"), "float32") for name in names]
    labels = np.array([CIFAR10_CLASSES.index(name.split("/")[-2]) for name in names])
    assert len(set(labels)) == 10
    keras.utils.set_random_seed(0)
    model = applications.nin_cifar(classifier_activation=None)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = [float(model.train_on_batch(np.stack(x) / 127.5 - 1, labels)) for _ in range(10)]
    assert losses[-1] < losses[0] - 0.05
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.isfinite(np.asarray(weight)).all()
        assert (np.asarray(weight) != old).any(), weight.path
