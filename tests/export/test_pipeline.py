"""The whole line on small models of one's own: files, manifest, report, labels, and what happens when it fails."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

import export
import kerascnn
from export import ExportError, RequestError
from export.formats.registry import FORMATS
from kerascnn.photos.preprocessing import Preprocessing
from tests import pictures

CLASSES = ("red", "green", "blue")
SIDE = 24
SCHEMA = "docs/manifest.schema.json"


def tiny(classes=3, activation="softmax"):
    """A small network that has learnt to tell red, green and blue photos apart."""
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3), name="photo")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, activation=activation)(x), name="tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """60 noisy photos in folders named after their color."""
    return pictures.write(tmp_path_factory.mktemp("photos"), CLASSES, 20, pictures.colored)


@pytest.fixture(scope="module")
def trained(photos):
    model = tiny()
    files = sorted(photos.glob("*/*.png"))
    x = np.stack([Preprocessing.named("tf", (SIDE, SIDE, 3)).load(Image.open(file)) for file in files])
    y = np.array([CLASSES.index(file.parent.name) for file in files])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=30, verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(trained, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts") / "colours"
    manifest = export.export(
        trained,
        folder,
        precisions=("float16", "dynamic", "int8", "int8-io", "int16x8"),
        calibration=photos,
        evaluate=photos,
        labels=CLASSES,
        preprocessing="tf",
    )
    return folder, manifest


def test_every_artifact_is_there_and_as_the_manifest_says(exported):
    folder, manifest = exported
    assert json.loads((folder / "manifest.json").read_text())["artifacts"] == json.loads(
        json.dumps(manifest["artifacts"])
    )
    assert [artifact["path"] for artifact in manifest["artifacts"]] == [
        "saved_model/1",
        "saved_model_float16/1",
        "tiny.tflite",
        "tiny_float16.tflite",
        "tiny_dynamic.tflite",
        "tiny_int8.tflite",
        "tiny_int8-io.tflite",
        "tiny_int16x8.tflite",
        "tiny.onnx",
        "tiny_float16.onnx",
        "tiny_int8.onnx",
    ]
    for artifact in manifest["artifacts"]:
        path = folder / artifact["path"]
        assert artifact["parity"]["passed"]
        assert artifact["accuracy"]["top1"] >= 0.95
        assert artifact["latency"]["median_ms"] > 0
        if path.is_file():
            assert artifact["bytes"] == path.stat().st_size
            assert artifact["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["weights"]["trained"] is None
    assert manifest["rejected"] == []


def test_the_manifest_follows_its_schema(exported, request):
    schema = json.loads((request.config.rootpath / SCHEMA).read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads((exported[0] / "manifest.json").read_text()))


def test_labels_and_report(exported):
    folder, _ = exported
    assert (folder / "labels.txt").read_text().split() == list(CLASSES)
    report = (folder / "report.md").read_text()
    for words in ("tiny_int8.tflite", "Keras model", "60 photos", "labels.txt", "[batch, 24, 24, 3]"):
        assert words in report


def test_onnx_carries_labels_and_preprocessing(exported):
    model = onnx.load(exported[0] / "tiny.onnx")
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["labels"]) == list(CLASSES)
    assert json.loads(properties["preprocessing"])["mean"] == [127.5]


def test_every_artifact_answers_photos_by_name(exported, trained, photos, tmp_path):
    """`kerascnn predict` finds preprocessing and class names beside an artifact, or in a file that lies alone."""
    folder, manifest = exported
    some = [photos / name / "3.png" for name in CLASSES]
    expected = np.array([guesses(answer) for answer in kerascnn.predict(trained, some, preprocessing="tf")])
    alone = [tmp_path / name for name in ("tiny.onnx", "tiny.tflite", "tiny_int8-io.tflite")]
    for path in alone:
        shutil.copy(folder / path.name, path)
    shutil.copytree(folder / "saved_model", tmp_path / "served")
    places = ["", "saved_model", *(artifact["path"] for artifact in manifest["artifacts"])]
    for place in [*(folder / place for place in places), *alone]:
        answers = kerascnn.predict(place, some)
        assert [answer.classes[0].name for answer in answers] == list(CLASSES), place
        coarse = any(word in f"{place.parent.name}/{place.name}" for word in ("_float16", "_dynamic", "_int"))
        close = 0.05 if coarse else 1e-5
        np.testing.assert_allclose([guesses(answer) for answer in answers], expected, atol=close, err_msg=str(place))
    with pytest.raises(ValueError, match=r"served/1 is not known: it does not say"):
        kerascnn.predict(tmp_path / "served", some)
    assert kerascnn.predict(tmp_path / "served", some, preprocessing="tf")[0].classes[0].name == "red"


def guesses(answer):
    """The probabilities of an answer in the order of the classes."""
    return [guess.probability for guess in sorted(answer.classes, key=lambda guess: guess.number)]


def test_included_preprocessing_takes_rgb_from_0_to_255(trained, photos, tmp_path):
    """BGR with unequal means, so that a wrong order or a forgotten mean shows."""
    preprocessing = Preprocessing(
        resize=(SIDE, SIDE), channel_order="bgr", mean=(90.0, 120.0, 150.0), std=(50.0, 60.0, 70.0)
    )
    manifest = export.export(
        trained,
        tmp_path / "raw",
        precisions=["int8"],
        calibration=photos,
        preprocessing=preprocessing,
        include_preprocessing=True,
    )
    files = sorted(photos.glob("*/*.png"))[::12]
    raw = np.stack([preprocessing.without_normalization.load(Image.open(file)) for file in files])
    expected = np.asarray(trained(preprocessing.normalize(raw)))
    for artifact in manifest["artifacts"]:
        found = FORMATS[artifact["format"]].open(tmp_path / "raw" / artifact["path"]).predict(raw)
        np.testing.assert_allclose(found, expected, atol=0.05 if artifact["precision"] == "int8" else 1e-4)
    assert manifest["preprocessing"]["included"] is True
    answers = [guesses(answer) for answer in kerascnn.predict(tmp_path / "raw", files)]
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_calibration_from_an_array(trained, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, SIDE, SIDE, 3)).astype("float32")
    manifest = export.export(trained, tmp_path / "net", formats=["tflite"], precisions=["int8"], calibration=x)
    assert manifest["calibration"]["images"] == 30
    assert manifest["verification"]["source"] == "calibration inputs"


def test_a_feature_extractor_has_no_probabilities(tmp_path):
    model = tiny()
    body = keras.Model(model.input, model.layers[-3].output, name="body")
    manifest = export.export(body, tmp_path / "body")
    assert manifest["signature"]["output"]["name"] == "features"
    assert len(manifest["artifacts"]) == 3


def test_what_fails_is_not_published(trained, tmp_path, monkeypatch):
    """One format breaks: the others are published, the broken one is named, and the call fails."""
    from export.formats import tflite

    write = tflite.write_tflite

    def without_weights(traced, path, *arguments):
        write(traced, path, *arguments)
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
        path.write_bytes(content)

    monkeypatch.setattr(tflite, "write_tflite", without_weights)
    with pytest.raises(ExportError, match="tflite float32"):
        export.export(trained, tmp_path / "net")
    assert not (tmp_path / "net" / "tiny.tflite").exists()
    assert (tmp_path / "net" / "tiny.onnx").exists()
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    assert [row["format"] for row in manifest["rejected"]] == ["tflite"]


def test_nothing_is_published_when_all_fail(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("export.formats.onnx.Onnx.write", lambda *_, **__: 1 / 0)
    with pytest.raises(ExportError, match="nothing was published"):
        export.export(trained, tmp_path / "net", formats=["onnx"])
    assert not (tmp_path / "net").exists()


def test_a_disk_that_fills_up(trained, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("export.formats.onnx.Onnx.write", full)
    with pytest.raises(ExportError, match="is full"):
        export.export(trained, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"formats": []}, "No format"),
        ({"formats": "tflite"}, r"such as \['tflite'\]"),
        ({"formats": ["tflight"]}, "Did you mean tflite"),
        ({"precisions": ["int8"], "calibration": [np.zeros((24, 24, 3))]}, "list is neither"),
        ({"precisions": ["int7"]}, "float32, float16"),
        ({"formats": ["onnx"], "precisions": ["dynamic"]}, "--tflite"),
        ({"precisions": ["int8"]}, "calibration"),
        ({"precisions": ["int8"], "calibration": np.zeros((4, 9, 9, 3), "float32")}, "24, 24, 3"),
        ({"calibration": "nowhere", "precisions": ["int8"], "preprocessing": "tf"}, "does not exist"),
        ({"labels": ["a", "b"]}, "2 labels"),
        ({"include_preprocessing": True}, "preprocessing"),
        ({"preprocessing": "blue"}, "none, unit, tf"),
        ({"opset": 3}, "opset"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(trained, tmp_path, options, says):
    with pytest.raises(RequestError, match=says):
        export.export(trained, tmp_path / "net", **options)
    assert list(tmp_path.iterdir()) == []


KILL = """
import os, signal, sys
import numpy as np
from pathlib import Path
from tests.export.test_pipeline import tiny
from export.api import run
from export.opening import LoadedModel, Origin
from export.request import Request
loaded = LoadedModel(tiny(), Origin("tiny"), None, None)
class Killer:
    steps = 0
    def step(self, text):
        Killer.steps += 1
        if {word!r} in text:
            os.kill(os.getpid(), signal.SIGKILL)
    warn = note = step
run(Request(), loaded, Path({target!r}), progress=Killer())
"""


@pytest.mark.parametrize(
    "word",
    [
        pytest.param("verifying saved_model", marks=pytest.mark.slow),
        pytest.param("writing onnx", marks=pytest.mark.slow),
        "publishing",
    ],
)
def test_killed_exports_leave_the_old_folder(tmp_path, word):
    target = tmp_path / "net"
    export.export(tiny(), target, formats=["onnx"])
    before = (target / "manifest.json").read_bytes()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = KILL.format(word=word, target=str(target))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (target / "manifest.json").read_bytes() == before
    assert list(tmp_path.glob(".net.partial-*"))
    export.export(tiny(), target, formats=["tflite"])
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "tiny.tflite").exists()
    assert (target / "tiny.onnx").exists()
