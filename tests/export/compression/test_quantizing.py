"""Networks trained for int8: where they round, what training keeps, and that their files answer as they do."""

from __future__ import annotations

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
onnx = pytest.importorskip("onnx")

import export  # noqa: E402
from export import ExportError, RequestError  # noqa: E402
from export.cli import main  # noqa: E402
from export.compression import KeepStructure, cluster, count, networks, prune, quantize_aware  # noqa: E402
from export.formats import tensorflow_lite  # noqa: E402
from export.formats.onnx_runtime import open_onnx  # noqa: E402
from export.formats.tflite_runtime import open_tflite  # noqa: E402
from kerascnn.analysis import profile  # noqa: E402
from kerascnn.layers import FakeQuantization  # noqa: E402
from tests import pictures  # noqa: E402
from tests.networks import randomized  # noqa: E402
from tests.processes import in_process  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers
FILES = {"tflite": open_tflite, "onnx": open_onnx}


def everything() -> keras.Model:
    """What is rounded in ways of its own: folded and lone normalization, sums, branches, a gate, pooling."""
    image = keras.Input((16, 16, 3), name="images")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU()(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.Activation("relu6")(layers.BatchNormalization(name="depthwise_norm")(y))
    x = layers.ReLU(name="joined")(layers.Add(name="sum")([x, y]))
    y = layers.Dropout(0.1)(layers.MaxPooling2D(2)(x))
    sides = [layers.Conv2D(8, size, padding="same", activation="relu", name=f"side{size}")(y) for size in (1, 3)]
    x = layers.Concatenate(name="both")([*sides, layers.AveragePooling2D(3, 1, padding="same", name="mean")(y)])
    x = layers.ReLU()(layers.BatchNormalization(name="lone_norm")(x))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(24, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Conv2D(8, 3, groups=2, strides=2, padding="same", name="grouped")(layers.Multiply()([x, gate]))
    x = layers.Flatten()(layers.ZeroPadding2D(1)(x + 0.5))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="last")(x), name="everything")


def photos(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, count)
    images = random.normal(size=(count, 16, 16, 3)) + labels[:, None, None, None] / 3
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path, dict[str, Any]]:
    """A network with int4 weights, and all files that it can become."""
    folder = tmp_path_factory.mktemp("exported") / "everything"
    keras.utils.set_random_seed(0)
    images, labels = photos()
    aware = quantize_aware(randomized(everything()), calibration=images, bits=4)
    aware.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", jit_compile=False)
    aware.fit(images, labels, batch_size=16, epochs=1, verbose=0)
    precisions = ["int8", "int8-io", "int8x4"]
    return aware, folder, export.export(aware, folder, precisions=precisions, calibration=images)


def activations(path: Path, inputs: bool = False) -> set[tuple[float, int]]:
    """The steps and zero points of the activations of a .tflite file, or of its inputs."""
    content = tensorflow_lite.unpacked(path.read_bytes())
    (graph,) = content.subgraphs
    written = {int(index) for operator in graph.operators for index in operator.outputs}
    written = set(map(int, graph.inputs)) if inputs else written
    quantized = [graph.tensors[index].quantization for index in sorted(written)]
    return {
        (float(found.scale[0]), int(found.zeroPoint[0]))
        for found in quantized
        if found is not None and found.scale is not None
    }


def test_before_training_it_answers_as_the_network_does() -> None:
    model = randomized(everything())
    before = model.get_weights()
    images = photos()[0]
    wanted = model.predict(images, verbose=0)
    aware = quantize_aware(model, calibration=images)
    assert np.abs(aware.predict(images, verbose=0) - wanted).max() < 0.05
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    coarse = quantize_aware(model, calibration=images, bits=4).predict(images, verbose=0)
    assert np.abs(coarse - wanted).max() > np.abs(aware.predict(images, verbose=0) - wanted).max()


