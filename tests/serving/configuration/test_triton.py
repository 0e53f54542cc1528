"""Triton's configuration: parsed by its own messages, compared with the ONNX files, planted mistakes caught."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner

from serving.commands import init
from serving.configuration import schemas
from serving.configuration.triton import checking, messages, repository, writing
from serving.contract import BATCH_SIZES
from serving.errors import RequestError
from serving.operations import doctor
from tests.serving.configuration.test_kubernetes import build, container
from tests.serving.exported import put_model
from tests.serving.small import CLASSES, SIDE

CONFIG = "repository/colours/config.pbtxt"
# What Triton calls the messages that lie within others there.
NESTED = {
    **{name: f"ModelVersionPolicy.{name}" for name in ("Latest", "All", "Specific")},
    **{name: f"ModelOptimizationPolicy.{name}" for name in ("Graph", "ExecutionAccelerators")},
    "Accelerator": "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator",
    "WarmupInput": "ModelWarmup.Input",
}


@pytest.fixture
def folder(triton_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(triton_folder, tmp_path / "deploy"))


def run(*arguments: object) -> str:
    """What `init` prints; errors are raised as they are."""
    result = CliRunner().invoke(
        init.command, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
    )
    if result.exception:
        raise result.exception
    return result.output


def test_nothing_is_found_in_what_init_writes(folder):
    assert checking.validate(folder) == []
    assert doctor.examine(Path("nowhere"), folder) == ([], [])
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])


def test_a_config_says_what_the_file_takes(folder):
    config = messages.parse((folder / CONFIG).read_text(), CONFIG)
    model = onnx.load(folder / "repository/colours/1/model.onnx")
    (source,), (target,) = model.graph.input, model.graph.output
    assert (config.input[0].name, config.output[0].name) == (source.name, target.name)
    assert list(config.input[0].dims) == [SIDE, SIDE, 3]
    assert config.max_batch_size == BATCH_SIZES[-1]
    assert [warmup.batch_size for warmup in config.model_warmup] == list(BATCH_SIZES)
    assert json.loads(config.parameters["preprocessing"].string_value)["channel_order"] == "bgr"
    assert (folder / "repository/colours/labels.txt").read_text().split() == list(CLASSES)


def test_precisions_have_models_of_their_own(folder, onnx_folder):
    """float16 runs on the GPU, int8 on the CPU."""
    assert {path.name for path in (folder / "repository").iterdir()} == {"colours", "colours_float16"}
    (model, *_) = repository.find_onnx(onnx_folder)
    for precision, kind in (("float32", 1), ("float16", 1), ("int8", 2)):
        text = repository.config_text(replace(model, precision=precision), gpu=True)
        assert messages.parse(text, "").instance_group[0].kind == kind


def test_tritons_own_messages_read_the_configs(folder):
    model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]")
    from google.protobuf import text_format

    for path in folder.glob("repository/*/config.pbtxt"):
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        ours = messages.parse(path.read_text(), str(path))
        assert config.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)
        assert config.version_policy.WhichOneof("policy_choice") == "latest"


def test_our_messages_are_tritons():
    model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]")
    pool = model_config_pb2.DESCRIPTOR.pool
    for name, message in messages._classes().items():
        theirs = pool.FindMessageTypeByName(f"inference.{NESTED.get(name, name)}").fields_by_name
        for field in message.DESCRIPTOR.fields:
            other = theirs[field.name]
            assert (field.number, field.type) == (other.number, other.type), f"{name}.{field.name}"
            if field.enum_type:
                values = [{value.name: value.number for value in one.enum_type.values} for one in (field, other)]
                assert values[0] == values[1]


MISTAKES = [
    ('name: "colours"', 'name: "colors"', "has to be that of its folder"),
    ('name: "images"', 'name: "image"', "has no input 'image'"),
    ("max_batch_size: 32", "max_batch_size: 16", "preferred_batch_size 32"),
    ("max_batch_size: 32", "max_batch_size: 16", "batch_size is 32"),
    ("max_batch_size: 32", "max_batch_size: 0", "needs max_batch_size"),
    ("max_batch_size: 32", "max_batchsize: 32", 'no field named "max_batchsize"'),
    ("kind: KIND_GPU", "kind: GPU", "has no value named GPU"),
    ("dims: 16", "dims: 17", "is float32 [16, 16, 3]; config.pbtxt says float32 [17, 16, 3]"),
    ("data_type: TYPE_FP32", "data_type: TYPE_UINT8", "config.pbtxt says uint8"),
    ("dims: 7", "dims: 8", "has 7 labels"),
    ('label_filename: "labels.txt"', 'label_filename: "names.txt"', "there is no such file"),
    ("num_versions: 1\n  }", "num_versions: 1\n  }\n  all {\n  }", "has latest and all"),
    ('backend: "onnxruntime"', "", "no backend"),
]


@pytest.mark.parametrize(("old", "new", "says"), MISTAKES)
def test_planted_mistakes_are_caught(folder, old, new, says):
    path = folder / CONFIG
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    found = checking.validate(folder)
    assert any(says in finding.what for finding in found), found
    assert all(finding.severity == "error" and finding.mend for finding in found)


def plant(folder: Path, what: str) -> None:
    model = folder / "repository/colours"
    if what == "no version":
        shutil.rmtree(model / "1")
    elif what == "no file":
        (model / "1/model.onnx").unlink()
    elif what == "damaged":
        (model / "1/model.onnx").write_bytes(b"damaged")
    elif what == "no config":
        (model / "config.pbtxt").unlink()
    elif what == "compose":
        path = folder / "compose.yaml"
        path.write_text(path.read_text().replace("restart: unless-stopped", "restarts: unless-stopped", 1))
    elif what == "kubernetes":
        path = folder / "kubernetes/deployment.yaml"
        path.write_text(path.read_text().replace("containerPort: 8000", "containerPort: http", 1))


@pytest.mark.parametrize("what", ["no version", "no file", "damaged", "no config", "compose", "kubernetes"])
def test_other_mistakes_are_caught(folder, what):
    plant(folder, what)
    assert any(finding.severity == "error" for finding in checking.validate(folder))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_prometheus_reads_its_files(folder):
    command = ["promtool", "check", "config", folder / "prometheus/prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 rules found" in done.stdout


def test_built_objects_follow_their_schemas(folder):
    objects = build(folder, "kubernetes")
    assert set(objects) == {"Deployment", "Service", "PersistentVolumeClaim"}
    for document in objects.values():
        assert list(schemas.check_kubernetes("triton", document)) == []
    found = container(objects)
    assert (found["image"], found["args"]) == (f"nvcr.io/nvidia/tritonserver:{writing.VERSION}-py3", [*writing.FLAGS])
    assert found["resources"]["limits"]["nvidia.com/gpu"] == 1


class TestInit:
    """One command, and never half of a configuration or over another one."""

    def test_one_command(self, onnx_folder, tmp_path):
        printed = run("--models", onnx_folder, "--server", "triton", "--output", tmp_path / "deploy")
        assert "colours, colours_float16" in printed
        assert checking.validate(tmp_path / "deploy") == []
        assert not (tmp_path / "deploy/compose.gpu.yaml").exists()

    def test_a_model_that_is_left_out_is_removed(self, onnx_folder, folder):
        run("--models", onnx_folder, "--server", "triton", "--output", folder, "--only", "colours")
        assert [path.name for path in (folder / "repository").iterdir()] == ["colours"]
        assert checking.validate(folder) == []

    def test_a_change_by_hand_stays(self, onnx_folder, folder):
        (folder / CONFIG).write_text((folder / CONFIG).read_text().replace("count: 1", "count: 2"))
        with pytest.raises(RequestError, match="changed by hand"):
            run("--models", onnx_folder, "--server", "triton", "--output", folder)

    def test_not_over_the_other_servers(self, onnx_folder, tmp_path):
        put_model(tmp_path / "artifacts", "squeezenet")
        run("--models", tmp_path / "artifacts", "--output", tmp_path / "deploy")
        with pytest.raises(RequestError, match="TensorFlow Serving"):
            run("--models", onnx_folder, "--server", "triton", "--output", tmp_path / "deploy")

    @pytest.mark.parametrize(("only", "says"), [("nothing", "there are colours"), (None, "There is no ONNX file")])
    def test_nothing_to_serve(self, onnx_folder, tmp_path, only, says):
        arguments: list[Any] = ["--models", onnx_folder, "--only", only] if only else ["--models", tmp_path]
        with pytest.raises(RequestError, match=says):
            run(*arguments, "--server", "triton", "--output", tmp_path / "deploy")


def test_normalization_inside_the_file_is_not_done_twice():
    fields = {"resize": 8, "channel_order": "bgr", "mean": [1.0], "std": [2.0]}
    assert repository._preprocessing(fields | {"included": False}) == fields
    inside = repository._preprocessing(fields | {"included": True})
    assert (inside["channel_order"], inside["mean"], inside["std"], inside["resize"]) == ("rgb", [0.0], [1.0], 8)


def test_every_type_has_a_name():
    assert {np.dtype(name).name for name in repository.DATA_TYPES} == set(repository.DATA_TYPES)
    assert writing.FLAGS[0].endswith("/repository")
