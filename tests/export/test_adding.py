"""An export adds to the folder of the same network, and to no other; what was there stays whole, whatever happens."""

import json
import random
import re
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import export
from export import RequestError
from export.files import digest_of
from export.identity import digest
from tests import processes

CLASSES = ("red", "green", "blue")


def tiny(seed=0, activation="relu", name="tiny"):
    """A network whose weights come from the seed."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, activation=activation)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name=name)


def check(folder):
    """Check that a folder holds what its manifest says, and nothing else."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        assert digest_of(folder / artifact["path"]) == artifact["sha256"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*manifest["files"], "manifest.json"}
    return manifest


@pytest.fixture
def adding(tmp_path):
    """A folder with a TFLite file; it may be added to."""
    folder = tmp_path / "net"
    export.export(tiny(), folder, formats=["tflite"], labels=CLASSES)
    return folder


def test_artifacts_are_added_and_replaced(adding, request):
    before = check(adding)
    made = export.export(tiny(), adding, formats=["onnx", "saved_model"])
    after = check(adding)
    paths = ["saved_model/1", "tiny.tflite", "tiny.onnx"]
    assert [artifact["path"] for artifact in after["artifacts"]] == paths
    assert [artifact["path"] for artifact in made["artifacts"]] == paths
    assert after["artifacts"][1] == before["artifacts"][0]
    assert [entry["created"] for entry in after["earlier"]] == [before["created"]]
    assert after["artifacts"][1]["created"] == before["created"] < after["created"]
    assert (adding / "labels.txt").read_text().split() == list(CLASSES)
    report = (adding / "report.md").read_text()
    assert all(path in report for path in paths)
    assert re.search(r"Exported on .* UTC: tiny\.tflite\. Compared on 8 synthetic images\.", report)
    schema = json.loads((request.config.rootpath / "docs/manifest.schema.json").read_text())
    Draft202012Validator(schema).validate(after)

    export.export(tiny(), adding, formats=["tflite"])
    again = check(adding)
    assert [artifact["path"] for artifact in again["artifacts"]] == paths
    assert again["artifacts"][1]["created"] == again["created"]
    assert [entry["created"] for entry in again["earlier"]] == [after["created"]]
    assert list(adding.parent.iterdir()) == [adding]


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (lambda: tiny(seed=1), {}, "another tiny: its layers or weights differ"),
        (lambda: tiny(activation="tanh"), {}, "another tiny"),
        (lambda: tiny(seed=1, name="other"), {}, "of tiny, and this export is of other"),
        (tiny, {"labels": ("a", "b", "c")}, "other labels"),
        (tiny, {"preprocessing": "tf", "include_preprocessing": True}, "without preprocessing inside"),
    ],
    ids=["retrained", "other layers", "other name", "labels", "preprocessing"],
)
def test_another_model_is_refused(adding, model, options, says):
    def state():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in adding.rglob("*")}

    before = state()
    with pytest.raises(RequestError, match=says) as refused:
        export.export(model(), adding, formats=["onnx"], **options)
    assert "--replace" in str(refused.value)
    assert state() == before
    assert list(adding.parent.iterdir()) == [adding]
    if options:
        return
    manifest = export.export(model(), adding, formats=["onnx"], replace=True)
    assert [artifact["path"] for artifact in manifest["artifacts"]] == [f"{manifest['model']['name']}.onnx"]
    check(adding)


def test_a_file_that_was_changed_by_hand_is_kept(adding):
    (adding / "tiny.tflite").write_bytes(b"precious")
    with pytest.raises(RequestError, match=r"tiny\.tflite is not what the manifest beside it says"):
        export.export(tiny(), adding, formats=["onnx"])
    assert (adding / "tiny.tflite").read_bytes() == b"precious"
    (adding / "tiny.tflite").unlink()
    assert [artifact["path"] for artifact in export.export(tiny(), adding, formats=["onnx"])["artifacts"]] == [
        "tiny.onnx"
    ]


def test_an_artifact_that_fails_leaves_the_earlier_one(adding, monkeypatch):
    before = check(adding)["artifacts"][0]
    monkeypatch.setattr("export.formats.tflite.write_tflite", lambda *_, **__: 1 / 0)
    with pytest.raises(export.ExportError, match="tflite float32"):
        export.export(tiny(), adding, formats=["tflite", "onnx"])
    after = check(adding)
    assert after["artifacts"][0] == before
    assert after["rejected"][0]["format"] == "tflite"


