"""Labels and preprocessing inside .tflite files, read by the field numbers of TFLite's metadata_schema.fbs."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")

from ai_edge_litert.interpreter import Interpreter  # noqa: E402

from export.formats.tflite import write_tflite  # noqa: E402
from export.tracing.graph import trace  # noqa: E402
from kerascnn import predict  # noqa: E402
from kerascnn.photos.opening import open_classifier  # noqa: E402
from kerascnn.photos.preprocessing import Preprocessing  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
LABELS = ["Hund", "Kätzchen", "two\nlines"]
RGB = Preprocessing(resize=(32, 32), mean=(127.5, 100.0, 90.0), std=(58.0, 57.0, 60.0))
BGR = Preprocessing(resize=(32, 32), channel_order="bgr", mean=(104.0, 117.0, 123.0))


class Table:
    """A table of a flatbuffer, read by hand."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self, at: int, kind: str = "I") -> int:
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def field(self, index: int) -> int:
        """Return where a field is; 0 where it is not there."""
        fields = self.at - self.number(self.at, "i")
        there = 4 + 2 * index < self.number(fields, "H")
        offset = self.number(fields + 4 + 2 * index, "H") if there else 0
        return self.at + offset if offset else 0

    def target(self, index: int) -> int:
        at = self.field(index)
        return at + self.number(at) if at else 0

    def table(self, index: int) -> Table:
        return Table(self.data, self.target(index))

    def tables(self, index: int) -> list[Table]:
        at = self.target(index)
        places = [at + 4 + 4 * i for i in range(self.number(at))] if at else []
        return [Table(self.data, place + self.number(place)) for place in places]

    def bytes(self, index: int) -> bytes:
        at = self.target(index)
        return self.data[at + 4 : at + 4 + self.number(at)]

    def floats(self, index: int) -> tuple[float, ...]:
        at = self.target(index)
        return struct.unpack_from(f"<{self.number(at)}f", self.data, at + 4)

    def kind(self, index: int) -> int:
        return self.data[self.field(index)] if self.field(index) else 0


def described(path: Path) -> Table:
    """Find the ModelMetadata of a file."""
    data = path.read_bytes()
    model = Table(data, struct.unpack_from("<I", data)[0])
    (entry,) = [table for table in model.tables(6) if table.bytes(0) == b"TFLITE_METADATA"]
    inner = model.tables(4)[entry.number(entry.field(1))].bytes(0)
    assert inner[4:8] == b"M001"
    return Table(inner, struct.unpack_from("<I", inner)[0])


def metadata(preprocessing: Preprocessing) -> dict[str, str]:
    return {
        "model": "network",
        "trained": "true",
        "labels": json.dumps(LABELS),
        "preprocessing": json.dumps(asdict(preprocessing)),
    }


@pytest.fixture(scope="module")
def traced():
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(128, 3, strides=2, activation="relu")(image)
    x = keras.layers.Conv2D(128, 3, strides=2, activation="relu", name="sparse")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name="network")
    kernel, bias = model.get_layer("sparse").get_weights()
    model.get_layer("sparse").set_weights([kernel * (np.abs(kernel) > 0.9 * kernel.max()), bias])
    return trace(model)


@pytest.mark.parametrize("precision", ["float32", "sparse-float16", "int8-io", "int4"])
def test_readers_find_labels_and_normalization(traced, tmp_path, precision):
    path = tmp_path / "model.tflite"
    images = np.random.default_rng(0).normal(size=(20, 32, 32, 3)).astype(np.float32)
    write_tflite(traced, path, precision, images, metadata(RGB))

    model = described(path)
    assert (model.bytes(0), model.bytes(7)) == (b"network", b"1.0.0")
    (graph,), (about,) = model.tables(3), model.tables(6)
    assert (about.bytes(0), about.kind(2)) == (b"kerascnn.json", 1)
    (source,), (target,) = graph.tables(2), graph.tables(3)
    assert (source.bytes(0), target.bytes(0)) == (b"images", b"probabilities")
    content, (unit,) = source.table(3), source.tables(4)
    assert (content.kind(0), content.table(1).kind(0)) == (2, 1)  # ImageProperties, RGB
    assert unit.kind(0) == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == (RGB.mean, RGB.std)
    (labels,) = target.tables(6)
    assert (labels.bytes(0), labels.kind(2)) == (b"labels.txt", 2)  # TENSOR_AXIS_LABELS

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("labels.txt").decode() == "Hund\nKätzchen\ntwo lines\n"
        about_model = json.loads(archive.read("kerascnn.json"))
    assert about_model == {"model": "network", "trained": True, "preprocessing": json.loads(json.dumps(asdict(RGB)))}
    assert list(Interpreter(str(path)).get_signature_list()) == ["serving_default"]


def test_a_file_alone_answers_photos_by_name(traced, tmp_path):
    path = tmp_path / "model.tflite"
    write_tflite(traced, path, "float32", metadata=metadata(RGB))
    photo = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    (alone,) = predict(path, photo)
    (told,) = predict(traced.model, photo, preprocessing=RGB, labels=["Hund", "Kätzchen", "two lines"])
    for guess, expected in zip(alone.classes, told.classes, strict=True):
        assert guess.name == expected.name
        assert guess.probability == pytest.approx(expected.probability, abs=1e-5)


def test_nothing_is_said_of_normalization_that_readers_would_do_in_rgb(traced, tmp_path):
    write_tflite(traced, tmp_path / "model.tflite", "float32", metadata=metadata(BGR))
    (source,) = described(tmp_path / "model.tflite").tables(3)[0].tables(2)
    assert (source.target(3), source.tables(4)) == (0, [])
    assert open_classifier(str(tmp_path / "model.tflite")).preparation.preprocessing == BGR


def test_files_are_the_same_in_every_export(traced, tmp_path):
    for name in ("a", "b"):
        write_tflite(traced, tmp_path / name, "float32", metadata=metadata(RGB))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_archives_are_read_for_their_labels_only(traced, tmp_path):
    path = tmp_path / "model.tflite"
    write_tflite(traced, path, "float32")
    assert not zipfile.is_zipfile(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc\n")
    assert open_classifier(str(path), preprocessing=RGB).labels == ("a", "b", "c")
