"""Layers that compute on steps: what they round to, what gradient passes, and that all backends agree."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from kerascnn.layers import FakeQuantization, QuantizedConv2D, QuantizedDense, QuantizedDepthwiseConv2D

ops = keras.ops


def test_activations_have_256_steps_one_of_which_is_zero() -> None:
    layer = FakeQuantization(low=-1.0, high=2.7)
    values = np.linspace(-3, 5, 10_000, dtype=np.float32)
    rounded = np.asarray(layer(values[None]))[0]
    low, high = layer.ends()
    assert len(np.unique(rounded)) == 256
    assert 0 in rounded
    np.testing.assert_allclose([rounded.min(), rounded.max()], [low, high], rtol=1e-6)
    assert high - low == pytest.approx(3.7)
    inside = (values > low) & (values < high)
    assert np.abs(rounded - values)[inside].max() <= 0.5001 * 3.7 / 255


def test_tensorflows_own_operation_rounds_alike_and_passes_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("both ways are TensorFlow's")
    layer = FakeQuantization(low=-0.3, high=1.1)
    values = tf.constant(np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32))
    found = []
    for backend in ("tensorflow", "another"):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        with tf.GradientTape() as tape:
            tape.watch(values)
            rounded = layer.call(values) if layer.built else layer(values)
            loss = tf.reduce_sum(rounded * tf.range(400.0, dtype=tf.float32)[::4])
        found.append((rounded.numpy(), tape.gradient(loss, values).numpy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (found[0][1] == 0).any()  # beyond the ends


def test_ends_follow_the_batches_in_training_alone() -> None:
    layer = FakeQuantization(momentum=0.9, low=-1.0, high=1.0)
    batch = np.array([[-3.0, 4.0]], np.float32)
    layer(batch)
    assert [float(layer.low), float(layer.high)] == [-1, 1]
    layer(batch, training=True)
    np.testing.assert_allclose([float(layer.low), float(layer.high)], [-1.2, 1.3], rtol=1e-6)
    still = FakeQuantization(momentum=1.0, low=0.0, high=1.0)
    still(batch, training=True)
    assert [float(still.low), float(still.high)] == [0, 1]


@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7)])
def test_a_kernel_has_a_step_for_each_channel(bits: int, levels: int) -> None:
    image = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    for layer, rest in (
        (QuantizedConv2D(5, 3, bits=bits), (0, 1, 2)),
        (QuantizedDepthwiseConv2D(3, depth_multiplier=2, bits=bits), (0, 1)),
        (QuantizedDense(4, bits=bits), (0,)),
    ):
        layer(image)
        layer.gain.assign(np.linspace(0.5, 2, np.prod(layer.gain.shape)).reshape(layer.gain.shape))
        kernel, wanted = np.asarray(layer.on_steps()), np.asarray(layer.kernel * layer.gain)
        steps = np.abs(wanted).max(axis=rest) / levels
        numbers = kernel / steps
        np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-3)
        assert np.abs(numbers).max() == pytest.approx(levels)
        assert (np.abs(kernel - wanted) <= 0.501 * steps).all()


def test_zeros_and_values_that_never_vary_are_no_trouble() -> None:
    layer = QuantizedConv2D(2, 1, kernel_initializer="zeros", bits=4)
    assert not np.asarray(layer(np.ones((1, 2, 2, 3), np.float32))).any()
    silent = FakeQuantization()
    assert not np.asarray(silent(np.zeros((1, 4), np.float32), training=True)).any()
    assert np.isfinite(silent.ends()).all()


def test_layers_are_saved_with_what_they_have_learned(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    x = FakeQuantization(momentum=0.5, low=-1.0, high=2.0)(image)
    x = QuantizedDepthwiseConv2D(3, bits=4)(QuantizedConv2D(4, 3, bits=4)(x))
    model = keras.Model(image, QuantizedDense(2)(x))
    random = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    photos = random.normal(size=(3, 8, 8, 3)).astype(np.float32)
    model(photos, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(loaded(photos)), np.asarray(model(photos)))
