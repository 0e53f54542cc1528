"""`python -m serving doctor`: planted mistakes are found, each with its mend, and what is well is left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from serving.commands.doctor import command
from serving.contract import operators
from serving.errors import RequestError
from serving.findings import Finding
from serving.operations import doctor
from serving.operations.memory import Memory, estimate_memory
from tests.serving.exported import write_config
from tests.serving.small import CLASSES

WARMUP = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture
def artifacts(exported_folder: Path, tmp_path: Path) -> Path:
    """A copy of the exported models, to be damaged."""
    return Path(shutil.copytree(exported_folder, tmp_path / "artifacts"))


@pytest.fixture
def version(artifacts: Path) -> Path:
    return artifacts / "colours/saved_model/1"


def found(artifacts: Path, config: Path | None = None) -> list[Finding]:
    return doctor.examine(artifacts, config)[1]


def without_checksum(artifacts: Path) -> None:
    """Take the checksum out of the manifest, so that what was planted is found by other means."""
    path = artifacts / "colours/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["artifacts"][0]["sha256"]
    path.write_text(json.dumps(manifest))


def run(*arguments: object):
    return CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)


class TestHealthy:
    """No alarm where nothing is wrong."""

    def test_nothing_is_found(self, exported_folder, tmp_path):
        write_config(exported_folder, tmp_path / "deploy")
        examined, findings = doctor.examine(exported_folder, tmp_path / "deploy")
        assert findings == []
        (row,) = examined
        assert (row.model, row.version, row.warmup_requests) == ("colours", 1, 18)
        assert row.signatures == ("serving_bytes", "serving_default", "serving_uint8")
        assert 0 < row.weights < row.memory

    def test_exit_codes_and_json(self, artifacts, version):
        result = run("--models", artifacts, "--json")
        assert result.return_value == 0
        assert json.loads(result.stdout)["findings"] == []
        (version / "saved_model.pb").write_bytes(b"damaged")
        result = run("--models", artifacts, "--json")
        assert result.return_value == 1
        assert {row["severity"] for row in json.loads(result.stdout)["findings"]} == {"error"}
        assert "error: " in run("--models", artifacts).stdout

    @pytest.mark.parametrize("folder", ["nowhere", "."])
    def test_nothing_to_look_at(self, tmp_path, monkeypatch, folder):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(RequestError):
            doctor.examine(Path(folder))


class TestFolders:
    """What a server passes over without a word. It is found without loading, which TestContent is about."""

    @pytest.fixture(autouse=True)
    def load_nothing(self, monkeypatch):
        def examined(name, version, folder):
            return doctor.Examined(name, version, (), 0, 0, 0), []

        monkeypatch.setattr(doctor, "_examine_version", examined)

    @pytest.mark.parametrize("name", ["v1", "0.1", "01", "latest", "-1", "99999999999999999999"])
    def test_a_version_by_another_name(self, version, artifacts, name):
        version.rename(version.with_name(name))
        (finding,) = found(artifacts)
        taken = {"01": "takes it for version 1", "-1": "takes it for version -1"}
        assert taken.get(name, "whole number") in finding.what
        assert finding.mend == "Rename it to 1."

    def test_a_file_that_is_taken_for_a_version(self, version, artifacts):
        version.with_name("9").write_text("notes")
        (finding,) = found(artifacts)
        assert (finding.severity, "takes it for version 9" in finding.what) == ("error", True)
        assert finding.mend == "Remove it."

    def test_a_version_that_was_copied_in_part(self, version, artifacts):
        (version.with_name("2") / "variables").mkdir(parents=True)
        (finding,) = found(artifacts)
        assert finding.where.endswith("2")
        assert "no saved_model.pb" in finding.what

    def test_only_such_a_version(self, tmp_path):
        (tmp_path / "models/squeezenet/1/variables").mkdir(parents=True)
        (finding,) = found(tmp_path / "models")
        assert "no saved_model.pb" in finding.what

    def test_no_version(self, version, artifacts):
        shutil.rmtree(version)
        (finding,) = found(artifacts)
        assert "holds no version" in finding.what

    def test_a_name_that_cannot_be_in_a_url(self, artifacts):
        (artifacts / "colours").rename(artifacts / "my colours")
        (finding,) = found(artifacts)
        assert "cannot be served" in finding.what

    def test_what_an_unfinished_run_left_is_no_version(self, version, artifacts):
        shutil.copytree(version, version.with_name(".2.partial-77"))
        assert found(artifacts) == []

    def test_weights_that_are_random(self, artifacts):
        path = artifacts / "colours/manifest.json"
        manifest = json.loads(path.read_text())
        manifest["weights"]["trained"] = False
        path.write_text(json.dumps(manifest))
        (finding,) = found(artifacts)
        assert (finding.severity, "random" in finding.what) == ("warning", True)


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


class TestContent:
    """What a server would refuse to load, or would answer wrongly."""

    def test_one_changed_bit_in_the_weights(self, version, artifacts):
        flip(version / "variables/variables.data-00000-of-00001")
        assert any("checksum" in finding.what for finding in found(artifacts))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: (folder / "saved_model.pb").write_bytes(b"no message"), "cannot be read"),
            (lambda folder: (folder / "saved_model.pb").write_bytes(b""), "cannot be read"),
            (lambda folder: cut(folder / "variables/variables.data-00000-of-00001"), "does not load"),
            (lambda folder: (folder / "variables/variables.index").unlink(), "does not load"),
            (lambda folder: cut(folder / WARMUP), "warm-up requests cannot be read"),
            (lambda folder: (folder / WARMUP).write_bytes(b"no records" * 9), "warm-up requests cannot be read"),
        ],
        ids=["graph", "empty graph", "weights", "index of the weights", "half a warm-up", "no warm-up"],
    )
    def test_damaged_files(self, version, artifacts, damage: Callable[[Path], None], message):
        without_checksum(artifacts)
        damage(version)
        (finding,) = found(artifacts)
        assert message in finding.what
        assert finding.severity == "error"

    @pytest.mark.parametrize(
        ("plant", "message"),
        [
            (lambda request: setattr(request.model_spec, "signature_name", "serve"), "no signature 'serve'"),
            (lambda request: request.inputs["pixels"].CopyFrom(request.inputs.pop("images")), "takes images"),
            (lambda request: setattr(request.inputs["images"].tensor_shape.dim[1], "size", 3), "fails"),
        ],
        ids=["signature", "input", "size"],
    )
    def test_a_warm_up_request_that_fails(self, version, artifacts, plant, message):
        without_checksum(artifacts)
        change_warmup(version, "serving_default", plant)
        (finding,) = [finding for finding in found(artifacts) if finding.severity == "error"]
        assert message in finding.what

    def test_no_warm_up(self, version, artifacts):
        without_checksum(artifacts)
        (version / WARMUP).unlink()
        (finding,) = found(artifacts)
        assert (finding.severity, "no warm-up requests" in finding.what) == ("warning", True)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [(CLASSES[:-1], "6 labels for 7 classes"), (("", *CLASSES[1:]), "Line 1 is empty")],
    )
    def test_labels(self, version, artifacts, labels, message):
        without_checksum(artifacts)
        (version / "assets.extra/labels.txt").write_text("\n".join(labels) + "\n")
        (finding,) = found(artifacts)
        assert message in finding.what

    def test_an_operator_that_the_server_does_not_know(self, version, artifacts):
        without_checksum(artifacts)
        message = operators.read_saved_model(version)
        message.meta_graphs[0].graph_def.node.add(name="new", op="DecodeJxl")
        (version / "saved_model.pb").write_bytes(message.SerializeToString())
        assert any("DecodeJxl" in finding.what for finding in found(artifacts))

    def test_models_that_others_wrote(self, tmp_path):
        """No default signature, half precision, a name that HTTP encodes, no warm-up: all is said."""
        module = tf.Module()

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
        def call(x):
            return {"y": tf.cast(x, tf.float16), "text_bytes": tf.strings.as_string(x)}

        tf.saved_model.save(module, str(tmp_path / "models/theirs/1"), signatures={"serve": call})
        text = "\n".join(finding.what for finding in found(tmp_path / "models"))
        for part in ("no signature 'serving_default'", "float16", "_bytes", "no warm-up"):
            assert part in text


def change_warmup(version: Path, signature: str, change: Callable) -> None:
    """Apply `change` to the warm-up requests of one signature."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = str(version / WARMUP)
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(path)]
    with tf.io.TFRecordWriter(path) as writer:
        for log in logs:
            if log.predict_log.request.model_spec.signature_name == signature:
                change(log.predict_log.request)
            writer.write(log.SerializeToString())


