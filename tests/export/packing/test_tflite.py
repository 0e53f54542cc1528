"""Files of real networks: packed to the size of their shared values, and unpacked bit for bit in Python and in C."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.decoder import native

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")

from export.compression import cluster, prune  # noqa: E402
from export.formats.tflite import write_tflite  # noqa: E402
from export.packing import files, finding, pack, unpack  # noqa: E402
from export.packing.records import Kind  # noqa: E402
from export.tracing.graph import trace  # noqa: E402
from kerascnn import create_model  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
NETWORKS = {
    "lenet5": ("mnist", ("float16", "sparse-float16", "sparse-int8", "int8")),
    "resnet20_cifar": ("cifar10", ("float32", "int8")),
}
FILES = [(name, precision) for name, (_, precisions) in NETWORKS.items() for precision in precisions]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The kernels of each network, and its files by precision."""
    folder, made = tmp_path_factory.mktemp("files"), {}
    for name, (weights, precisions) in NETWORKS.items():
        model = create_model(name, weights=weights)
        prune(model, 0.7)
        cluster(model, 4)
        photos = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)
        traced, data = trace(model), {}
        for precision in precisions:
            write_tflite(traced, folder / "model.tflite", precision, photos)
            data[precision] = (folder / "model.tflite").read_bytes()
        made[name] = [w for w in (np.asarray(weight) for weight in model.weights) if w.ndim in (2, 4)], data
    return made


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> native.Decoder | None:
    return native.Decoder(tmp_path_factory.mktemp("decoder")) if native.compiler() else None


@pytest.mark.parametrize(("name", "precision"), FILES)
def test_packed_smaller_than_xz_and_unpacked_bit_for_bit(
    exported: dict[str, Any], decoder: native.Decoder | None, name: str, precision: str
) -> None:
    kernels, data = exported[name][0], exported[name][1][precision]
    packed = pack(data, kernels)
    assert unpack(packed) == data
    assert decoder is None or decoder.unpack(packed) == ("ok", data)
    assert len(packed) < 0.9 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    assert files._header(packed).weights >= sum(kernel.size for kernel in kernels if kernel.size >= 64)


def test_kernels_with_normalization_folded_in_are_the_values_that_were_shared(exported: dict[str, Any]) -> None:
    """16 values a kernel, and a factor a channel: hardly more than without normalization."""
    kernels, data = exported["resnet20_cifar"]
    for precision, kind in (("float32", Kind.GAINS), ("int8", Kind.SCALED)):
        found, scales = finding.find(data[precision], kernels)
        assert len([one for one in found if one.kernel.kind == kind]) > 10
        assert all(len(one.kernel.book) <= 16 for one in found if one.kernel.kind == kind)
        assert bool(scales) == (precision == "int8")
    alone = finding.find(data["float32"], [])[0]  # 16 values times 64 channels are too many for a list
    assert not [one for one in alone if one.kernel.weights == 64 * 3 * 3 * 64]


def test_a_large_kernel_is_decoded_in_parts(exported: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a decoder needs memory for one part at a time."""
    kernels, data = exported["lenet5"][0], exported["lenet5"][1]["int8"]
    whole = files._header(pack(data, kernels))
    monkeypatch.setattr(finding, "_PART", 1000)
    parts = pack(data, kernels)
    assert files._header(parts).largest < 2000 < whole.largest
    assert files._header(parts).weights == whole.weights
    assert unpack(parts) == data


def test_random_weights_are_packed_too(tmp_path: Path) -> None:
    """Nothing is shared: what is left is what xz does."""
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(40, 3), keras.layers.Flatten()])
    write_tflite(trace(model, output_name="features"), tmp_path / "model.tflite", "float32")
    data = (tmp_path / "model.tflite").read_bytes()
    assert unpack(pack(data, [np.asarray(model.weights[0])])) == data
