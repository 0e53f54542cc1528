"""Every backend of Keras gives the same logits from the same weights, and trains every kind of layer.

The default run takes a few networks that hold, together, every kind of layer; `-m slow` all others.
"""

import importlib.util

import keras
import numpy as np
import pytest

from tests.kerascnn.applications.test_variants import FAMILIES, images, relative_error, seeded, small
from tests.processes import start

TRAINED = ["lenet5_1998", "resnet20_cifar"]  # the layers of 1998; normalization and sums
QUICK = [*TRAINED, "squeezenet", "alexnet", "seresnet18"]  # joins; groups and LRN; squeeze and excitation

BACKENDS = ("jax", "torch")
SCRIPT = """
import sys
import keras
import numpy as np
from kerascnn.building import blocks, head
# Seeded weights follow, and JAX compiles random numbers anew for each shape.
blocks.INITIALIZER = head.INITIALIZER = "zeros"
from tests.kerascnn.applications.test_backends import logits
assert keras.backend.backend() == sys.argv[1]
_, file, trained, *names = sys.argv[1:]
np.savez(file, **{name: logits(name, trained=name in trained.split()) for name in names})
"""


def logits(name, trained=False):
    """Of seeded weights, under the present backend; afterwards, train a step."""
    model = seeded(small(name))
    x = images(model)
    # Called layer by layer, JAX would compile each operation for each shape; the others need no compilation.
    result = model.predict_on_batch(x) if keras.backend.backend() == "jax" else model(x, training=False)
    result = keras.ops.convert_to_numpy(result)
    if trained:
        train_one_step(model, x)
    keras.backend.clear_session()
    return result


def train_one_step(model, x):
    """Take one step of SGD on two labels; every trained weight must change, by a finite amount."""
    before = [np.array(weight) for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A large rate, so that a small gradient still moves a weight by more than float32 rounds away.
    model.compile(keras.optimizers.SGD(1.0), loss, jit_compile=False)
    assert np.isfinite(model.train_on_batch(x, np.array([1, 3])))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = np.array(weight)
        assert np.isfinite(new).all(), weight.path
        assert (new != old).any(), weight.path


@pytest.mark.parametrize(
    ("names", "trained"),
    [
        pytest.param(QUICK, TRAINED, id="quick"),
        *(pytest.param(names, names[:1], id=family, marks=pytest.mark.slow) for family, names in FAMILIES.items()),
    ],
)
def test_other_backends_give_the_same_logits(names, trained, tmp_path):
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend)]
    if not installed:
        pytest.skip(f"none of {', '.join(BACKENDS)} is installed")
    arguments = {backend: [backend, tmp_path / f"{backend}.npz", " ".join(trained), *names] for backend in installed}
    processes = {
        backend: start(
            *("-c", SCRIPT, *arguments[backend]),
            KERAS_BACKEND=backend,
            XLA_FLAGS="--xla_backend_optimization_level=0",  # compiles in a third of the time
        )
        for backend in installed
    }
    expected = {name: logits(name) for name in names}
    errors = {}
    for backend, process in processes.items():
        _, messages = process.communicate()
        assert process.returncode == 0, f"{backend}: {messages[-3000:]}"
        found = np.load(tmp_path / f"{backend}.npz")
        errors |= {(backend, name): relative_error(found[name], expected[name]) for name in names}
    print("backends", {key: float(value) for key, value in errors.items()})
    assert max(errors.values()) <= 1e-4, errors
