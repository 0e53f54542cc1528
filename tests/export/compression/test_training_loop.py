"""Compression within training: what pruning and sharing leave must last through `fit`, and into the exported file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import ROOT

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import export  # noqa: E402
from export import RequestError  # noqa: E402
from export.compression import KeepStructure, PruningSchedule, cluster, count, networks, prune, state  # noqa: E402
from kerascnn import applications, create_model  # noqa: E402
from kerascnn.weights import container  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers


def residual() -> keras.Model:
    """A residual block and a Fire module, with normalisation, in 16x16 pixels."""
    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3))
    x = _normalized(layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(image))
    y = _normalized(layers.Conv2D(16, 3, padding="same", use_bias=False, name="first")(x))
    y = layers.Conv2D(16, 3, padding="same", name="second")(y)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.Add()([x, y])))
    x = layers.Conv2D(8, 1, activation="relu", name="squeeze")(x)
    sides = [layers.Conv2D(16, k, padding="same", activation="relu", name=f"expand{k}")(x) for k in (1, 3)]
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()(sides))
    return keras.Model(image, layers.Dense(4, activation="softmax", name="last")(x), name="residual")


def _normalized(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def stripes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy photos of stripes in four directions, which are the classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    y, x = np.mgrid[:16, :16]
    angle = (labels * np.pi / 4)[:, None, None]
    wave = np.sin(0.9 * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 6, (count, 1, 1)))
    images = wave[..., None] * random.uniform(0.5, 1, (count, 1, 1, 3)) + random.normal(0, 0.4, (count, 16, 16, 3))
    return images.astype(np.float32), labels


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {path: np.array(kernel) for path, kernel in networks.kernels(model).items()}


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    return float((model.predict(images, verbose=0).argmax(axis=1) == labels).mean())


def test_training_keeps_zeros_and_shared_values() -> None:
    """Through a Concatenate too, where tensorflow-model-optimization loses both (see test_keras2)."""
    model = residual()
    prune(model, 0.6)
    cluster(model, dict.fromkeys(("stem", "first", "expand1", "expand3"), 4))
    before = kernels(model)
    optimizer = KeepStructure(keras.optimizers.Adam(0.01, weight_decay=0.1), model)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(*stripes(48), batch_size=8, epochs=2, verbose=0)
    for path, kernel in kernels(model).items():
        assert ((kernel == 0) == (before[path] == 0)).all(), path
        assert not np.array_equal(kernel, before[path]), path
        if len(np.unique(before[path])) <= 16:
            _, members = np.unique(before[path], return_inverse=True)
            groups = [np.unique(kernel.ravel()[members.ravel() == i]) for i in range(members.max() + 1)]
            assert all(len(values) == 1 for values in groups), path
    assert optimizer.iterations == 12


def test_a_shared_value_follows_the_sum_of_its_members_gradients() -> None:
    import tensorflow as tf

    model = residual()
    cluster(model, 3)
    images, labels = stripes(16)
    kernel = model.get_layer("second").kernel
    before = np.array(kernel)
    loss = keras.losses.SparseCategoricalCrossentropy()
    with tf.GradientTape() as tape:
        value = loss(labels, model(images, training=True))
    gradient = tape.gradient(value, kernel.value).numpy()
    wanted = before.copy()
    for shared in np.unique(before[before != 0]):
        wanted[before == shared] -= 0.01 * gradient[before == shared].sum()
    model.compile(KeepStructure(keras.optimizers.SGD(0.01), model), loss, jit_compile=False)
    model.fit(images, labels, batch_size=16, verbose=0)
    np.testing.assert_allclose(np.array(kernel), wanted, rtol=1e-4, atol=1e-6)


def test_a_model_saved_in_training_is_loaded_with_the_inner_optimiser(tmp_path: Path) -> None:
    model = residual()
    prune(model, 0.5)
    optimizer = KeepStructure(keras.optimizers.Adam(0.01), model)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    optimizer.learning_rate = 0.003
    model.fit(*stripes(16), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.003)


def test_no_value_is_wasted_on_the_gap_that_pruning_leaves() -> None:
    model = residual()
    prune(model, 0.8)
    cluster(model, 4)
    for path in ("first/kernel", "second/kernel", "expand3/kernel"):
        assert len(np.unique(kernels(model)[path])) >= 14, path
    before = kernels(model)
    cluster(model, 4)
    for path, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel, before[path])


@pytest.mark.slow
def test_pruned_shared_and_trained_into_an_int8_file(tmp_path: Path) -> None:
    """The whole loop: 80 % on a schedule, 5 bits, trained on labels; zeros and values counted in the files."""
    model = residual()
    images, labels = stripes(512)
    tests = stripes(256, seed=1)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, epochs=6, verbose=0)
    parent = accuracy(model, *tests)
    assert parent > 0.9
    model.fit(images, labels, epochs=5, verbose=0, callbacks=[PruningSchedule(0.8, begin=0, end=48, every=4)])
    cluster(model, 5)
    shared = state(model)
    assert shared.sparsity == pytest.approx(0.8, abs=0.01)
    optimizer = KeepStructure(keras.optimizers.Adam(1e-3), model)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(images, labels, epochs=3, verbose=0)
    assert state(model).sparsity == shared.sparsity
    assert accuracy(model, *tests) > parent - 0.04

    precisions = ["float16", "int8", "sparse-int8"]
    export.export(model, tmp_path, formats=["tflite"], precisions=precisions, calibration=images[:64])
    before = kernels(model)
    files = sorted(tmp_path.glob("*.tflite"))
    assert len(files) == 4
    for path in files:
        found = {kernel.name: kernel for kernel in count(path)}
        for name, kernel in before.items():
            layer = name.removesuffix("/kernel")
            (one,) = (row for key, row in found.items() if f"{layer}_1" in key.split("/"))
            assert one.zeros >= (kernel == 0).sum(), (path, name)
            values = max(len(np.unique(kernel[..., channel])) for channel in range(kernel.shape[-1]))
            assert one.channel_values <= values <= 32, (path, name)
    assert {kernel.dtype for kernel in count(tmp_path / "residual_int8.tflite")} == {"int8"}


def test_kernels_are_counted_in_files(tmp_path: Path) -> None:
    model = create_model("lenet5", classes=4)
    prune(model, 0.7)
    cluster(model, 4)
    path = tmp_path / "lenet5.kdc"
    container.write(path, container.describe(model), container.arrays_of(model))
    found = {kernel.name: kernel for kernel in count(path)}
    assert found.keys() == kernels(model).keys()
    for name, kernel in kernels(model).items():
        assert found[name].zeros == (kernel == 0).sum()
        assert found[name].values == len(np.unique(kernel)) <= 16
    with pytest.raises(RequestError, match="neither"):
        count(tmp_path / "lenet5.onnx")


def ensemble() -> keras.Model:
    return applications.ensemble([create_model("lenet5", classes=4) for _ in range(2)])


def mixed() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, dtype="mixed_float16")(image))
    return keras.Model(image, layers.Softmax(dtype="float32")(x), name="mixed")


def without_convolution() -> keras.Model:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(image)), name="plain")


@pytest.mark.parametrize(
    ("build", "says"),
    [(ensemble, "members one by one"), (mixed, "float16"), (without_convolution, "no convolution")],
)
def test_an_export_that_cannot_be_compressed_writes_nothing(build: Any, says: str, tmp_path: Path) -> None:
    model = build()
    images = np.random.default_rng(0).normal(size=(20, *model.input_shape[1:])).astype(np.float32)
    with pytest.raises(RequestError, match=says):
        export.export(model, tmp_path / "out", formats=["tflite"], calibration=images, compress=True)
    assert not (tmp_path / "out").exists()


def test_steps_refuse_what_they_would_leave_as_it_is() -> None:
    """The layers of an ensemble's members are out of reach; nothing would happen, and nobody would know."""
    model = ensemble()
    for step in (lambda: prune(model, 0.5), lambda: prune(model, 0.5, whole=True), lambda: cluster(model, 4)):
        with pytest.raises(RequestError, match="members one by one"):
            step()


def test_calibration_photos_of_one_colour_are_pointed_out(tmp_path: Path) -> None:
    model = create_model("lenet5", classes=4)
    plain = np.ones((16, *model.input_shape[1:]), np.float32) * np.linspace(-1, 1, 16)[:, None, None, None]
    with pytest.warns(UserWarning, match="16 of the 16 calibration photos have one single color"):
        export.export(
            model, tmp_path / "out", formats=["tflite"], precisions=["int8"], calibration=plain.astype(np.float32)
        )


@pytest.mark.slow
@pytest.mark.data
def test_lenet_is_coded_100_times_smaller_without_loss(data: Path) -> None:
    """On a third of the benchmark's training; Deep Compression's is 39 times. Accuracy is that of the decoded file."""
    setting = ["--sparsity", "0.97", "--bits", "3"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/compression_lenet.py", "--length", "0.33", *setting],
        capture_output=True,
        text=True,
        env={**os.environ, "KERASCNN_DATA": str(data), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio"] > 100
    assert found["before"] > 0.985
    assert found["after"] > found["before"] - 0.003
