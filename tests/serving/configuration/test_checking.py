"""The checks of a configuration: what `init` writes passes, and every planted mistake is found, with its mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.artifacts import ServedModel, find_models
from serving.configuration import rendering
from serving.configuration.checking import check_files, validate
from serving.errors import RequestError
from tests.serving.exported import put_model, put_warmup


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServedModel, ...]:
    """squeezenet with two versions, and a network of small images."""
    folder = tmp_path_factory.mktemp("artifacts")
    put_model(folder, "squeezenet", side=227, versions=(1, 2))
    put_model(folder, "resnet20_cifar", side=32)
    return find_models(folder)


@pytest.fixture(scope="module")
def rendered(models: tuple[ServedModel, ...]) -> dict[str, str]:
    """The files of init --gpu."""
    return rendering.render(models, gpus=1, models_folder="../artifacts")


@pytest.fixture
def files(rendered: dict[str, str]) -> dict[str, str]:
    """A copy to plant mistakes in."""
    return dict(rendered)


def replace(name: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
    """A mistake: one text for another, which must be there."""

    def plant(files: dict[str, str]) -> None:
        assert old in files[name], f"{old!r} is not in {name}"
        files[name] = files[name].replace(old, new)

    return plant


def remove(name: str) -> Callable[[dict[str, str]], None]:
    """A mistake: a file is missing."""
    return lambda files: files.__delitem__(name) if name in files else pytest.fail(name)


def add(name: str, text: str) -> Callable[[dict[str, str]], None]:
    """A mistake: a file with this text."""
    return lambda files: files.__setitem__(name, text)


MODELS, LATENCY = "tfs/models.config", "tfs/batching.latency.config"
DASHBOARD, SCALING = "grafana/dashboards/tensorflow-serving.json", "kubernetes/autoscaling/scaled-object.yaml"
ALERTS = "prometheus/alerts.yml"
DEPLOYMENT = "kubernetes/base/deployment.yaml"

# (what is planted, severity, where the finding points, what it says, how it says to mend it)
MISTAKES = {
    "model config is missing": (remove(MODELS), "error", MODELS, "missing", "serving init"),
    "misspelt field": (
        replace(MODELS, "base_path:", "base_paht:"),
        "error",
        MODELS,
        r'ModelServerConfig: \d+:\d+ .*"base_paht"',
        "Fix",
    ),
    "model that was not exported": (
        replace(MODELS, 'name: "squeezenet"', 'name: "squeezenett"'),
        "error",
        MODELS,
        "no such model; there are resnet20_cifar, squeezenet",
        "Export it",
    ),
    "model that is left out": (
        lambda files: files.update(
            {
                MODELS: 'model_config_list { config { name: "squeezenet" base_path: '
                '"/models/squeezenet/saved_model" model_platform: "tensorflow" } }'
            }
        ),
        "warning",
        MODELS,
        "Exported and not served: resnet20_cifar",
        "serving init",
    ),
    "model twice": (
        replace(MODELS, 'name: "resnet20_cifar"', 'name: "squeezenet"'),
        "error",
        MODELS,
        "listed twice",
        "Remove one",
    ),
    "path of this machine": (
        replace(MODELS, "/models/squeezenet/saved_model", "/home/me/artifacts/squeezenet/saved_model"),
        "error",
        MODELS,
        "the versions are in /models/squeezenet/saved_model",
        "base_path: '/models/squeezenet/saved_model'",
    ),
    "path with the version": (
        replace(MODELS, '/squeezenet/saved_model"', '/squeezenet/saved_model/2"'),
        "error",
        MODELS,
        "base_path",
        "Give",
    ),
    "other platform": (
        replace(MODELS, 'model_platform: "tensorflow"', 'model_platform: "torch"'),
        "error",
        MODELS,
        "torch",
        "tensorflow",
    ),
    "version that does not exist": (
        replace(MODELS, "versions: 2", "versions: 3"),
        "error",
        MODELS,
        "Version 3 does not exist; there are 1, 2",
        "Take",
    ),
    "label without its version": (
        replace(MODELS, "versions: 2", "versions: 1"),
        "error",
        MODELS,
        "'stable' names version 2, which the policy does not load",
        "Add the version",
    ),
    "policy without versions": (
        replace(MODELS, "versions: 2", ""),
        "error",
        MODELS,
        "specific lists no version",
        "there are 1, 2",
    ),
    "custom config": (
        add(MODELS, "custom_model_config { }"),
        "error",
        MODELS,
        "custom_model_config",
        "List the models",
    ),
    "no model at all": (add(MODELS, "model_config_list { }"), "error", MODELS, "lists no model", "serving init"),
    "plain number for a wrapper": (
        add(LATENCY, "max_batch_size: 32"),
        "error",
        LATENCY,
        r'BatchingParameters: 1:17 .*Expected "\{"',
        "Fix",
    ),
    "last size is not the maximum": (
        replace(LATENCY, "allowed_batch_sizes: 32\n", ""),
        "error",
        LATENCY,
        "last of allowed_batch_sizes is 16, max_batch_size is 32",
        "value: 16",
    ),
    "sizes out of order": (
        replace(LATENCY, "allowed_batch_sizes: 8\n", "allowed_batch_sizes: 3\n"),
        "error",
        LATENCY,
        r"not in increasing order",
        "Sort",
    ),
    "no batch thread": (
        replace(LATENCY, "num_batch_threads {\n  value: 2", "num_batch_threads {\n  value: 0"),
        "error",
        LATENCY,
        "num_batch_threads is 0",
        "1 or more",
    ),
    "as many threads as cores": (
        replace(LATENCY, "num_batch_threads {\n  value: 2", "num_batch_threads {\n  value: 64"),
        "warning",
        LATENCY,
        "num_batch_threads is 64",
        "1 to 4",
    ),
    "batches that never wait": (
        replace(LATENCY, "value: 2000", "value: 0"),
        "warning",
        LATENCY,
        "batch_timeout_micros is 0",
        "1000 to 5000",
    ),
    "padding of photos": (
        lambda files: files.update({LATENCY: files[LATENCY] + "pad_variable_length_inputs: true\n"}),
        "error",
        LATENCY,
        "black border",
        "serving_bytes",
    ),
    "monitoring elsewhere": (
        replace("tfs/monitoring.config", "/monitoring/prometheus/metrics", "/metrics"),
        "error",
        "tfs/monitoring.config",
        "Metrics are at /metrics",
        "/monitoring/prometheus/metrics",
    ),
    "misspelt session option": (
        replace("tfs/session.config", "allow_growth", "alow_growth"),
        "error",
        "tfs/session.config",
        'ConfigProto: .*"alow_growth"',
        "Fix",
    ),
    "path for a PEM text": (
        add("tfs/ssl.config", 'server_key: "/etc/key.pem" server_cert: "/etc/cert.pem"'),
        "error",
        "tfs/ssl.config",
        "server_key is not PEM text",
        "write_ssl_config.sh",
    ),
    "flag that does not exist": (
        replace("compose.yaml", "--num_load_threads", "--num_loading_threads"),
        "error",
        "compose.yaml",
        "--num_loading_threads is not a flag",
        "--num_load_threads",
    ),
    "batching parameter as a flag": (
        replace("compose.gpu.yaml", "--num_load_threads=2", "--max_batch_size=32"),
        "error",
        "compose.gpu.yaml",
        "--max_batch_size is not a flag",
        "batching_parameters_file",
    ),
    "batching file without batching": (
        replace(DEPLOYMENT, "            - --enable_batching=true\n", ""),
        "error",
        DEPLOYMENT,
        "without --enable_batching: the server ends at once",
        "enable_batching=true",
    ),
    "too few threads for a batch": (
        replace("compose.yaml", "--rest_api_num_threads=64", "--rest_api_num_threads=8"),
        "warning",
        "compose.yaml",
        "--rest_api_num_threads is 8: batches stay small",
        "--rest_api_num_threads=64",
    ),
    "threads left to the server": (
        replace(DEPLOYMENT, "            - --grpc_max_threads=64\n", ""),
        "warning",
        DEPLOYMENT,
        "--grpc_max_threads is 4 for each CPU",
        "--grpc_max_threads=64",
    ),
    "a flag of KServe's that does not exist": (
        replace("kubernetes/kserve/inference-services.yaml", "--num_load_threads", "--num_loading_threads"),
        "error",
        "kubernetes/kserve/inference-services.yaml",
        "--num_loading_threads is not a flag",
        "--num_load_threads",
    ),
    "labels without their flag": (
        replace("compose.yaml", "      - --allow_version_labels_for_unavailable_models=true\n", ""),
        "error",
        "compose.yaml",
        "Labels are refused",
        "allow_version_labels",
    ),
    "file that is not there": (
        remove("tfs/session.config"),
        "error",
        "compose.gpu.yaml",
        "no such file in tfs/",
        "Write",
    ),
    "profile that is not there": (
        replace(".env", "GPU_BATCHING=latency", "GPU_BATCHING=fast"),
        "error",
        "compose.gpu.yaml",
        "/config/batching.fast.config",
        "Write",
    ),
    "XLA by half": (
        replace("compose.gpu.yaml", "    deploy:", "    environment: {TF_XLA_FLAGS: --tf_xla_auto_jit=2}\n    deploy:"),
        "error",
        "compose.gpu.yaml",
        "the server turns it off",
        "--xla_gpu_compilation_enabled=true",
    ),
    "all of the GPU's memory": (
        replace(".env", "GPU_MEMORY_FRACTION=0.8", "GPU_MEMORY_FRACTION=1.0"),
        "warning",
        "compose.gpu.yaml",
        "CUDA context",
        "0.9",
    ),
    "memory in percent": (
        replace(".env", "GPU_MEMORY_FRACTION=0.8", "GPU_MEMORY_FRACTION=80"),
        "error",
        "compose.gpu.yaml",
        "is 80",
        "such as 0.8",
    ),
    "health check for another model": (
        replace("compose.yaml", '"squeezenet"]', '"vgg16"]'),
        "error",
        "compose.yaml",
        "asks for vgg16",
        "serving init",
    ),
    "probe for another model": (
        replace(DEPLOYMENT, '"squeezenet"]', '"vgg16"]'),
        "error",
        DEPLOYMENT,
        "asks for vgg16",
        "serving init",
    ),
    "metric without its colon": (
        replace(ALERTS, "(:tensorflow:serving:request_latency", "(tensorflow:serving:request_latency"),
        "error",
        ALERTS,
        "no metric tensorflow:serving:request_latency_bucket",
        "mean :tensorflow:serving:request_latency_bucket",
    ),
    "metric that does not exist": (
        replace(DASHBOARD, ":tensorflow:serving:request_count", ":tensorflow:serving:requests"),
        "error",
        DASHBOARD,
        "no metric :tensorflow:serving:requests",
        "mean :tensorflow:serving:request_count",
    ),
    "histogram without its part": (
        replace(SCALING, "queuing_latency_bucket", "queuing_latency"),
        "error",
        SCALING,
        "no metric :tensorflow:serving:batching_session:queuing_latency",
        "queuing_latency_",
    ),
    "label that does not exist": (
        replace(DASHBOARD, "model_name=~", "model=~"),
        "error",
        DASHBOARD,
        "have no label model",
        "model_name",
    ),
    "YAML that is none": (
        replace("compose.yaml", "services:", "services: ["),
        "error",
        "compose.yaml",
        "cannot be parsed",
        "Fix",
    ),
    "JSON that is none": (
        replace(DASHBOARD, '"panels": [', '"panels": '),
        "error",
        DASHBOARD,
        "cannot be parsed",
        "Fix",
    ),
}


def test_rendered_files_have_no_finding(rendered: dict[str, str], models: tuple[ServedModel, ...]) -> None:
    """Neither error nor warning: a warning that init itself causes would be one to get used to."""
    assert check_files(rendered, models) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistake_is_found(
    mistake: str, files: dict[str, str], models: tuple[ServedModel, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake alone gives the finding that names it, in the right file, with what mends it."""
    monkeypatch.setattr("serving.configuration.schemas.check", lambda parsed: ())  # slow, and a subject of its own
    plant, severity, where, what, mend = MISTAKES[mistake]
    plant(files)
    findings = check_files(files, models, tensorflow=where == "tfs/session.config")
    assert findings, "nothing was found"
    assert any(
        finding.severity == severity
        and finding.where.startswith(where)
        and re.search(what, finding.what)
        and mend in finding.mend
        for finding in findings
    ), "\n".join(map(str, findings))