def test_what_is_rounded_together_and_what_is_not() -> None:
    """A rectifier with its sum, a concatenation for what it joins; pooling with the range of what it reads."""
    aware = quantize_aware(everything(), calibration=photos()[0])
    assert set(networks.kernels(aware)) == set(networks.kernels(everything()))  # lone_norm is nothing to prune
    ranges = {layer.name.removesuffix("_range") for layer in aware.layers if isinstance(layer, FakeQuantization)}
    assert ranges >= {"images", "stem", "depthwise", "joined", "both", "lone_norm", "gate_before", "gate_sigmoid"}
    assert not ranges & {"sum", "side1", "side3", "mean", "stem_norm", "last_softmax"}
    assert len(aware.get_layer("joined_range")._inbound_nodes) == 2  # for the average too


def test_files_have_the_trained_ranges(exported: tuple[keras.Model, Path, dict[str, Any]]) -> None:
    aware, folder, manifest = exported
    assert {item["path"] for item in manifest["artifacts"]} == {
        f"everything_{name}" for name in ("int8.tflite", "int8-io.tflite", "int8x4.tflite", "int8.onnx")
    }
    ends = [layer.ends() for layer in aware.layers if isinstance(layer, FakeQuantization)]
    wanted = {round((high - low) / 255, 6): round(-low * 255 / (high - low)) for low, high in ends}
    for name in ("int8", "int8x4"):
        found = {round(step, 6): zero + 128 for step, zero in activations(folder / f"everything_{name}.tflite")}
        assert wanted.items() <= found.items()
    initializers = onnx.load(folder / "everything_int8.onnx").graph.initializer
    scales = {round(float(onnx.numpy_helper.to_array(one)), 6) for one in initializers if one.name.endswith("_scale")
              and not one.dims}  # fmt: skip
    assert wanted.keys() <= scales


def test_files_answer_alike(exported: tuple[keras.Model, Path, dict[str, Any]]) -> None:
    """Within the gate of int8 of the trained network, and closer to one another."""
    _, folder, manifest = exported
    for artifact in manifest["artifacts"]:
        print(artifact["path"], artifact["parity"]["sqnr_db"])
        assert artifact["parity"]["sqnr_db"] > 28, artifact["path"]
    images = photos()[0]
    first, second = (
        FILES[suffix](folder / f"everything_int8.{suffix}").predict_with_logits(images).logits for suffix in FILES
    )
    assert np.abs(first - second).max() < 0.05 * np.abs(first).max()


def test_four_bits_halve_the_kernels(exported: tuple[keras.Model, Path, dict[str, Any]]) -> None:
    _, folder, _ = exported
    content = tensorflow_lite.unpacked((folder / "everything_int8x4.tflite").read_bytes())
    types = [tensor.type for tensor in content.subgraphs[0].tensors]
    assert types.count(tensorflow_lite.schema().TensorType.INT4) == 6  # all but the depthwise ones