class TestConfiguration:
    """With --config, the configuration is held against the models."""

    def test_a_version_that_does_not_exist(self, artifacts, tmp_path):
        path = write_config(artifacts, tmp_path / "deploy")
        path.write_text(path.read_text().replace("versions: 1", "versions: 4"))
        assert any("Version 4 does not exist" in finding.what for finding in found(artifacts, tmp_path / "deploy"))


class TestMemory:
    """The estimate against networks whose need is counted by hand."""

    def test_weights_and_the_widest_point(self, exported_folder):
        """conv: 16x16x3 in and 4x4x8 out; its ReLU works on 4x4x8 again; then 128 to 7."""
        folder = exported_folder / "colours/saved_model/1"
        graphs = [row.graph_def for row in operators.read_saved_model(folder).meta_graphs]
        memory = estimate_memory(folder, graphs)
        parameters = (5 * 5 * 3 * 8 + 8) + (128 * 7 + 7)
        assert parameters * 4 <= memory.weights <= parameters * 4 + 2000
        # The photo itself, before it is normalised and after it, is the widest point of so small a network.
        assert 2 * 16 * 16 * 3 * 4 <= memory.activations <= 4 * 16 * 16 * 3 * 4

    def test_it_grows_with_the_batch(self):
        assert Memory(100, 10).total(32) == 420
