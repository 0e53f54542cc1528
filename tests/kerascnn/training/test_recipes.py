"""The recipes say what their papers say, and become the Keras objects that do it."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest

from kerascnn.building.options import option_names
from kerascnn.factory import builders
from kerascnn.registry import variants
from kerascnn.training import Augmentation, Recipe, Schedule, changed, list_recipes, recipe, recipe_for, schedules
from tests.networks import structure

PLAIN = Recipe("plain", "", "", ("*",), input_size=32, batch=8, epochs=10, rate=0.5)


def test_every_network_has_a_recipe_that_fits_it():
    for name, row in variants().items():
        found = recipe_for(name)
        assert found.fits(name)
        assert found.any_size or found.input_size == row.input_shape[0], (name, found.name)


def test_every_recipe_is_somebodys_and_has_a_source():
    for found in list_recipes().values():
        assert any(found.fits(name) for name in variants()), found.name
        assert found.source
        assert found.settled or found.notes, found.name
        schedules.optimizer(found, 1000)
        schedules.loss(found)


def test_options_of_recipes_are_options_of_their_builders():
    for found in list_recipes().values():
        if found.options:
            for name in (name for name in variants() if found.fits(name)):
                assert set(found.options) <= set(option_names(builders()[name])), (found.name, name)
            structure(name, classes=10, **dict(found.options))


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(ValueError, match="resnet_cifar"):
        recipe("resnet-cifar")


def rates(schedule: Schedule, steps: int, *moments: int, rate: float = 0.5) -> list[float]:
    planned = schedules.learning_rate(changed(PLAIN, schedule=schedule, rate=rate), steps)
    return [round(float(planned(moment)), 6) for moment in moments]


def test_papers_schedules():
    """He et al. 2015: 0.1 to 32,000, 0.01 to 48,000, 0.001 to 64,000; ResNet-110 begins with 400 steps of 0.01."""
    steps = 64_000
    moments = (0, 31_999, 32_001, 47_999, 48_001, 63_999)
    assert rates(recipe("resnet_cifar").schedule, steps, *moments, rate=0.1) == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert rates(recipe("resnet110_cifar").schedule, steps, 0, 399, 401, 32_001, rate=0.1) == [0.01, 0.01, 0.1, 0.01]
    assert rates(recipe("wide_resnet_cifar").schedule, 200, 59, 61, 121, 161, rate=0.1) == [0.1, 0.02, 0.004, 0.0008]
    assert rates(recipe("fractalnet_cifar").schedule, 400, 0, 201, 301, 351, 376, rate=0.02) == [
        0.02, 0.002, 0.0002, 0.00002, 0.000002
    ]  # fmt: skip
    assert rates(recipe("squeezenet").schedule, 100, 0, 50, 100, rate=0.04) == [0.04, 0.02, 0.0]
    assert rates(recipe("inception_v3").schedule, 100, 0, 3, 5, rate=1.0) == [1.0, 0.94, 0.8836]
    # examples/mnist/lenet_solver.prototxt: 0.01 (1 + 0.0001 t)^-0.75
    assert rates(recipe("lenet_caffe").schedule, 10_000, 0, 5_000, 10_000, rate=0.01) == [0.01, 0.007378, 0.005946]
    # cuda-convnet2, dexp with tgtFactor 250 and numSteps 4: the last quarter has a 250th of the first rate
    assert rates(recipe("alexnet_owt").schedule, 90, 0, 23, 46, 70, rate=2.5) == [2.5, 0.39685, 0.062996, 0.01]
    assert rates(recipe("nin_cifar").schedule, 260, 0, 199, 201, 229, 231, rate=0.1) == [0.1, 0.1, 0.01, 0.01, 0.001]


def test_each_network_has_its_authors_recipe_by_default():
    """docs/fidelity.md says where each number is from."""

    def has(model: str, **facts: object) -> None:
        found = recipe_for(model)
        assert {name: getattr(found, name) for name in facts} == facts, (model, found.name)

    biases = {"decay_kernels_only": True, "bias_rate": 2}
    has("alexnet", name="alexnet", batch=128, weight_decay=5e-4, **biases)
    has("alexnet_owt", name="alexnet_owt", epochs=90, batch=128, weight_decay=5e-4, **biases)
    has("googlenet", weight_decay=2e-4, auxiliary_weight=0.3, **biases)
    has("nin", rate=0.01, weight_decay=5e-4, schedule=Schedule("step", drops=(0.4444, 0.8889)), settled=True)
    has("nin", name="nin", batch=64, augmentation=Augmentation(flip=True, resize=(256, 256)), **biases)
    has("nin_cifar", rate=0.1, weight_decay=1e-4, epochs=260, augmentation=Augmentation(), **biases)
    has("lenet_caffe", rate=0.01, weight_decay=5e-4, batch=64, decay_kernels_only=False, bias_rate=2)
    torch = {"epochs": 90, "nesterov": True, "batch": 256, "weight_decay": 1e-4}
    has("resnet50_v2", name="resnet_v2", **torch)
    has("wide_resnet50_2", name="wide_resnet", **torch)
    has("resnet50", name="resnet", epochs=120, nesterov=False)
    has("wide_resnet28_10_cifar", name="wide_resnet_cifar", options={})
    for name in ("inception_v3", "inception_v4", "inception_resnet_v2"):
        has(name, options={"aux_logits": True}, auxiliary_weight=0.4)
        assert recipe_for(name).augmentation.crop_area == (0.05, 1.0)
        assert recipe_for(name).augmentation.hue == 0.2


def test_first_weights_are_those_of_the_authors():
    """The rules themselves are tested in test_initialization.py."""
    kinds = {
        "fan_in": ["resnet50", "resnet20_cifar", "seresnet50", "wide_resnet16_4_cifar", "inception_v3", "inception_v4"],
        "fan_out": ["resnet50_v2", "resnet164_v2_cifar", "resnext50_32x4d", "densenet121", "wide_resnet50_2"],
        "xavier": ["googlenet", "squeezenet", "lenet_caffe", "fractalnet20_cifar"],
        "glorot": ["inception_resnet_v1", "inception_resnet_v2"],
        "normal": ["alexnet", "alexnet_owt", "nin", "nin_cifar", "overfeat_fast", "zfnet"],
    }
    found = {name: recipe_for(name).initial for names in kinds.values() for name in names}
    assert {name: initial and initial.kind for name, initial in found.items()} == {
        name: kind for kind, names in kinds.items() for name in names
    }


def test_biases_have_a_rate_of_their_own():
    """Two steps with momentum and a gradient of 1 everywhere move a weight by 1 + 1.9 rates, a bias by twice that."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    optimizer = schedules.optimizer(changed(PLAIN, bias_rate=2), 10)
    weights = model.trainable_variables
    before = [np.array(weight) for weight in weights]
    for _ in range(2):
        optimizer.apply([keras.ops.ones(weight.shape) for weight in weights], weights)
    moved = {w.name: float(np.ravel(b - np.array(w))[0]) for w, b in zip(weights, before, strict=True)}
    assert moved == pytest.approx({"kernel": 1.45, "bias": 2.9, "gamma": 1.45, "beta": 1.45}, rel=1e-5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


def test_one_cycle_rises_and_falls():
    found = rates(Schedule("one_cycle", warmup=0.2), 100, 0, 10, 20, 60, 100)
    assert found == [0.0, 0.25, 0.5, 0.25, 0.0]


def test_weight_decay_is_the_papers():
    """One step of SGD moves a weight without gradient by rate * decay * weight, as in AlexNet's update rule."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(2, trainable=False)])
    schedules.add_weight_decay(model, changed(PLAIN, weight_decay=0.1, decay_kernels_only=True))
    kernel, bias = model.layers[0].get_weights()
    bias += 1
    model.layers[0].set_weights([kernel, bias])
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), lambda y, p: keras.ops.sum(p * 0))
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    after, same = model.layers[0].get_weights()
    np.testing.assert_allclose(after, kernel * (1 - 0.5 * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(same, bias)


def test_label_smoothing_is_keras_own():
    logits, labels = np.random.default_rng(0).normal(size=(5, 4)).astype("float32"), np.array([0, 1, 2, 3, 1])
    ours = schedules.loss(changed(PLAIN, label_smoothing=0.1))(labels, logits)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(np.eye(4)[labels], logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_recipes_are_read_without_keras():
    code = "import sys, kerascnn.training as t; t.list_recipes(); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