@pytest.mark.parametrize("fault", ["ends", "kernel"])
def test_a_file_that_was_written_otherwise_is_refused(
    fault: str, exported: tuple[keras.Model, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.quantization import trained as writing

    if fault == "ends":
        monkeypatch.setattr(FakeQuantization, "ends", lambda self: (-0.1, 0.1))
    else:
        original = writing.with_constants

        def broken(model: keras.Model) -> keras.Model:
            plain = original(model)
            kernel = plain.get_layer("grouped").kernel
            kernel.assign(keras.ops.roll(kernel, 1, axis=-1))
            return plain

        monkeypatch.setattr(writing, "with_constants", broken)
    with pytest.raises(ExportError, match="SQNR"):
        export.export(exported[0], tmp_path / "made", formats=["tflite", "onnx"], precisions=["int8"])
    assert not (tmp_path / "made").exists()


def test_zeros_and_shared_values_last_through_training_into_the_file(tmp_path: Path) -> None:
    model = randomized(everything())
    prune(model, 0.6)
    cluster(model, 3)
    images, labels = photos()
    aware = quantize_aware(model, calibration=images)
    optimizer = KeepStructure(keras.optimizers.Adam(1e-3), aware)
    aware.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    aware.fit(images, labels, batch_size=16, verbose=0)
    export.export(aware, tmp_path, formats=["tflite"], precisions=["int8"], calibration=images)
    for kernel in count(tmp_path / "everything_int8.tflite"):
        if kernel.size > 100:  # the lone normalization is none of the network's kernels
            assert kernel.zeros / kernel.size > 0.5, kernel.name
            assert kernel.channel_values <= 9, kernel.name


def test_a_saved_network_is_exported_from_its_file(
    exported: tuple[keras.Model, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command asks for photos before it knows the network; their pixels are quantized as they come."""
    exported[0].save(tmp_path / "aware.keras")
    (tmp_path / "photos").mkdir()
    pictures.write(tmp_path / "photos", range(3), 4, pictures.colored)
    monkeypatch.chdir(tmp_path)
    options = ("--tflite", "--quantize", "int8-io", "--preprocessing", "tf", "--include-preprocessing")
    given = ("--model", "aware.keras", "--calibration-data", "photos", "--output", "made", *options)
    assert in_process(main, "export", *given) == 0
    found = open_tflite(tmp_path / "made/aware/aware_int8-io.tflite")
    assert found.input.dtype == "int8"
    assert (1.0, -128) in activations(tmp_path / "made/aware/aware_int8-io.tflite", inputs=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precisions": []}, "no precision was asked for"),
        ({"precisions": ["int8", "float16"]}, "float16 was asked for"),
        ({"precisions": ["int8"], "compress": True, "calibration": photos(8)[0]}, "would undo that"),
        ({"precisions": ["int8"], "formats": ["saved_model"]}, "none was asked for"),
        ({"precisions": ["int8x4"], "formats": ["tflite"]}, "trained for 8 bits"),
    ],
)
def test_what_such_a_network_cannot_become_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    aware = quantize_aware(everything(), calibration=photos(8)[0])
    with pytest.raises(RequestError, match=says):
        export.export(aware, tmp_path / "made", **options)
    assert not (tmp_path / "made").exists()


def test_four_bits_need_weights_that_were_trained_for_them(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="bits=4"):
        export.export(
            everything(), tmp_path / "made", formats=["tflite"], precisions=["int8x4"], calibration=photos(8)[0]
        )


def _with(layer: Any) -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(layer(image))
    return keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)), name="given")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: _with(layers.SeparableConv2D(4, 3, name="own")), "'own' is a SeparableConv2D"),
        (lambda: _with(layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="half")), "bfloat16"),
        (lambda: quantize_aware(_with(layers.Identity()), calibration=photos(8)[0]), "quantization-aware already"),
    ],
)
def test_networks_that_cannot_be_trained_so_are_refused(build: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        quantize_aware(build(), calibration=photos(8)[0])


def test_photos_and_bits_are_checked() -> None:
    model = everything()
    with pytest.raises(RequestError, match="8 or 4 bits; bits is 6"):
        quantize_aware(model, calibration=photos(8)[0], bits=6)
    for wrong in (photos(8)[0][:, :8], photos(8)[0][:0], np.full((4, 16, 16, 3), np.nan, np.float32), None, "photos"):
        with pytest.raises(RequestError, match="finite numbers"):
            quantize_aware(model, calibration=wrong)


def test_its_work_is_counted_as_the_originals() -> None:
    model = _with(layers.Identity())
    aware = profile(quantize_aware(model, calibration=photos(8)[0]))
    assert not aware.unknown
    assert aware.macs == profile(model).macs


STEP = """
import sys
import keras
from tests.export.compression.test_quantizing import losses
print(keras.backend.backend(), *losses(sys.argv[1]))
"""


def small() -> keras.Model:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, name="first")(image)
    x = layers.DepthwiseConv2D(3, activation="relu", name="second")(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.Flatten()(x)), name="small")


def losses(path: str) -> list[float]:
    """Of two steps of a network with the weights of a file."""
    model = small()
    model.load_weights(path)
    images, labels = photos(16)
    aware = quantize_aware(model, calibration=images)
    aware.compile(keras.optimizers.SGD(1e-2), "sparse_categorical_crossentropy", jit_compile=False)
    return [float(aware.train_on_batch(images, labels)) for _ in range(2)]


@pytest.mark.slow
def test_steps_on_jax_are_those_on_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    keras.backend.clear_session()
    path = str(tmp_path / "given.weights.h5")
    randomized(small()).save_weights(path)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", STEP, path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    backend, *theirs = done.stdout.split()
    assert backend == "jax"
    np.testing.assert_allclose(np.array(theirs, float), losses(path), rtol=2e-3)