def test_two_at_once_both_stay(adding):
    models = {"onnx": tiny(), "saved_model": tiny()}
    threads = [
        threading.Thread(target=export.export, args=(model, adding), kwargs={"formats": [name]})
        for name, model in models.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(check(adding)["artifacts"]) == 3
    assert list(adding.parent.iterdir()) == [adding]


def test_a_model_without_a_name_is_called_like_its_folder(tmp_path):
    model = keras.Model(*(lambda m: (m.input, m.output))(tiny()))
    assert model.name.startswith("functional")
    manifest = export.export(model, tmp_path / "mine", formats=["tflite"])
    assert manifest["artifacts"][0]["path"] == "mine.tflite"


def test_accuracies_on_other_photos_are_told_apart(adding):
    from export.report import exports, text

    manifest = check(adding)
    scored = {"source": "a.zip", "photos": 4, "skipped": 0, "keras": {"top1": 0.75, "top5": 1.0, "images": 4}}
    old, new = manifest["artifacts"][0], dict(manifest["artifacts"][0])
    old |= {"created": "2026-11-01T10:00:00+00:00", "accuracy": {"top1": 0.5, "top5": 1.0, "images": 4}}
    new |= {"path": "tiny.onnx", "accuracy": {"top1": 0.25, "top5": 1.0, "images": 4}}
    entry = {name: manifest[name] for name in ("verification", "calibration", "versions")}
    manifest |= {"artifacts": [old, new], "evaluation": scored}
    manifest["earlier"] = [{**entry, "created": old["created"], "evaluation": scored}]
    assert exports.accuracy_of(manifest, old)["top1"] == 0.5
    manifest["earlier"][0]["evaluation"] = {**scored, "source": "b.zip"}
    assert exports.accuracy_of(manifest, old) is None
    assert "Top-1 on those photos, which are not those of the table: Keras 75.0 %, tiny.tflite 50.0 %." in text.notes(
        manifest
    )
    manifest["evaluation"] = None
    assert exports.evaluation_of(manifest)["source"] == "b.zip"
    assert exports.accuracy_of(manifest, old)["top1"] == 0.5


@pytest.mark.slow
def test_a_compressed_network_is_added_to_by_its_own_file(tmp_path):
    """Compressing again would make another network; its .kdc file is the one that the artifacts are made of."""
    from export import opening
    from export.api import run
    from export.request import Request
    from kerascnn import applications

    keras.utils.set_random_seed(0)
    model = applications.lenet5(weights="mnist")
    images = np.random.default_rng(0).uniform(size=(20, *model.inputs[0].shape[1:])).astype(np.float32)
    folder = tmp_path / "lenet5"
    first = export.export(model, folder, formats=["onnx"], calibration=images, compress=True)
    for options in ({"compress": True}, {}):
        with pytest.raises(RequestError, match="--replace"):
            export.export(model, folder, calibration=images, **options)
    loaded = opening.build(str(folder / "lenet5.kdc"), warn=print)
    after = run(Request(formats=["saved_model"]), loaded, folder)
    check(folder)
    assert after["compression"] == json.loads(json.dumps(first["compression"], default=list))
    assert after["weights"] == first["weights"]
    assert {artifact["path"] for artifact in after["artifacts"]} >= {"saved_model/1", "lenet5.onnx"}


def test_a_network_has_one_digest(tmp_path):
    first = digest(tiny())
    tiny(seed=3)  # Keras counts the names of layers on
    assert digest(tiny()) == first
    tiny().save(tmp_path / "saved.keras")
    assert digest(keras.saving.load_model(tmp_path / "saved.keras")) == first
    assert digest(tiny(name="other")) == first
    assert len({first, digest(tiny(seed=1)), digest(tiny(activation="tanh"))}) == 3


# The interpreter is started and TensorFlow imported once; each export runs in a fork of it, before any thread exists.
KILLED = """
import os, signal, sys, time
import keras, tensorflow, tf2onnx, onnxruntime, ai_edge_litert.interpreter
import export.api, export.stages, export.formats.onnx
from tests.export.test_adding import tiny
def attempt(seconds):
    start, child = time.monotonic(), os.fork()
    if not child:
        export.export(tiny(), sys.argv[1], formats=["saved_model", "onnx"])
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, time.monotonic() - start, flush=True)
for line in sys.stdin:
    attempt(None if line.strip() == "all" else float(line))
"""


@pytest.mark.slow
def test_killed_at_ten_random_points(adding):
    before = check(adding)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(adding)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=processes.environment(),
    )

    def attempt(when):
        child.stdin.write(f"{when}\n")
        child.stdin.flush()
        code, seconds = child.stdout.readline().split()
        return int(code), float(seconds)

    code, whole = attempt("all")
    assert code == 0
    before = check(adding)
    assert len(before["artifacts"]) == 3
    for when in sorted(random.Random(0).uniform(0, whole) for _ in range(10)):
        attempt(when)
        after = check(adding)
        assert {artifact["path"] for artifact in after["artifacts"]} == {
            artifact["path"] for artifact in before["artifacts"]
        }
        assert after["artifacts"][1] == before["artifacts"][1]
    assert attempt("all")[0] == 0
    child.communicate()
    check(adding)
    assert list(adding.parent.iterdir()) == [adding]
