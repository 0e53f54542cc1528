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
from serving.configuration.monitoring import metrics
from serving.configuration.triton import checking, dashboard, deployment, messages, repository, writing
from serving.contract import BATCH_SIZES
from serving.errors import RequestError
from serving.operations import doctor
from tests.serving.configuration.test_kubernetes import build, container
from tests.serving.configuration.test_monitoring import check_queries
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


@pytest.mark.parametrize("what", ["no version", "no file", "damaged", "no config"])
def test_models_that_are_not_whole_are_caught(folder, what):
    plant(folder, what)
    assert any(finding.severity == "error" for finding in checking.validate(folder))


KSERVE, DEPLOYMENT = "kubernetes/kserve/inference-service.yaml", "kubernetes/deployment.yaml"
ALERTS, BOARD = "prometheus/alerts.yml", "grafana/dashboards/triton.json"
OTHER_MISTAKES = [
    ("compose.yaml", "restart: unless-stopped", "restarts: unless-stopped", "restarts"),
    ("compose.yaml", "--exit-on-error=true", "--exit-on-failure=true", "--exit-on-failure=true is not a flag"),
    (DEPLOYMENT, "containerPort: 8000", "containerPort: http", "containerPort"),
    (DEPLOYMENT, "--model-repository=", "--model_repository=", "--model_repository=/repository is not a flag"),
    (DEPLOYMENT, "claimName: triton-repository", "claimName: repository", "no volume 'repository'"),
    (KSERVE, "protocolVersion: v2", "protocolVersion: v1", "protocolVersion is v1"),
    (KSERVE, "protocolVersion: v2", "protocolversion: v2", "protocolVersion is v1"),
    (KSERVE, "protocolVersion: v2", "protocolversion: v2", "unexpected"),
    (KSERVE, "protocolVersion: v2", "protocolVersion: 2", "not of the type str"),
    (KSERVE, "name: onnx", "name: tensorflow", "modelFormat is 'tensorflow'"),
    (KSERVE, "pvc://triton-repository", "pvc://repository", "no volume 'repository'"),
    (KSERVE, "      storageUri: pvc://triton-repository\n", "", "no storageUri"),
    (KSERVE, "maxReplicas: 6", "maxReplica: 6", "unexpected"),
    (KSERVE, "minReplicas: 1", 'minReplicas: "1"', "not of the type int"),
    (KSERVE, "cpu: ", "cpus: [", "cannot be parsed"),
    (KSERVE, "        limits:", "        limit:", "unexpected"),
    (KSERVE, "v1beta1", "v1alpha1", "apiVersion is 'serving.kserve.io/v1alpha1'"),
    (KSERVE, "    model:", "    onnx:", "no spec.predictor.model"),
    (KSERVE, "--exit-timeout-secs=30", "--exit-timeout=30", "--exit-timeout=30 is not a flag"),
    (
        ALERTS,
        "nv_inference_request_failure",
        "nv_inference_request_failures",
        "no metric nv_inference_request_failures",
    ),
    (ALERTS, "by (model)", "by (model_name)", "no label model_name"),
    (BOARD, "nv_inference_exec_count", "nv_inference_execution_count", "no metric nv_inference_execution_count"),
    (BOARD, "nv_gpu_utilization", "DCGM_FI_DEV_GPU_UTIL", "no metric DCGM_FI_DEV_GPU_UTIL"),
]


@pytest.mark.parametrize(("name", "old", "new", "says"), OTHER_MISTAKES)
def test_mistakes_in_other_files_are_caught(folder, name, old, new, says):
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    found = checking.validate(folder)
    assert any(says in finding.what and finding.where == name for finding in found), found
    assert all(finding.severity == "error" and finding.mend for finding in found)


def test_kserve_serves_the_repository_with_the_same_flags(folder):
    """With its second protocol, from the deployment's volume, and the flags that do not choose the repository."""
    deployed = yaml.safe_load((folder / DEPLOYMENT).read_text())["spec"]["template"]["spec"]
    service = yaml.safe_load((folder / KSERVE).read_text())
    model = service["spec"]["predictor"]["model"]
    assert (model["protocolVersion"], model["runtimeVersion"]) == ("v2", f"{writing.VERSION}-py3")
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in deployed["volumes"]]
    assert model["storageUri"].removeprefix("pvc://") in claims
    (container_there,) = deployed["containers"]
    missing = set(container_there["args"]) - set(model["args"])
    assert [flag.partition("=")[0] for flag in missing] == ["--model-repository"]
    assert model["resources"]["limits"]["memory"] == container_there["resources"]["limits"]["memory"]
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "1"


class TestMonitoring:
    """The dashboard and the alerts; mistakes in their queries are planted above."""

    @staticmethod
    def panels(gpu: bool) -> list[dict[str, Any]]:
        return json.loads(dashboard.build(gpu=gpu))["panels"]

    def test_durations_are_in_microseconds(self):
        units = {
            panel["fieldConfig"]["defaults"]["unit"]
            for panel in self.panels(gpu=True)
            if any("duration_us" in target["expr"] for target in panel["targets"])
        }
        assert units == {"µs"}

    def test_gpu_panels_and_alerts_only_with_a_gpu(self, onnx_folder):
        assert [panel["title"] for panel in self.panels(gpu=True) if "GPU" in panel["title"]]
        assert "nv_gpu" not in dashboard.build(gpu=False)
        files = {gpus: writing.render(repository.find_onnx(onnx_folder), gpus=gpus)[ALERTS] for gpus in (0, 1)}
        assert ("nv_gpu" in files[0], "nv_gpu" in files[1]) == (False, True)

    def test_every_documented_metric_is_used(self, folder):
        text = (folder / ALERTS).read_text() + (folder / BOARD).read_text()
        assert {metric.name for metric in metrics.TRITON_METRICS if metric.name not in text} == set()

    def test_the_alert_on_the_queue_fits_its_length(self, folder):
        config = messages.parse((folder / CONFIG).read_text(), CONFIG)
        half = config.dynamic_batching.default_queue_policy.max_queue_size // 2
        assert f"(nv_inference_pending_request_count) > {half}\n" in (folder / ALERTS).read_text()

    def test_grafana_finds_its_files(self, folder):
        """The folders that compose mounts hold the data source and the dashboard that the panels name."""
        service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["grafana"]
        assert all((folder / mount.partition(":")[0]).is_dir() for mount in service["volumes"] if mount[0] == ".")
        sources = yaml.safe_load((folder / "grafana/provisioning/datasources/prometheus.yaml").read_text())
        used = {panel["datasource"]["uid"] for panel in json.loads((folder / BOARD).read_text())["panels"]}
        assert used == {source["uid"] for source in sources["datasources"]}
        assert "GRAFANA_PASSWORD=" in (folder / ".env").read_text()

    def test_queries_are_read_by_promtool(self, tmp_path):
        check_queries(self.panels(gpu=True), tmp_path)


def test_the_flags_that_init_sets_exist():
    assert {flag.removeprefix("--").partition("=")[0] for flag in writing.FLAGS} <= deployment.known_flags()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_prometheus_reads_its_files(folder):
    command = ["promtool", "check", "config", folder / "prometheus/prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 rules found" in done.stdout


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
