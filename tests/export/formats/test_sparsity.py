"""Runnable small files: kernels without their zeros, the packed copy for transport, and the sizes kept apart."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import jsonschema
import numpy as np
import pytest

from tests import ROOT

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")

import export  # noqa: E402
from export import ExportError, RequestError  # noqa: E402
from export.checking import sizes  # noqa: E402
from export.compression import prune  # noqa: E402
from export.formats.sparsity import encode_sparse_kernels  # noqa: E402
from export.formats.tflite import write_tflite  # noqa: E402
from export.formats.tflite_runtime import batches, open_tflite  # noqa: E402
from export.packing import unpack  # noqa: E402
from export.request import Compression, Request  # noqa: E402
from export.tracing.graph import trace  # noqa: E402
from kerascnn import create_model  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers
SCHEMA = ROOT / "docs/manifest.schema.json"
SPARSE = ("sparse-float16", "sparse-dynamic", "sparse-int8")


def network(channels: int = 48, dense: int = 0) -> keras.Model:
    """Layers of every kind that has a kernel, large enough for their zeros to be worth leaving out."""
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 4))
    x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", bias_initializer="uniform")(image)
    x = layers.Concatenate()([layers.Conv2D(channels, k, padding="same", activation="relu")(x) for k in (1, 3)])
    x = layers.Conv2D(channels, 3, groups=2, activation="relu", name="grouped")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=8, activation="relu", name="depthwise")(x)
    x = layers.Conv2D(64, 1, activation="relu", name="wide")(x)  # of 384 channels: more than a byte counts
    x = layers.GlobalAveragePooling2D()(x)
    if dense:
        x = layers.Dense(dense, activation="relu", name="dense")(x)
    return keras.Model(image, layers.Dense(5, name="answers")(x), name="network")


def photos(count: int, shape: tuple[int, int, int] = (16, 16, 4)) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.normal(size=(count, *shape)).cumsum(axis=1).astype(np.float32) / 4


@pytest.fixture(scope="module")
def pruned() -> Any:
    model = network()
    prune(model, 0.85)
    return trace(model)


def content_of(path: Path) -> Any:
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(path.read_bytes())


@pytest.mark.parametrize("precision", SPARSE)
def test_the_zeros_are_gone_and_the_answers_are_the_same(tmp_path: Path, precision: str) -> None:
    """The very numbers of the dense file, in LiteRT as an application runs it; it refuses sparse int8 dense layers."""
    model = network(dense=64)
    prune(model, 0.85)
    pruned = trace(model)
    images, dense = photos(16), precision.removeprefix("sparse-")
    for name in (dense, precision):
        write_tflite(pruned, tmp_path / f"{name}.tflite", name, images)
    found = {name: open_tflite(tmp_path / f"{name}.tflite").predict(images) for name in (dense, precision)}
    if precision == "sparse-dynamic":  # computed in float32, without the noise of quantised activations
        noise = np.square(found[dense] - found[precision]).mean()
        assert noise < 1e-3 * np.var(found[dense])
    else:
        assert np.array_equal(found[dense], found[precision])
    assert len(np.unique(found[dense])) > 20
    assert batches(tmp_path / f"{precision}.tflite", images, found[precision]) == {"batches": [1, 3, 5]}
    sizes = [(tmp_path / f"{name}.tflite").stat().st_size for name in (dense, precision)]
    assert sizes[1] < 0.7 * sizes[0]
    encoded = [
        tensor for tensor in content_of(tmp_path / f"{precision}.tflite").subgraphs[0].tensors if tensor.sparsity
    ]
    assert len(encoded) >= 4


@pytest.mark.parametrize("precision", ["sparse-dynamic", "sparse-int8"])
def test_a_wide_layer_is_split_so_that_places_take_a_byte(tmp_path: Path, precision: str) -> None:
    """The same answers from parts that are joined, in fewer bytes; two of the layers share one bias of zeros."""
    image = keras.Input((4, 4, 300))
    x = layers.Conv2D(600, 1, activation="relu", bias_initializer="uniform", name="wide")(image)
    for name in ("second", "third"):
        x = layers.Conv2D(600, 1, activation="relu", name=name)(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1)(x)))
    prune(model, dict.fromkeys(("wide", "second", "third"), 0.85))
    traced, images = trace(model, output_name="scores"), photos(16, (4, 4, 300))
    write_tflite(traced, tmp_path / "split.tflite", precision, images)
    with mock.patch("export.formats.sparsity.split_wide_layers"):
        write_tflite(traced, tmp_path / "whole.tflite", precision, images)
    found = [open_tflite(tmp_path / f"{name}.tflite").predict(images) for name in ("split", "whole")]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    split, whole = ((tmp_path / f"{name}.tflite").stat().st_size for name in ("split", "whole"))
    assert split < 0.95 * whole


def test_every_encoded_kernel_is_what_it_was(tmp_path: Path, pruned: Any) -> None:
    """Unpacked here by the format's description, not by what packed it."""
    write_tflite(pruned, tmp_path / "dense.tflite", "float16")
    write_tflite(pruned, tmp_path / "sparse.tflite", "sparse-float16")
    dense, sparse = content_of(tmp_path / "dense.tflite"), content_of(tmp_path / "sparse.tflite")
    kernels = {bytes(t.name): (dense.buffers[t.buffer].data, t.shape) for t in dense.subgraphs[0].tensors}
    compared = 0
    for tensor in sparse.subgraphs[0].tensors:
        if tensor.sparsity is None:
            continue
        data, shape = kernels[bytes(tensor.name).removesuffix(b"/sparse")]
        *outer, last = tensor.sparsity.dimMetadata
        assert all(
            level.denseSize == shape[axis] for level, axis in zip(outer, tensor.sparsity.traversalOrder, strict=False)
        )
        values = np.frombuffer(bytes(sparse.buffers[tensor.buffer].data), np.float16)
        segments, indices = last.arraySegments.values, last.arrayIndices.values
        rows = np.zeros((len(segments) - 1, shape[tensor.sparsity.traversalOrder[-1]]), np.float16)
        for row, (start, end) in enumerate(pairwise(segments)):
            rows[row, indices[start:end]] = values[start:end]
        order = list(tensor.sparsity.traversalOrder)
        kernel = rows.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        assert np.array_equal(kernel, np.frombuffer(bytes(data), np.float16).reshape(shape))
        compared += 1
    assert compared >= 4


