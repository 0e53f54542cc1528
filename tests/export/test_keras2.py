"""The bridge to tensorflow-model-optimization: exact both ways, and what it cannot carry is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow_model_optimization", reason="needs the extra compression")
pytest.importorskip("tf_keras", reason="needs the extra compression")

from export.compression import keras2  # noqa: E402
from export.errors import ExportError, RequestError  # noqa: E402

layers = keras.layers
EXPAND = ("expand1x1", "expand3x3")


def fire(activation: str = "softmax") -> keras.Model:
    inputs = keras.Input((24, 24, 3))
    x = layers.MaxPooling2D(3, 2)(layers.Conv2D(16, 3, strides=2, activation="relu", name="first")(inputs))
    x = layers.Conv2D(8, 1, activation="relu", name="squeeze")(x)
    sizes = dict(zip(EXPAND, (1, 3), strict=True))
    sides = [layers.Conv2D(16, size, padding="same", activation="relu", name=name)(x) for name, size in sizes.items()]
    x = layers.Conv2D(5, 1, name="last")(layers.Dropout(0.5)(layers.Concatenate()(sides)))
    return keras.Model(inputs, layers.Activation(activation)(layers.GlobalAveragePooling2D()(x)), name="fire")


def everything() -> keras.Model:
    """One of each layer that is carried in a way of its own."""
    inputs = keras.Input((24, 24, 4))
    x = layers.Rescaling(0.5, 0.1)(inputs)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU(max_value=6)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", activation="silu")(x)
    y = layers.SeparableConv2D(8, 3, padding="same")(y)
    x = layers.Add()([x, layers.Multiply()([x, y])])
    x = layers.Conv2D(8, 3, groups=2)(layers.ZeroPadding2D(1)(x))
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(x), name="everything")


def photos(count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, count)
    return random.normal(size=(count, 24, 24, 3)).astype(np.float32) + labels[:, None, None, None] / 2, labels


def zeros(weights: dict[str, np.ndarray], name: str) -> float:
    return float((weights[f"{name}/kernel"] == 0).mean())


def nested() -> keras.Model:
    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, fire()(inputs))


def with_operation() -> keras.Model:
    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, layers.Conv2D(2, 3)(inputs) + 1.0)


def with_own_layer() -> keras.Model:
    class Doubled(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, Doubled(name="mine")(inputs))


def mixed() -> keras.Model:
    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, layers.Conv2D(2, 3, dtype="mixed_float16", name="half")(inputs))


def hard() -> keras.Model:
    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, layers.Conv2D(2, 3, activation="hard_silu", name="hard")(inputs))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (nested, "'fire' is a model within"),
        (with_operation, "operation Add"),
        (with_own_layer, "'mine' is a Doubled"),
        (mixed, "'half' is in mixed_float16"),
        (hard, "'hard' has the activation 'hard_silu'"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(build: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        keras2.describe(build())


def test_labels_are_needed_and_weights_belong_together() -> None:
    model = fire()
    with pytest.raises(RequestError, match="one label for each"):
        keras2.run(model, "prune", photos()[0], options={"sparsity": 0.5})
    with pytest.raises(RequestError, match="no operation"):
        keras2.run(model, "shrink")
    weights = keras2.weights_of(model)
    del weights["squeeze/bias"]
    with pytest.raises(ExportError, match="squeeze/bias"):
        keras2.load(model, weights)


def test_there_and_back_is_exact() -> None:
    """`run` itself compares the outputs in both directions, to 1e-6."""
    model = everything()
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    back = keras2.run(model, "none")
    for name, weight in keras2.weights_of(model).items():
        np.testing.assert_array_equal(back[name], weight)


@pytest.mark.slow
def test_pruning_on_a_schedule_and_clustering_that_keeps_zeros() -> None:
    model = fire()
    images, labels = photos()
    before = model.get_weights()
    pruned = keras2.run(model, "prune", images, labels, options={"sparsity": 0.75, "end": 6}, epochs=4, batch=16)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    for name in ("first", "squeeze", *EXPAND, "last"):
        assert zeros(pruned, name) == pytest.approx(0.75, abs=0.02), name
    keras2.load(model, pruned)
    options = {"clusters": 8, "keep_zeros": True}
    clustered = keras2.run(model, "cluster", images, labels, options=options, batch=16)
    for name in ("first", *EXPAND):
        assert len(np.unique(clustered[f"{name}/kernel"])) <= 9, name
        assert zeros(clustered, name) >= 0.72, name


@pytest.mark.slow
def test_sparsity_preserving_quantisation_forgets_the_layers_before_a_concatenation() -> None:
    """Why `pruning` and `clustering` are our own. Should this fail one day, tfmot has been repaired."""
    model = fire()
    for name in ("first", "squeeze", *EXPAND, "last"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[np.abs(kernel) <= np.quantile(np.abs(kernel), 0.67)] = 0
        model.get_layer(name).set_weights([kernel, bias])
    images, labels = photos()
    trained = keras2.run(
        model, "quantize", images, labels, options={"preserve_sparsity": True}, epochs=4, batch=16, learning_rate=1e-2
    )
    for name in ("first", "squeeze", "last"):
        assert zeros(trained, name) > 0.6, name
    for name in EXPAND:
        assert zeros(trained, name) < 0.5, name
