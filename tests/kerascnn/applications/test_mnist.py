"""The networks of MNIST's time learn from its images, on TensorFlow and on JAX."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.build_info import build_info
from kerascnn.layers.lenet import DistanceLoss
from tests import ROOT

NETWORKS = ("lenet5", "lenet5_1998", "lenet_caffe", "ciresan_mlp", "ciresan_mnist", "ciresan_gtsrb")

pytestmark = pytest.mark.data


def digits(folder: Path, model: keras.Model, part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of MNIST in the middle of the model's field, scaled for it, and their labels."""
    with np.load(folder / "mnist.npz") as file:
        images, labels = file[f"x_{part}"][:count], file[f"y_{part}"][:count]
    room = model.input_shape[1] - 28
    before = (room // 2, room - room // 2)
    images = np.pad(images, ((0, 0), before, before))[..., None]
    return kerascnn.preprocess_input(images, model), labels.astype("int64")


def photos(folder: Path, model: keras.Model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For the network of traffic signs, of which there are none here: photos of CIFAR-10 in its size."""
    from PIL import Image

    with zipfile.ZipFile(folder / "cifar10_test_5000.zip") as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))
        names = names[:: len(names) // count][:count]
        images = [build_info(model).preprocessing.load(Image.open(io.BytesIO(file.read(name)))) for name in names]
    classes = sorted({name.split("/")[-2] for name in names})
    return np.stack(images), np.array([classes.index(name.split("/")[-2]) for name in names])


def one_step(name: str, folder: Path, loss: keras.losses.Loss | None = None) -> tuple[float, float]:
    """The loss before and after one step down the gradient; every trained weight must have been moved by it."""
    keras.utils.set_random_seed(0)
    model = kerascnn.create_model(name, classifier_activation=None)
    x, y = photos(folder, model, 16) if name == "ciresan_gtsrb" else digits(folder, model, "train", 32)
    before = [np.array(weight) for weight in model.trainable_weights]
    fixed = [np.array(weight) for weight in model.non_trainable_weights]
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=keras.backend.backend() == "jax")
    first = float(model.train_on_batch(x, y))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = np.array(weight)
        assert np.isfinite(new).all(), weight.path
        assert (new != old).any(), weight.path
    for weight, old in zip(model.non_trainable_weights, fixed, strict=True):
        np.testing.assert_array_equal(weight, old)
    return first, float(model.test_on_batch(x, y))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_lowers_the_loss(name, data):
    first, second = one_step(name, data)
    print(f"{name}: {first:.5f} -> {second:.5f}")
    assert second < first


@pytest.mark.parametrize("j", [None, 10.0])
def test_a_step_lowers_the_papers_criteria(j, data):
    first, second = one_step("lenet5_1998", data, DistanceLoss(j))
    assert second < first


JAX = """
import sys
from pathlib import Path
import keras
from tests.kerascnn.applications.test_mnist import one_step
assert keras.backend.backend() == "jax"
for name in sys.argv[2:]:
    first, second = one_step(name, Path(sys.argv[1]))
    assert second < first, (name, first, second)
    print(f"{name}: {first:.5f} -> {second:.5f}")
"""


@pytest.mark.slow
def test_a_step_lowers_the_loss_on_jax(data):
    pytest.importorskip("jax")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", JAX, str(data), *NETWORKS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("lenet5", 0.97), ("lenet5_1998", 0.96)])
def test_mnist_is_learnt_in_a_minute(name, accuracy, data):
    """Two passes over the 60,000 digits; LeNet-5 of 1998 with the paper's own criterion."""
    keras.utils.set_random_seed(0)
    model = kerascnn.create_model(name, classifier_activation=None)
    own = name == "lenet5_1998"
    loss = DistanceLoss(10.0) if own else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=[keras.metrics.SparseCategoricalAccuracy()])
    model.fit(*digits(data, model, "train", 60_000), batch_size=64, epochs=2, verbose=0)
    _, found = model.evaluate(*digits(data, model, "test", 10_000), batch_size=1000, verbose=0)
    print(f"{name}: {found:.2%} of the test digits")
    assert found > accuracy
