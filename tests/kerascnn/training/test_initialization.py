"""The first weights have the deviations that papers and their code give them."""

import fnmatch

import keras
import numpy as np
import pytest

from kerascnn import applications, create_model
from kerascnn.registry import variants
from kerascnn.training import list_recipes, recipe
from kerascnn.training.initialization import initialize
from kerascnn.training.recipes import Initial
from tests.networks import structure


def drawn(name, recipe_name, **options):
    keras.utils.set_random_seed(0)
    model = create_model(name, classes=10, **options)
    initial = recipe(recipe_name).initial
    assert initial is not None
    initialize(model, initial)
    return model


def check(layer, deviation, bias=0.0):
    kernel = np.asarray(layer.kernel)
    allowed = 5 / np.sqrt(2 * kernel.size)  # five standard errors
    assert kernel.std() == pytest.approx(deviation, rel=allowed), layer.name
    assert abs(kernel.mean()) < 5 * deviation / np.sqrt(kernel.size)
    if layer.use_bias:
        assert (np.asarray(layer.bias) == bias).all(), layer.name


@pytest.mark.parametrize(
    ("name", "recipe_name", "side", "rule"),
    [
        ("resnext50_32x4d", "resnext", 32, lambda layer: 2 / (np.prod(layer.kernel_size) * layer.filters)),
        ("densenet40_k12_cifar", "densenet_cifar", 32, lambda k: 2 / (np.prod(k.kernel_size) * k.filters)),
        ("wide_resnet16_4_cifar", "wide_resnet_cifar", 32, lambda layer: 2 / np.prod(layer.kernel.shape[:3])),
        ("resnet20_cifar", "resnet_cifar", 32, lambda layer: 2 / np.prod(layer.kernel.shape[:3])),
        ("squeezenet_cifar", "squeezenet", 32, lambda layer: 1 / np.prod(layer.kernel.shape[:3])),
    ],
)
def test_variances_of_convolutions(name, recipe_name, side, rule):
    """2 / fan-out of torch's code, groups not divided; 2 / fan-in; and Caffe's Xavier, 1 / fan-in."""
    model = drawn(name, recipe_name, input_shape=(side, side, 3))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions:
        check(layer, 0.01 if layer.name == "conv10" else np.sqrt(rule(layer)))
    assert len(convolutions) > 15
    if recipe_name == "squeezenet":
        conv = next(layer for layer in convolutions if layer.name == "fire9_expand3x3_conv")
        assert np.abs(conv.kernel).max() <= np.sqrt(3 / np.prod(conv.kernel.shape[:3]))  # uniform


def test_the_normal_ones_and_their_biases():
    model = drawn("alexnet_owt", "alexnet_owt", input_shape=(63, 63, 3), include_top=False)
    for name, deviation, bias in (
        ("conv1", 0.01, 0), ("conv2", 0.01, 1), ("conv3", 0.03, 0), ("conv4", 0.03, 1), ("conv5", 0.03, 1)
    ):  # fmt: skip
        check(model.get_layer(name), deviation, bias)
    model = drawn("nin_cifar", "nin_cifar")
    assert all(
        np.asarray(layer.kernel).std() == pytest.approx(0.05, rel=0.05) for layer in model.layers if layer.weights
    )
    model = drawn("googlenet", "googlenet", input_shape=(79, 79, 3), aux_logits=True)
    biases = {layer.name: float(layer.bias[0]) for layer in model.layers if layer.weights}
    assert {biases[name] for name in ("aux1", "aux2", "predictions")} == {0}
    assert {round(bias, 6) for name, bias in biases.items() if name not in ("aux1", "aux2", "predictions")} == {0.2}
    check(model.get_layer("aux1_fc"), np.sqrt(1 / model.get_layer("aux1_fc").kernel.shape[0]), np.float32(0.2))


def test_googles_have_deviations_of_their_own():
    """tf_slim/nets/inception_v2.py: 0.09, 0.1 and 1, cut off at two deviations, which leaves 0.88 of them."""
    model = drawn("inception_v2", "bn_inception", input_shape=(64, 64, 3), include_top=False)
    for name, deviation in (
        ("inception_3a_3x3_reduce_conv", 0.0792), ("inception_4b_double_3x3_reduce_conv", 0.0792),
        ("conv2_3x3_reduce_conv", 0.088), ("inception_5b_pool_proj_conv", 0.088), ("conv1_7x7_s2_depthwise", 0.88),
        ("inception_3a_1x1_conv", np.sqrt(2 / 192)), ("conv2_3x3_conv", np.sqrt(2 / (9 * 64))),
    ):  # fmt: skip
        check(model.get_layer(name), deviation)


def test_glorots_rule():
    """Of the residual Inceptions: 2 / (fan-in + fan-out), uniform, dense layers too."""
    assert [recipe(f"inception_resnet_v{i}").initial for i in (1, 2)] == [Initial("glorot")] * 2
    model = applications.lenet5()
    initialize(model, Initial("glorot"))
    for layer in (layer for layer in model.layers if layer.weights):
        *window, inputs, outputs = layer.kernel.shape
        deviation = np.sqrt(2 / (np.prod(window) * (inputs + outputs)))
        check(layer, deviation)
        assert np.abs(layer.kernel).max() <= np.sqrt(3) * deviation


@pytest.mark.parametrize("name", [one.name for one in list_recipes().values() if one.initial and one.initial.layers])
def test_layers_that_recipes_name_exist(name):
    found = recipe(name)
    models = [structure(model, **found.options) for model in variants() if found.fits(model)]
    layers = [layer.name for model in models for layer in model.layers if hasattr(layer, "kernel")]
    assert found.initial is not None
    for pattern in found.initial.layers:
        assert fnmatch.filter(layers, pattern), pattern


def test_the_same_seed_draws_the_same_and_dense_layers_stay_where_fans_rule():
    first, again = (drawn("resnext50_32x4d", "resnext", input_shape=(32, 32, 3)) for _ in range(2))
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(first.weights, again.weights, strict=True))
    keras.utils.set_random_seed(0)
    plain = applications.resnext50_32x4d(classes=10, input_shape=(32, 32, 3))
    assert (np.asarray(plain.get_layer("predictions").kernel) == first.get_layer("predictions").kernel).all()
