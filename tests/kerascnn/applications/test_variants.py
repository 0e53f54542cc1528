"""What every variant must be able to do: train, be saved and copied, run in float16, and give feature maps.

The default run takes the smallest variant of each family where that is cheap, `-m slow` all others.
"""

import zlib

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.keras_graph import deep_graphs
from kerascnn.registry import variants
from kerascnn.weights.fitting import following_normalization
from tests.parity.seeding import values

FAMILIES: dict[str, list[str]] = {}
for _row in sorted(variants().values(), key=lambda row: row.parameters):
    FAMILIES.setdefault(_row.family, []).append(_row.name)
# These take as long as all the others together, and what they are made of is in the others too.
COSTLY_FAMILIES = {"wide_resnet", "resnext", "inception_v3", "inception_v4", "inception_resnet", "plain"}
COSTLY_FAMILIES |= {"resnet_v2_cifar", "resnext_cifar", "densenet_cifar", "stochastic_depth", "fractalnet"}
COSTLY_FAMILIES |= {"densenet", "bn_inception"}
QUICK = [names[0] for family, names in FAMILIES.items() if family not in COSTLY_FAMILIES]

# The last unit of Inception-ResNet v2 is not rectified, so its bias too goes unchanged into a batch normalisation.
REDUNDANT_BIASES = {"inception_resnet_v2": {"block8_10_conv/bias"}}
# What these leave out of a step at random has no gradient in it; their own tests take that up.
WHOLE = {
    "resnet110_stochastic_cifar": {"survival_probability": None},
    **{f"fractalnet{depth}_cifar": {"drop_path": 0.0, "global_drop_path": 0.0} for depth in (10, 20, 40)},
    "fractalnet34": {"drop_path": 0.0, "global_drop_path": 0.0},
}
ROUNDING = 1e-4  # gradients that are zero by construction come out at 2e-6 at most, all others at 5e-3 at least


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in variants()],
)
def model(request):
    """Each variant in turn, shared by its tests; they may change its weights."""
    yield seeded(small(request.param))
    keras.backend.clear_session()


def small(name, **options):
    """The network for small images, giving logits of 5 classes. Flattening heads shrink with the image."""
    row = variants()[name]
    side = max(row.min_size, 32)
    options = {"classes": 5, "classifier_activation": None, **WHOLE.get(name, {}), **options}
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


def test_every_weight_is_trained(model):
    # A branch that is not connected, or that the next layer undoes, has no gradient. The weights are not the initial
    # ones, of which some have none by symmetry: a scale before another normalisation, as long as all shifts are 0.
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    # The mean that batch normalisation subtracts takes away what a bias before it adds.
    redundant = REDUNDANT_BIASES.get(model.name, set()) | {
        f"{layer.name}/bias"
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and following_normalization(model, layer)
    }
    before = [np.array(weight) for weight in model.non_trainable_weights]
    with tf.GradientTape() as tape:
        # Four images, so that batch normalisation has a variance even on maps of one pixel.
        logits = model(images(model, 4), training=True)
        loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(np.arange(4), logits, from_logits=True))
    assert np.isfinite(float(loss))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        largest = float(np.abs(gradient).max())
        assert np.isfinite(largest), weight.path
        assert (largest > ROUNDING) == (weight.path not in redundant), (weight.path, largest)
    for statistics, old in zip(model.non_trainable_weights, before, strict=True):
        new = np.asarray(statistics)
        assert np.isfinite(new).all(), statistics.path
        fixed = statistics.name == "prototypes"  # the codes of LeNet-5's outputs
        assert (new != old).any() != fixed, statistics.path


def test_saved_and_cloned(model, tmp_path):
    x = images(model)
    file = tmp_path / "model.keras"
    model.save(file)
    with deep_graphs():  # ResNet-1202
        loaded = keras.saving.load_model(file)
        clone = keras.models.clone_model(model)
    file.unlink()  # up to 500 MB, and pytest keeps its temporary folders
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))
    assert [(w.path, w.shape) for w in clone.weights] == [(w.path, w.shape) for w in model.weights]


def test_mixed_precision(model):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = small(model.name)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    assert half.output.dtype == "float32"
    products = [layer for layer in half.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    # the classifier of SqueezeNet is a convolution
    assert {layer.compute_dtype for layer in products if layer.name != "predictions"} == {"float16"}
    x = images(model)
    assert relative_error(np.asarray(half(x)), np.asarray(model(x))) <= 0.02


def test_feature_maps(model):
    features = small(model.name, features=True)
    assert list(features.output) == list(variants()[model.name].stages)
    whole = {weight.path: weight for weight in model.weights}
    for weight in features.weights:
        weight.assign(whole[weight.path])
    for stage, feature_map in features(images(model)).items():
        array = np.asarray(feature_map)
        assert array.ndim == 4, stage
        assert np.isfinite(array).all(), stage
        assert array.std() > 0, stage
