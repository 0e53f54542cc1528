"""TensorFlow and JAX give the same output from the same weights, and both can train every kind of network."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import kerascnn

# every kind of layer: batch norm, groups and LRN, flattening, global pooling, bypass
NETWORKS = {
    "squeezenet": {"input_shape": (48, 48, 3), "bypass": "complex"},
    "resnet18": {"input_shape": (32, 32, 3)},
    "resnet50": {"input_shape": (32, 32, 3), "stride_in_1x1": False},
    "alexnet": {"input_shape": (67, 67, 3)},
    "alexnet_owt": {"input_shape": (80, 80, 3)},
    "vgg11": {"input_shape": (32, 32, 3)},
}

JAX = """
import sys
import numpy as np
import keras
import kerascnn
from tests.kerascnn.applications.test_backends import NETWORKS, one_step
assert keras.backend.backend() == "jax"
arrays = np.load(sys.argv[1])
results = {}
for name, options in NETWORKS.items():
    model = kerascnn.create_model(name, classes=5, classifier_activation=None, **options)
    model.set_weights([arrays[f"{name}/{i}"] for i in range(len(model.weights))])
    results[name] = np.asarray(model(arrays[f"{name}/x"], training=False))
    one_step(model, arrays[f"{name}/x"])
np.savez(sys.argv[2], **results)
"""


def one_step(model, x):
    """One step of SGD on two labels; every trained weight must change, by a finite amount."""
    before = [np.array(weight) for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A large rate, so that a small gradient still moves a weight by more than float32 rounds away.
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    assert np.isfinite(model.train_on_batch(x, np.array([1, 3])))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = np.array(weight)
        assert np.isfinite(new).all(), weight.path
        assert (new != old).any(), weight.path


def test_same_output_and_one_training_step(tmp_path):
    arrays, expected = {}, {}
    random = np.random.default_rng(0)
    for name, options in NETWORKS.items():
        model = kerascnn.create_model(name, classes=5, classifier_activation=None, **options)
        for weight in model.weights:
            # Moving statistics and biases that are not 0 and 1, so that a wrong order shows.
            if weight.name in ("moving_variance", "gamma"):
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("moving_mean", "beta", "bias"):
                weight.assign(random.normal(0, 0.1, weight.shape))
        x = random.normal(size=(2, *options["input_shape"])).astype("float32")
        arrays |= {f"{name}/{i}": np.array(weight) for i, weight in enumerate(model.weights)} | {f"{name}/x": x}
        expected[name] = np.asarray(model(x, training=False))
        one_step(model, x)
        keras.backend.clear_session()
    np.savez(tmp_path / "weights.npz", **arrays)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", JAX, str(tmp_path / "weights.npz"), str(tmp_path / "results.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-3000:])
    found = np.load(tmp_path / "results.npz")
    for name, logits in expected.items():
        error = np.abs(found[name] - logits).max() / np.abs(logits).max()
        assert error <= 1e-4, (name, error)
