"""What every variant must be able to do: train, be saved and copied, run in float16 and on every backend of Keras.

The default run takes the smallest variant of each family, `-m slow` the others.
"""

import importlib.util
import os
import subprocess
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.registry import variants
from kerascnn.weights.conversion import following_normalization
from tests.parity.seeding import values

FAMILIES: dict[str, list[str]] = {}
for _row in sorted(variants().values(), key=lambda row: row.parameters):
    FAMILIES.setdefault(_row.family, []).append(_row.name)
SMALLEST = [names[0] for names in FAMILIES.values()]
OTHERS = {family: names[1:] for family, names in FAMILIES.items() if names[1:]}

every_variant = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALLEST else pytest.mark.slow) for name in variants()]
)
every_variant_by_family = pytest.mark.parametrize(
    "names",
    [
        pytest.param(SMALLEST, id="smallest"),
        *(pytest.param(names, id=family, marks=pytest.mark.slow) for family, names in OTHERS.items()),
    ],
)


@pytest.fixture(autouse=True)
def clear():
    yield
    keras.backend.clear_session()


def small(name, **options):
    """The network on small images, with logits of 5 classes. Flattening heads shrink with the image."""
    row = variants()[name]
    side = max(row.min_size, 32)
    options = {"classes": 5, "classifier_activation": None, **options}
    return kerascnn.create_model(name, input_shape=(side, side, row.input_shape[2]), **options)


def seeded(model):
    """Weights by their names: the same on every backend, with biases and statistics that are not 0 and 1."""
    torch_names = {"gamma": "weight", "moving_variance": "running_var"}
    for weight in model.weights:
        layer, _, name = weight.path.rpartition("/")
        # Reversed, a kernel's shape has its outputs first, as in torch.
        weight.assign(values(f"{layer}.{torch_names.get(name, name)}", weight.shape[::-1]).T)
    return model


def images(model, count=2):
    random = np.random.RandomState(zlib.crc32(model.name.encode()))
    return random.normal(size=(count, *model.input_shape[1:])).astype("float32")


def relative_error(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@every_variant
def test_every_weight_is_trained(name):
    # A branch that is not connected, or a unit that is dead from the start, has no gradient.
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = small(name)
    # The mean that batch normalisation subtracts takes away what a bias before it adds: its gradient is zero.
    redundant = {
        f"{layer.name}/bias"
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and following_normalization(model, layer)
    }
    before = [np.array(weight) for weight in model.non_trainable_weights]
    with tf.GradientTape() as tape:
        # Four images, so that batch normalisation has a variance even on maps of one pixel.
        logits = model(images(model, 4), training=True)
        loss = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(np.array([0, 1, 3, 4]), logits, from_logits=True)
        )
    assert np.isfinite(float(loss))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(np.asarray(gradient)).all(), weight.path
        print(weight.path, float(np.abs(gradient).max()), weight.path in redundant)
        assert np.any(np.asarray(gradient) != 0) or weight.path in redundant, weight.path
    for weight, old in zip(model.non_trainable_weights, before, strict=True):
        assert np.isfinite(np.asarray(weight)).all(), weight.path
        assert (np.asarray(weight) != old).any(), weight.path


@every_variant
def test_saved_and_cloned(name, tmp_path):
    model = seeded(small(name))
    x = images(model)
    expected = np.asarray(model(x))
    file = tmp_path / "model.keras"
    model.save(file)
    loaded = keras.saving.load_model(file)
    file.unlink()  # up to 500 MB, and pytest keeps its temporary folders
    np.testing.assert_array_equal(np.asarray(loaded(x)), expected)
    clone = keras.models.clone_model(model)
    assert [(w.path, w.shape) for w in clone.weights] == [(w.path, w.shape) for w in model.weights]
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(np.asarray(clone(x)), expected)


@every_variant
def test_mixed_precision(name):
    expected = seeded(small(name))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = seeded(small(name))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions[:-1]} == {"float16"}
    x = images(model)
    print("error", relative_error(np.asarray(model(x)), np.asarray(expected(x))))


@every_variant
def test_feature_maps(name):
    model = seeded(small(name, features=True))
    assert list(model.output) == list(variants()[name].stages)
    for stage, feature_map in model(images(model)).items():
        array = np.asarray(feature_map)
        assert array.ndim == 4, stage
        assert np.isfinite(array).all(), stage
        assert array.std() > 0, stage


LOGITS = """
import sys
import keras
from tests.test_variants import write_logits
assert keras.backend.backend() == sys.argv[1]
write_logits(sys.argv[2], sys.argv[3:])
"""


def logits_of(names):
    for name in names:
        model = seeded(small(name))
        yield name, keras.ops.convert_to_numpy(model(images(model), training=False))
        keras.backend.clear_session()


def write_logits(path, names):
    np.savez(path, **dict(logits_of(names)))


@pytest.mark.parametrize("backend", ["jax", "torch"])
@every_variant_by_family
def test_other_backends_give_the_same_logits(backend, names, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path = tmp_path / "logits.npz"
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    command = [sys.executable, "-c", LOGITS, backend, str(path), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-3000:])
    found = np.load(path)
    errors = {name: relative_error(found[name], logits) for name, logits in logits_of(names)}
    print(errors)
    assert max(errors.values()) <= 1e-4, errors
