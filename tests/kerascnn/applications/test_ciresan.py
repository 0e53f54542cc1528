"""The deep perceptron of 2010 and the columns of 2012."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications
from kerascnn.layers.lenet import scaled_tanh


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_the_perceptron_is_products_and_scaled_tanh():
    """Written out in NumPy, with any number of hidden layers."""
    model = applications.ciresan_mlp(hidden=(7, 5, 6), classifier_activation=None)
    x = normal(3, 29, 29, 1)
    y = x.reshape(3, -1)
    *hidden, last = [layer for layer in model.layers if layer.weights]
    assert [layer.name for layer in hidden] == ["fc1", "fc2", "fc3"]
    for layer in hidden:
        kernel, bias = layer.get_weights()
        y = 1.7159 * np.tanh(2 / 3 * (y @ kernel + bias))
    kernel, bias = last.get_weights()
    np.testing.assert_allclose(model(x), y @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_the_hidden_layers_are_maps_of_one_pixel():
    """Those who ask for feature maps get the same rank from every network."""
    features = applications.ciresan_mlp(hidden=[9, 8], features=True)
    assert {name: tensor.shape[1:] for name, tensor in features.output.items()} == {
        "stage1": (1, 1, 9),
        "stage2": (1, 1, 8),
    }
    whole = applications.ciresan_mlp(hidden=[9, 8])
    assert not any(isinstance(layer, keras.layers.Reshape) for layer in whole.layers)
    assert applications.ciresan_mlp(hidden=[9, 8], include_top=False).output_shape == (None, 1, 1, 8)
    assert applications.ciresan_mlp(hidden=[9, 8], include_top=False, pooling="avg").output_shape == (None, 8)
    assert applications.ciresan_mlp(hidden=[9], input_shape=(8, 6, 3)).count_params() == (8 * 6 * 3 + 1) * 9 + 100


@pytest.mark.parametrize(
    ("name", "maps", "units"),
    [
        ("ciresan_mnist", [26, 13, 9, 3], [150, 10]),
        ("ciresan_gtsrb", [42, 21, 18, 9, 6, 3], [300, 43]),
    ],
)
def test_columns_read_as_the_paper_writes_them(name, maps, units):
    model = kerascnn.create_model(name)
    sides = [layer.output.shape[1] for layer in model.layers if len(layer.output.shape) == 4][1:]
    assert sides == maps
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == units


@pytest.mark.parametrize("name", ["ciresan_mlp", "ciresan_mnist", "ciresan_gtsrb"])
def test_units_and_initial_weights_are_the_papers(name):
    model = kerascnn.create_model(name)
    *hidden, last = [layer for layer in model.layers if layer.weights]
    assert all(layer.activation is scaled_tanh for layer in hidden)
    assert last.activation is keras.activations.softmax
    for layer in (*hidden, last):
        assert 0.045 < float(np.abs(np.asarray(layer.kernel)).max()) < 0.05001


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": ()}, "at least one positive whole number"),
        ({"hidden": (1000, 0)}, "positive"),
        ({"hidden": "1000"}, "'1000'"),
        ({"hidden": 1000}, "each hidden layer"),
        ({"hidden": (2.5,)}, "whole number"),
        ({"input_shape": (None, None, 1), "include_top": False}, "give the sides"),
    ],
    ids=str,
)
def test_bad_options(options, says):
    with pytest.raises(ValueError, match=says):
        applications.ciresan_mlp(**options)
