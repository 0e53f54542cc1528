"""Keras's private graph."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

from kerascnn import keras_graph


@pytest.fixture(scope="module")
def forked():
    """image -> first -> (left, right) -> join -> last, where `left` is called twice."""
    image = keras.Input((4,), name="image")
    x = layers.Dense(4, name="first")(image)
    left = layers.Dense(4, name="left")
    y = left(left(x))
    x = layers.Add(name="join")([y, layers.Dense(4, name="right")(x)])
    return keras.Model(image, layers.Dense(2, name="last")(x))


def names(nodes):
    return [node.operation.name for node in nodes]


def test_calls_are_followed_back_from_a_tensor(forked):
    assert keras_graph.producer(forked.output).name == "last"
    assert keras_graph.node_of(forked.output).input_tensors == [forked.get_layer("join").output]
    assert keras_graph.inputs_of(forked.get_layer("left")) == [forked.get_layer("first").output]
    assert names(keras_graph.walk_back(forked.output)) == ["last", "join", "left", "left", "first", "image"]


def test_calls_come_after_those_that_they_read_from(forked):
    found = names(keras_graph.nodes_before(forked.outputs))
    assert found == ["image", "first", "left", "left", "right", "join", "last"]
    known = {id(forked.get_layer("first").output)}
    assert names(keras_graph.nodes_before(forked.outputs, known)) == ["left", "left", "right", "join", "last"]


def test_consumers_are_those_within_the_model(forked):
    first = forked.get_layer("first")
    layers.Activation("relu", name="outside")(first.output)
    assert {layer.name for layer in keras_graph.consumers(first, forked)} == {"left", "right"}


def test_only_models_that_are_made_of_calls_have_a_graph(forked):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    assert keras_graph.has_graph(forked)
    assert not keras_graph.has_graph(Subclassed())
    assert not keras_graph.has_graph(layers.Dense(1))


def test_layers_and_weights_within_models(forked):
    image = keras.Input((4,))
    outer = keras.Model(image, layers.BatchNormalization(name="norm")(forked(image)))
    assert {layer.name for layer in keras_graph.all_layers(outer)} >= {"norm", "first", "last"}
    forked.trainable = False
    assert len(keras_graph.trained_weights(outer)) == 2 * 4 + 2
    forked.trainable = True


def test_layers_can_be_replaced_while_a_model_runs(forked):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    kept = keras_graph.run_graph(forked, x, lambda layer: layer)
    np.testing.assert_array_equal(kept, forked(x))
    without = keras_graph.run_graph(forked, x, lambda layer: (lambda y: y) if layer.name == "last" else layer)
    assert without.shape == (3, 4)


def test_weights_without_values_take_no_memory_and_leave_nothing_behind():
    with keras_graph.without_values():
        huge = keras.Sequential([keras.Input((1 << 20,)), layers.Dense(1 << 20)])  # 4 TB
    assert huge.weights[0].shape == (1 << 20, 1 << 20)
    assert keras.Sequential([keras.Input((2,)), layers.Dense(1)]).predict(np.ones((1, 2)), verbose=0).shape == (1, 1)


def test_deep_graphs_put_the_limit_back():
    before = sys.getrecursionlimit()
    with keras_graph.deep_graphs():
        assert sys.getrecursionlimit() >= keras_graph.DEEPEST
    assert sys.getrecursionlimit() == before


def test_convolutions_on_tensorflow():
    module = keras_graph.tensorflow_convolutions()
    assert module.tf.__name__ == "tensorflow"
    assert callable(module.conv)


def test_tensors_are_computed_from_others(forked):
    image = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    middle = forked.get_layer("first").output
    first = forked.get_layer("first")(image)
    [found, again] = keras_graph.run_from({id(middle): first}, [forked.output, middle])
    assert again is first
    assert np.allclose(np.array(found), np.array(forked(image)), atol=1e-6)