@pytest.mark.parametrize("precision", ["sparse-float16", "sparse-int8"])
def test_no_larger_than_what_the_converter_makes_sparse(tmp_path: Path, pruned: Any, precision: str) -> None:
    """Its own flag encodes along the inputs only, and also kernels that grow by it."""
    dense, images = precision.removeprefix("sparse-"), photos(16)
    converter = tf.compat.v1.lite.TFLiteConverter
    convert = converter.convert

    def sparsely(self: Any) -> bytes:
        self.optimizations = [*self.optimizations, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        return convert(self)

    with mock.patch.object(converter, "convert", sparsely):
        write_tflite(pruned, tmp_path / "theirs.tflite", dense, images)
    write_tflite(pruned, tmp_path / "ours.tflite", precision, images)
    assert (tmp_path / "ours.tflite").stat().st_size <= (tmp_path / "theirs.tflite").stat().st_size


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")  # the plain converter says so, not ours
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8"])
def test_dense_files_are_no_larger_than_the_plain_converter_s(tmp_path: Path, pruned: Any, precision: str) -> None:
    """Our signature and names must not cost more than what the converter's own names take."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    images = photos(4)
    function = tf.function(lambda image: pruned.model(image, training=False), autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec((1, 16, 16, 4))))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [] if precision == "float32" else [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16] if precision == "float16" else []
    if precision == "int8":
        converter.representative_dataset = lambda: ([image[None]] for image in images)
    write_tflite(pruned, tmp_path / "ours.tflite", precision, images if precision == "int8" else None)
    assert (tmp_path / "ours.tflite").stat().st_size <= len(converter.convert())


@pytest.mark.parametrize("precision", SPARSE)
def test_a_file_that_would_be_no_smaller_is_refused(tmp_path: Path, precision: str) -> None:
    with pytest.raises(ExportError, match="no smaller than the dense"):
        write_tflite(trace(network(8)), tmp_path / "model.tflite", precision, photos(16))
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_kernel_stays_dense(tmp_path: Path) -> None:
    """A constant that is added, and a layer of zeros only (LiteRT takes an empty buffer for no constant)."""
    image = keras.Input((16, 16, 8))
    x = layers.Conv2D(64, 3, name="nothing", kernel_initializer="zeros", bias_initializer="uniform")(image)
    x = layers.Conv2D(64, 3, name="kept")(layers.ReLU()(x))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    prune(model, {"kept": 0.9})
    write_tflite(trace(model, output_name="scores"), tmp_path / "dense.tflite", "float16")
    content = content_of(tmp_path / "dense.tflite")
    assert encode_sparse_kernels(content) == 1
    [sparse] = [tensor for tensor in content.subgraphs[0].tensors if tensor.sparsity]
    assert b"kept" in bytes(sparse.name)
    write_tflite(trace(model, output_name="scores"), tmp_path / "sparse.tflite", "sparse-float16")
    images = photos(2, (16, 16, 8))
    found = [open_tflite(tmp_path / f"{name}.tflite").predict(images) for name in ("dense", "sparse")]
    assert np.array_equal(*found)


def test_int4_weights_are_half_of_int8_ones_and_still_answer(tmp_path: Path) -> None:
    traced, images = trace(network()), photos(32)
    for name in ("float32", "dynamic", "int4"):
        write_tflite(traced, tmp_path / f"{name}.tflite", name, images)
    found = {path.stem: open_tflite(path).predict(images) for path in tmp_path.glob("*.tflite")}
    noise = found["int4"] - found["float32"]
    assert np.isfinite(found["int4"]).all()
    assert 10 * np.log10(np.var(found["float32"]) / np.var(noise)) > 12
    small, larger = ((tmp_path / f"{name}.tflite").stat().st_size for name in ("int4", "dynamic"))
    assert small < 0.7 * larger


def test_int4_of_few_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least 8 calibration images to round its weights by, and there are 3"):
        write_tflite(trace(network(8)), tmp_path / "model.tflite", "int4", photos(3))
    assert not list(tmp_path.iterdir())


def test_sparse_int8_needs_photos() -> None:
    with pytest.raises(RequestError, match="--calibration-data"):
        Request(formats=["tflite"], precisions=["sparse-int8"])
    Request(formats=["tflite"], precisions=["sparse-float16"])
    with pytest.raises(RequestError, match="calibration"):
        write_tflite(trace(network(8)), Path("never.tflite"), "sparse-int8")


def test_compression_plans_the_sparse_files_without_insisting_on_them() -> None:
    asked = {"compression": Compression(), "calibration": photos(16)}
    request = Request(formats=["tflite", "onnx"], precisions=["sparse-int8"], **asked)
    files = [(item.title, item.optional) for item in request.items if item.precision.sparse]
    assert sorted(files) == [(f"tflite {name}", name != "sparse-int8") for name in sorted(SPARSE)]
    assert not [item for item in Request(formats=["onnx"], **asked).items if item.precision.sparse]


def test_the_manifest_keeps_four_sizes_apart(tmp_path: Path) -> None:
    """Coded, packed for transport, on disk and runnable, in memory; and why a sparse file was left out."""
    images = np.random.default_rng(0).uniform(-1, 1, (16, 32, 32, 1)).astype(np.float32)
    model = create_model("lenet5", input_shape=(32, 32, 1), classes=4)
    folder = tmp_path / "out"
    manifest = export.export(
        model, folder, formats=["tflite"], calibration=images, compress=Compression(sparsity=0.8, bits=4)
    )
    jsonschema.validate(json.loads((folder / "manifest.json").read_text()), json.loads(SCHEMA.read_text()))
    by_precision = {artifact["precision"]: artifact for artifact in manifest["artifacts"]}
    assert set(by_precision) | {row["precision"] for row in manifest["compression"]["left_out"]} == {"float32", *SPARSE}
    assert not manifest["rejected"]
    assert by_precision["sparse-float16"]["bytes"] < by_precision["float32"]["bytes"] / 2
    for artifact in manifest["artifacts"]:
        packed = folder / artifact["packed"]["path"]
        assert (
            packed.stat().st_size == artifact["packed"]["bytes"] == artifact["sizes"]["transport"] < artifact["bytes"]
        )
        data = (folder / artifact["path"]).read_bytes()
        assert packed.name == f"{artifact['path']}.kdz"
        assert unpack(packed.read_bytes()) == data
        assert len(sizes.as_xz(data)) > packed.stat().st_size
        assert artifact["packed"]["path"] in json.loads((folder / "manifest.json").read_text())["files"]
    coded = (folder / manifest["compression"]["path"]).stat().st_size
    assert coded < min(artifact["packed"]["bytes"] for artifact in manifest["artifacts"])
    table = (folder / "report.md").read_text()
    smallest = min(artifact["bytes"] for artifact in manifest["artifacts"])
    for text in ("packed", "coded", "The smallest file that runs as it is", f"{smallest:,} bytes"):
        assert text in table


def test_a_sparse_file_that_was_asked_for_by_name_fails_where_it_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no smaller than the dense float16"):
        export.export(network(8), tmp_path / "out", formats=["tflite"], precisions=["sparse-float16"])
    assert [path.name for path in (tmp_path / "out").glob("*.tflite")] == ["network.tflite"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process takes")
def test_memory_is_that_of_the_file_and_what_it_unpacks(tmp_path: Path) -> None:
    image = keras.Input((32, 32, 8))
    x = layers.Conv2D(1024, 3, activation="relu")(layers.Conv2D(512, 3, strides=8, activation="relu")(image))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    write_tflite(trace(model, output_name="scores"), tmp_path / "model.tflite", "float32")
    weights = 4 * model.count_params()
    assert weights < (sizes.memory(tmp_path / "model.tflite", 1) or 0) < 4 * weights
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    assert sizes.memory(tmp_path / "broken.tflite", 1) is None
