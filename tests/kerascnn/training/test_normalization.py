"""Batch normalization by TensorFlow's fused kernel trains as Keras's own layer does."""

import keras
import numpy as np
import pytest

from kerascnn.training.normalization import FusedBatchNormalization, fuse

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's")


def network(side=6, **options):
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(8, 3, use_bias=False, kernel_initializer="he_normal", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm", **options)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x))


def trained(model, steps=3):
    random = np.random.default_rng(0)
    images = random.normal(1, 3, (16, *model.input_shape[1:])).astype("float32")
    model.compile(
        keras.optimizers.SGD(0.02, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    for step in range(steps):
        model.train_on_batch(images + step, np.arange(16) % 4)
    return model


def pair(**options):
    """The same network twice, the second with the kernel."""
    plain, fused = network(**options), network(**options)
    fused.set_weights(plain.get_weights())
    fuse(fused)
    return plain, fused


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": False},
        {"center": False, "momentum": 0.9},
        {"axis": 3, "epsilon": 1e-5},
        {"side": 3},  # a map of one pixel
    ],
)
def test_weights_and_moving_statistics_become_the_same(options):
    plain, fused = pair(**options)
    before = fused.get_weights()
    assert type(fused.get_layer("norm")) is FusedBatchNormalization
    trained(plain), trained(fused)
    for variable, old, was, now in zip(plain.weights, before, plain.get_weights(), fused.get_weights(), strict=True):
        assert np.abs(was - old).max() > 1e-3, variable.path
        np.testing.assert_allclose(now, was, rtol=2e-4, atol=2e-5, err_msg=variable.path)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(precision):
    """The moments of large values are as exact as in Keras's float32: a kernel that summed in 8 bits would not be."""
    keras.config.set_dtype_policy(precision)
    try:
        plain, fused = pair(momentum=0.5)
    finally:
        keras.config.set_dtype_policy("float32")
    trained(plain, 1), trained(fused, 1)
    for name in ("moving_mean", "moving_variance"):
        was, now = (np.asarray(getattr(model.get_layer("norm"), name)) for model in (plain, fused))
        np.testing.assert_allclose(now, was, rtol=1e-3, atol=1e-3)


def test_inference_and_frozen_layers_take_the_moving_statistics():
    plain, fused = pair()
    images = np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype("float32")
    trained(fused)
    plain.set_weights(fused.get_weights())
    np.testing.assert_array_equal(plain.predict(images, verbose=0), fused.predict(images, verbose=0))
    fused.get_layer("norm").trainable = False
    before = [np.asarray(v) for v in fused.get_layer("norm").weights]
    trained(fused)
    for old, new in zip(before, fused.get_layer("norm").weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))


@pytest.mark.parametrize(
    "options", [{"epsilon": 1e-6}, {"axis": 1}, {"renorm": True}, {"synchronized": True}, {"dtype": "float64"}]
)
def test_where_the_kernel_would_compute_something_else_keras_does(options):
    model = network(**options)
    fuse(model)
    assert type(model.get_layer("norm")) is keras.layers.BatchNormalization


def test_a_subclass_and_vectors_are_left_alone():
    class Own(keras.layers.BatchNormalization):
        pass

    inputs = keras.Input((6, 6, 3))
    x = keras.layers.GlobalAveragePooling2D()(Own(name="own")(inputs))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="vectors")(x))
    fuse(model)
    assert [type(model.get_layer(name)) for name in ("own", "vectors")] == [Own, keras.layers.BatchNormalization]


def test_a_layer_that_is_called_twice_is_fused_too():
    shared, (one, other) = keras.layers.BatchNormalization(), (keras.Input((6, 6, 3)), keras.Input((6, 6, 3)))
    model = keras.Model([one, other], keras.layers.add([shared(one), shared(other)]))
    fuse(model)
    assert type(shared) is FusedBatchNormalization
