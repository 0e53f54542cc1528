"""Int8 preparation: the function stays, the noise goes down, and nothing it does not understand is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from export.formats.tflite import write_tflite  # noqa: E402
from export.formats.tflite_runtime import open_tflite  # noqa: E402
from export.quantization import calibration as quantization  # noqa: E402
from export.quantization.equalization import Equalized, equalize, find_sites  # noqa: E402
from export.quantization.observation import observe  # noqa: E402
from export.quantization.optq import DAMPING, Compensation, Window  # noqa: E402
from export.quantization.rounding import round_kernels  # noqa: E402
from export.quantization.steps import INT8  # noqa: E402
from export.tracing.activations import runner  # noqa: E402
from export.tracing.freezing import FrozenGraph  # noqa: E402
from export.tracing.graph import TracedModel, trace  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers


def fire() -> keras.Model:
    inputs = keras.Input((23, 23, 3))
    x = layers.MaxPooling2D(3, 2)(layers.Conv2D(16, 3, activation="relu")(inputs))
    x = layers.Conv2D(8, 1, activation="relu", name="squeeze")(x)
    sides = {"expand1": 1, "expand3": 3}
    expanded = [layers.Conv2D(16, k, padding="same", activation="relu", name=name)(x) for name, k in sides.items()]
    x = layers.Concatenate()(expanded)
    x = layers.Conv2D(10, 1)(layers.ZeroPadding2D(1)(x))
    return keras.Model(inputs, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


def residual() -> keras.Model:
    inputs = keras.Input((16, 16, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, padding="same")(x)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", groups=4)(y))
    x = layers.ReLU(name="joined")(layers.Add()([y, layers.Conv2D(16, 1, strides=2)(x)]))
    x = layers.Dense(24, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def unusual() -> keras.Model:
    """Dilation, grouped and depthwise layers, gates and activations that no factor commutes with."""
    inputs = keras.Input((16, 16, 4))
    x = layers.Conv2D(16, 3, dilation_rate=2, activation="relu")(inputs)
    x = layers.Conv2D(16, 3, groups=4, activation="relu", padding="same", strides=2)(x)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    x = layers.Multiply()([x, layers.Conv2D(16, 1, activation="sigmoid")(x)])
    x = layers.Conv2D(16, 1, activation=keras.activations.relu6)(x)
    x = layers.Flatten()(layers.AveragePooling2D(2)(layers.Conv2D(8, 1, activation="relu")(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def uneven_fire() -> keras.Model:
    """A network that needs all its channels, written down so that some are a hundred times smaller than others."""
    model = fire()
    squeeze = model.get_layer("squeeze")
    sizes = 10 ** np.random.default_rng(3).uniform(-2, 0, squeeze.filters)
    squeeze.set_weights([value * sizes for value in squeeze.get_weights()])
    for layer in model.layers:
        if layer.name.startswith("expand"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel / sizes[:, None], bias])
    return model


def traced(build: Callable[[], keras.Model]) -> TracedModel:
    """A network with random weights, biases and batch statistics."""
    keras.utils.set_random_seed(3)
    model = build()
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2, value.shape) for value in layer.get_weights()])
        elif getattr(layer, "use_bias", False):
            *kernels, bias = layer.get_weights()
            layer.set_weights([*kernels, random.normal(0, 0.1 * np.abs(kernels[0]).max(), bias.shape)])
    return trace(model)


def photos(traced_model: TracedModel, count: int = 24, seed: int = 0) -> np.ndarray:
    """Correlated inputs, as photos are: neighbouring pixels and channels are alike."""
    random = np.random.default_rng(seed)
    _, height, width, channels = traced_model.input_shape
    smooth = random.normal(size=(count, height, width, 1)).cumsum(axis=1).cumsum(axis=2) / 8
    return (smooth + random.normal(0, 0.2, (count, height, width, channels)) + 1).astype(np.float32)


def answers(graph: FrozenGraph, model: TracedModel, images: np.ndarray) -> np.ndarray:
    softmax = next(node for node in graph.graph_def.node if node.op == "Softmax")
    return runner(graph, model.input_name, [softmax.input[0]])(images)[softmax.input[0]]


def sqnr(reference: np.ndarray, values: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(reference**2) / np.mean((reference - values) ** 2)))


def nearest(kernel: np.ndarray) -> np.ndarray:
    steps = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / INT8
    return np.round(kernel / steps) * steps


def equalized(model: TracedModel, images: np.ndarray) -> Equalized:
    sites = find_sites(model.frozen)
    seen = observe(model.frozen, model.input_name, images, [site.name for site in sites])
    return equalize(model.frozen, sites, model.input_name, images, seen.largest)


@pytest.mark.parametrize("build", [fire, residual])
def test_what_an_equalized_layer_receives_is_known_without_another_run(build: Callable[[], keras.Model]) -> None:
    model = traced(build)
    images = photos(model)
    ours = equalized(model, images)
    known = observe(model.frozen, model.input_name, images).inputs
    measured = observe(ours.frozen, model.input_name, images).inputs
    assert ours.factors
    for name, factors in ours.factors.items():
        for field in ("moments", "tests"):
            wanted = getattr(measured[name], field)
            found = getattr(known[name].divided(factors), field)
            np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_no_row_of_an_image_that_is_held_back_is_among_the_others() -> None:
    """A dense layer reads many places of an image, a dilated convolution several smaller images."""
    image = keras.Input((8, 8, 3), name="images")
    dilated = layers.Conv2D(4, 3, padding="same", dilation_rate=2, use_bias=False, name="dilated")(image)
    model = trace(keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.Dense(5, name="places")(dilated)))))
    images = np.ones((8, 8, 8, 3), np.float32)
    images[3::4] = 0
    seen = observe(model.frozen, model.input_name, images).inputs
    assert len(seen) == 3
    for inputs in seen.values():
        assert not inputs.tests.any()
        assert inputs.moments.any()


def test_a_layer_that_reads_no_image_is_left_alone() -> None:
    class Table(layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(1, 6), initializer="ones", name="table")

        def call(self, x: Any) -> Any:
            return keras.ops.convert_to_tensor(self.table)

    image = keras.Input((8, 8, 3), name="images")
    fixed = layers.Dense(4, name="fixed")(Table()(image))
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = trace(keras.Model(image, layers.Add()([seen, fixed])))
    images = photos(model)
    assert len(observe(model.frozen, model.input_name, images).inputs) == 1
    assert len(quantization.prepare(model, images, activations=True).kernels) == 2


@pytest.mark.parametrize("build", [fire, residual])
def test_equalising_keeps_the_function(build: Callable[[], keras.Model]) -> None:
    model = traced(build)
    images = photos(model)
    ours = equalized(model, images).frozen
    changed = [name for name, kernel in ours.kernels.items() if not np.array_equal(kernel, model.frozen.kernels[name])]
    reference = answers(model.frozen, model, images)
    assert changed, "the test shows nothing where nothing is rescaled"
    np.testing.assert_allclose(answers(ours, model, images), reference, atol=1e-5 * np.abs(reference).max())


def test_a_channel_that_is_added_keeps_its_scale() -> None:
    # A factor on one input of a sum would change the sum.
    model = traced(residual)
    ours = equalized(model, photos(model)).frozen
    relus = [node.name for node in model.frozen.graph_def.node if node.op == "Relu"]
    images = photos(model, 4, seed=1)
    before, after = (runner(graph, model.input_name, relus)(images) for graph in (model.frozen, ours))
    kept = {name: np.allclose(before[name], after[name], rtol=1e-4, atol=1e-5) for name in relus}
    assert [same for name, same in kept.items() if "/joined" in name] == [True]
    assert not all(kept.values())


def test_what_no_factor_commutes_with_is_left_alone() -> None:
    assert find_sites(traced(unusual).frozen) == []


@pytest.mark.parametrize("build", [fire, residual, unusual])
def test_rounded_kernels_are_what_the_converter_stores_and_better_than_nearest(
    build: Callable[[], keras.Model],
) -> None:
    model = traced(build)
    ours = round_kernels(model.frozen, observe(model.frozen, model.input_name, photos(model, 64)).inputs)
    changed = [name for name, kernel in ours.kernels.items() if not np.array_equal(kernel, model.frozen.kernels[name])]
    for name in changed:
        np.testing.assert_allclose(nearest(ours.kernels[name]), ours.kernels[name], rtol=1e-5, atol=1e-7)
    images = photos(model, 32, seed=1)
    reference = answers(model.frozen, model, images)
    plain, better = (
        FrozenGraph(model.frozen.graph_def, kernels | {name: nearest(kernels[name]) for name in changed})
        for kernels in (model.frozen.kernels, ours.kernels)
    )
    assert sqnr(reference, answers(better, model, images)) > sqnr(reference, answers(plain, model, images)) + 2


def test_pruned_weights_stay_zero() -> None:
    model = traced(fire)
    random = np.random.default_rng(0)
    masks = {name: random.random(kernel.shape) < 0.6 for name, kernel in model.frozen.kernels.items()}
    pruned = FrozenGraph(
        model.frozen.graph_def, {name: kernel * ~masks[name] for name, kernel in model.frozen.kernels.items()}
    )
    ours = round_kernels(pruned, observe(pruned, model.input_name, photos(model)).inputs)
    assert all((ours.kernels[name][mask] == 0).all() for name, mask in masks.items())


@pytest.mark.parametrize("precision", ["int8", "int8-io", "dynamic"])
def test_a_network_with_uneven_channels_becomes_more_exact(precision: str, tmp_path: Path, monkeypatch: Any) -> None:
    model = traced(uneven_fire)
    calibration, images = photos(model, 48), photos(model, 32, seed=1)
    reference = answers(model.frozen, model, images)
    measured = []
    for fewest in (1000, quantization.FEWEST_IMAGES):  # without and with preparation
        monkeypatch.setattr(quantization, "FEWEST_IMAGES", fewest)
        write_tflite(model, tmp_path / "m.tflite", precision, calibration)
        logits = open_tflite(tmp_path / "m.tflite").predict_with_logits(images).logits
        measured.append(sqnr(reference, logits))
    assert measured[1] > measured[0] + 1


def test_the_work_is_done_once_for_int8_and_int8_io(monkeypatch: Any) -> None:
    model = traced(fire)
    images = photos(model)
    first = quantization.prepare(model, images, activations=True)
    assert quantization.prepare(model, images, activations=True) is first
    assert quantization.prepare(model, images.copy(), activations=True) is not first
    assert quantization.prepare(model, images[:4], activations=True) is model.frozen


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "stride", "dilation"), [((3, 3), 1, 1), ((3, 2), 2, 1), ((2, 3), 1, 2)])
def test_samples_are_what_the_kernel_meets(padding: str, size: tuple[int, int], stride: int, dilation: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, 7, 6, 2)).astype("float32")
    patches = keras.ops.image.extract_patches(values[[0, 2]], size, stride, dilation, padding)
    met = {row.tobytes() for row in np.asarray(patches).reshape(-1, patches.shape[-1])}
    window = Window(size, (stride, stride), (dilation, dilation), None if padding == "same" else ((0, 0), (0, 0)))
    (rows,) = window.sample(values, np.array([0, 2]), 2, 2000, np.random.default_rng(0))
    assert {row.tobytes() for row in rows} == met  # 2,000 tries meet every place of so few


def test_moments_in_single_precision_need_not_be_positive_definite():
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(200, 200)))[0]
    powers = np.concatenate([[1e5], np.full(49, 10.0), np.full(150, -0.3)])  # of a layer with a few strong inputs
    moments = (directions * powers) @ directions.T + random.uniform(-3e-3, 3e-3, size=(200, 200))
    compensation = Compensation.of(moments.astype(np.float32))
    ordered = moments[np.ix_(compensation.order, compensation.order)]
    damped = ordered + DAMPING * np.diagonal(ordered).mean() * np.eye(200)
    lower = np.tril(damped) + np.tril(damped, -1).T
    product = compensation.triangle.T.astype(np.float64) @ compensation.triangle @ lower
    assert np.abs(product - np.eye(200)).max() < 0.05  # single precision, at a condition of 10,000
