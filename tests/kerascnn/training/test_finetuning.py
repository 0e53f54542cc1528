"""Transfer learning: what is frozen stays as it was, normalisation above all."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.training import finetuning
from kerascnn.training.finetuning import head_of, replace_head, unfreeze


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet20.weights.h5"
    keras.utils.set_random_seed(1)
    model = kerascnn.create_model("resnet20_cifar")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, layer.moving_mean.shape[0]))
    model.save_weights(path)
    return path


def step(model: keras.Model) -> dict[str, bool]:
    """Which layers a step of training changes."""
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    random = np.random.default_rng(0)
    model.train_on_batch(random.normal(size=(8, 16, 16, 3)).astype("float32"), np.arange(8) % 3)
    return {
        name: any((a != b).any() for a, b in zip(old, model.get_layer(name).get_weights(), strict=True))
        for name, old in before.items()
    }


def test_the_head_alone_is_trained_and_then_more(weights):
    model = replace_head("resnet20_cifar", str(weights), 3, input_shape=(16, 16, 3))
    moved = step(model)
    assert {name for name, changed in moved.items() if changed} == {"predictions"}

    trained = unfreeze(model, "conv4_block3_1_conv")
    assert trained == ["conv4_block3_1_conv", "conv4_block3_2_conv", "predictions"]
    moved = step(model)
    assert {name for name, changed in moved.items() if changed} == set(trained)  # no normalisation among them

    assert "conv1_bn" in unfreeze(model, normalization=True)
    assert all(step(model).values())


def test_frozen_normalisation_is_at_inference(weights):
    """The collapse that users report: batch statistics of a few photos in place of those that were learnt."""
    model = replace_head("resnet20_cifar", str(weights), 3, input_shape=(16, 16, 3))
    unfreeze(model)
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(model(images, training=True), model(images), atol=1e-6)


def test_layers_are_counted_from_the_end(weights):
    model = replace_head("resnet20_cifar", str(weights), 3, input_shape=(16, 16, 3))
    assert unfreeze(model, 1) == ["predictions"]
    with pytest.raises(ValueError, match="has 39 layers with weights; 40 of them"):
        unfreeze(model, 40)
    with pytest.raises(ValueError, match="no layer named 'fire9'"):
        unfreeze(model, "fire9")


def test_the_head_of_squeezenet_is_its_last_convolution():
    assert [layer.name for layer in head_of(kerascnn.create_model("squeezenet_cifar"))] == ["conv10"]
    with pytest.raises(ValueError, match="include_top=False"):
        finetuning.freeze(kerascnn.create_model("squeezenet_cifar", include_top=False))
