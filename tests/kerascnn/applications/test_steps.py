"""Each CIFAR network and each historic ImageNet network learns from photos: one step lowers the loss, on two backends.

The networks of MNIST are in test_mnist.py. The default run takes the cheapest of a family or two, `-m slow` all of them
on TensorFlow, and each kind of block on JAX.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.registry import variants
from tests import ROOT

FAMILIES = ("resnet_cifar", "plain_cifar", "resnet_v2_cifar", "wide_resnet_cifar", "resnext_cifar", "densenet_cifar")
FAMILIES += ("stochastic_depth", "fractalnet", "nin", "zfnet", "overfeat", "plain")
NETWORKS = [name for name, row in variants().items() if row.family in FAMILIES]
QUICK = {"wide_resnet16_4_cifar", "resnet20_cifar", "plain20_cifar", "nin_cifar", "plain18"}
# Each family with each kind of block. More depth of the same repeats on JAX what it shows on TensorFlow; there DenseNet
# with 100 layers took 7 minutes and 11 GB, since JAX compiles for each shape anew.
ON_JAX = {"resnet20_cifar", "resnet164_cifar", "plain20_cifar", "resnet110_v2_cifar", "resnet164_v2_cifar"}
ON_JAX |= {"wide_resnet16_4_cifar", "wide_resnet40_4_cifar", "resnext29_8x64d_cifar", "densenet40_k12_cifar"}
ON_JAX |= {"densenet40_bc_k36_cifar", "resnet110_stochastic_cifar", "fractalnet10_cifar", "fractalnet34", "nin"}
ON_JAX |= {"nin_cifar", "zfnet", "zfnet_wide", "overfeat_fast", "overfeat_accurate", "plain18"}
# What a step leaves out at random has no gradient in it; test_stochastic_depth.py and test_fractalnet.py take that up.
WHOLE = {
    "stochastic_depth": {"survival_probability": None},
    "fractalnet": {"drop_path": 0.0, "global_drop_path": 0.0},
}
# Without shortcuts gradients grow with each normalised layer (plain nets), and with a thousand layers in any case: the
# others' step overshoots there.
RATES = dict.fromkeys(("plain34", "plain56_cifar", "plain110_cifar", "resnet1202_cifar"), 1e-4)
# The first gradients of these have norms of 160 and 61,000. Steps that short are lost in float32; in float64 the loss
# falls by what the gradients say, 0.01.
RATES |= {"resnet164_v2_cifar": 3.7e-7, "resnet1001_v2_cifar": 2.7e-12}
PRECISIONS = dict.fromkeys(("resnet164_v2_cifar", "resnet1001_v2_cifar"), "float64")

# XLA takes minutes for the gradients of grouped convolutions on a processor; the largest take 16 GB with 16 images.
IMAGES = {"resnext_cifar": 2, "fractalnet": 8}
IMAGES |= dict.fromkeys(("resnet1001_v2_cifar", "densenet190_bc_k40_cifar", "densenet250_bc_k24_cifar"), 4)


def photos(folder: Path, side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of CIFAR-10, RGB from 0 to 255 in that size, and their classes."""
    from PIL import Image

    with zipfile.ZipFile(folder / "cifar10_test_5000.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        names = names[:: len(names) // count][:count]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((side, side)) for name in names]
    return np.stack([np.asarray(i) for i in images]), np.array([CIFAR10_CLASSES.index(n.split("/")[-2]) for n in names])


@contextmanager
def weights_in(precision: str) -> Iterator[None]:
    """Build layers that compute and keep their weights in that precision."""
    if precision == "float64" and keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # only a process of its own comes here
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    yield
    keras.config.set_dtype_policy(before)


def step(name: str, folder: Path) -> tuple[float, float]:
    """The loss on one batch before and after a step down its gradient, which every trained weight must follow."""
    keras.utils.set_random_seed(0)
    row = variants()[name]
    side = max(row.min_size, 32)
    with weights_in(PRECISIONS.get(name, "float32")):
        model = kerascnn.create_model(
            name, input_shape=(side, side, 3), classes=10, classifier_activation=None, **WHOLE.get(row.family, {})
        )
    x, y = photos(folder, side, IMAGES.get(name, IMAGES.get(row.family, 16)))
    x = kerascnn.preprocess_input(x, model)
    # Traced or compiled, the deepest networks take many minutes.
    model.compile(
        keras.optimizers.SGD(RATES.get(name, 1e-3)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    before = [np.array(weight) for weight in model.trainable_weights]
    normalized = any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    # With the statistics of the batch, as trained; without normalisation, away from the dropout's draw.
    first = None if normalized else float(model.test_on_batch(x, y))
    trained = float(model.train_on_batch(x, y))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = np.array(weight)
        assert np.isfinite(new).all(), weight.path
        assert (new != old).any(), weight.path
    losses = (trained, float(model.train_on_batch(x, y))) if normalized else (first, float(model.test_on_batch(x, y)))
    del model, before
    keras.backend.clear_session()
    gc.collect()  # gigabytes a network
    return losses


@pytest.mark.data
@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_a_step_lowers_the_loss(network, data):
    first, second = step(network, data)
    print(f"{network}: {first:.5f} -> {second:.5f}")
    assert second < first


JAX = """
import sys
from pathlib import Path
import keras
from tests.kerascnn.applications.test_steps import step
assert keras.backend.backend() == "jax"
first, second = step(sys.argv[2], Path(sys.argv[1]))
print(f"{sys.argv[2]}: {first:.5f} -> {second:.5f}")
assert second < first
"""


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("network", sorted(ON_JAX))
def test_a_step_lowers_the_loss_on_jax(network, data):
    """The default run trains one on JAX in test_backends.py."""
    pytest.importorskip("jax")
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", JAX, str(data), network],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