def test_no_finding_shows_a_traceback_or_a_line_break(files: dict[str, str], models: tuple[ServedModel, ...]) -> None:
    """A finding is a sentence for a table, also when a parser's own message has many lines."""
    replace("compose.yaml", "services:", "services: [")(files)
    add(MODELS, "model_config_list {")(files)
    for finding in check_files(files, models, tensorflow=False):
        assert "\n" not in str(finding)


class TestFolder:
    """validate reads a folder from the disk, and holds it against the models' warm-up."""

    @pytest.fixture
    def folder(self, rendered: dict[str, str], tmp_path: Path) -> Path:
        for name, text in rendered.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    def test_absent_folder(self, models: tuple[ServedModel, ...], tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="not a folder. Write a configuration"):
            validate(tmp_path / "absent", models)

    def test_warmup_that_the_batching_refuses(
        self, folder: Path, rendered: dict[str, str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A server whose max_batch_size is below a warm-up request never loads the model."""
        artifacts = tmp_path_factory.mktemp("artifacts")
        put_model(artifacts, "resnet20_cifar", side=32)
        base_path = put_model(artifacts, "squeezenet", side=227, versions=(1, 2))
        put_warmup(base_path / "2", {"serving_bytes": (1, 2, 4, 8, 16, 64)})
        findings = validate(folder, find_models(artifacts))
        assert [finding.severity for finding in findings] == ["error", "error", "warning", "warning"]
        assert findings[0].where == "squeezenet, version 2"
        assert "serving_bytes holds 64 images; tfs/batching.cpu.config allows 32" in findings[0].what
        assert "not warmed up for batches of 32" in findings[2].what

    def test_warmup_of_the_contract_fits_every_profile(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        from serving.contract import BATCH_SIZES

        artifacts = tmp_path_factory.mktemp("artifacts")
        put_model(artifacts, "resnet20_cifar", side=32)
        base_path = put_model(artifacts, "squeezenet", side=227, versions=(1, 2))
        put_warmup(base_path / "2", {"serving_bytes": BATCH_SIZES})
        assert validate(folder, find_models(artifacts)) == []

    def test_files_of_the_reader_are_left_alone(self, folder: Path, models: tuple[ServedModel, ...]) -> None:
        (folder / "proxy/certificates").mkdir()
        (folder / "proxy/certificates/tls.key").write_bytes(b"\xff\x00 not text")
        (folder / "notes.bin").write_bytes(b"\xff\xfe\x00")
        assert validate(folder, models) == []
