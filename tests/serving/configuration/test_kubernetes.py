"""The Kubernetes files, built by kustomize and held against the schemas of Kubernetes and KEDA."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.artifacts import find_models
from serving.configuration import rendering, schemas
from tests.serving.exported import put_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of init --gpu on the disk."""
    artifacts, folder = tmp_path_factory.mktemp("artifacts"), tmp_path_factory.mktemp("deploy")
    put_model(artifacts, "squeezenet", side=227)
    put_model(artifacts, "resnet20_cifar", side=32)
    for name, text in rendering.render(find_models(artifacts), gpus=1, models_folder="").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def build(folder: Path, path: str) -> dict[str, dict[str, Any]]:
    """What kustomize makes of a folder: {kind: object}."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build", folder / path]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", folder / path]
    else:
        pytest.skip("needs kustomize or kubectl")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects: dict[str, dict[str, Any]] = {}
    for document in yaml.safe_load_all(done.stdout):
        kind = document["kind"]
        objects[f"{kind} {document['metadata']['name']}" if kind in objects or kind == "ConfigMap" else kind] = document
    return objects


@pytest.fixture(scope="module")
def base(folder: Path) -> dict[str, dict[str, Any]]:
    """The objects for CPUs."""
    return build(folder, "kubernetes/base")


@pytest.fixture(scope="module")
def gpu(folder: Path) -> dict[str, dict[str, Any]]:
    """The objects for GPUs."""
    return build(folder, "kubernetes/overlays/gpu")


def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The one container of the deployment."""
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


class TestSchemas:
    """Every object against its schema, whether built by kustomize or as it lies there."""

    def test_built_objects(self, base: dict[str, dict[str, Any]], gpu: dict[str, dict[str, Any]]) -> None:
        pytest.importorskip("kubernetes_validate")
        assert len(base) == len(gpu) == 8
        for objects in (base, gpu):
            for kind, document in objects.items():
                assert not list(schemas.check_kubernetes(kind, document)), kind

    @pytest.mark.parametrize(
        ("old", "new", "field"),
        [("failureThreshold", "failureTreshold", "failureTreshold"), ("maxSurge: 1", "maxSurge: [1]", "maxSurge")],
    )
    def test_planted_mistake(self, folder: Path, old: str, new: str, field: str) -> None:
        pytest.importorskip("kubernetes_validate")
        text = (folder / "kubernetes/base/deployment.yaml").read_text()
        assert old in text
        (finding,) = schemas.check_kubernetes("deployment.yaml", yaml.safe_load(text.replace(old, new)))
        assert field in finding.what

    @pytest.mark.parametrize(("old", "new"), [("maxReplicas", "maxReplica"), ("requests:", "request:")])
    def test_planted_mistake_in_kserve(self, folder: Path, old: str, new: str) -> None:
        """Checked as the pod that the service describes, beside the fields that are KServe's own."""
        pytest.importorskip("kubernetes_validate")
        name = "kubernetes/kserve/inference-services.yaml"
        text = (folder / name).read_text()
        assert not list(schemas.check({name: list(yaml.safe_load_all(text))}))
        (finding,) = schemas.check({name: list(yaml.safe_load_all(text.replace(old, new, 1)))})
        assert new.strip(":") in finding.what

    def test_autoscaling(self, base: dict[str, dict[str, Any]]) -> None:
        """The model of KEDA's own definition refuses fields that it does not have, and so must this test."""
        keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason="cloudcoil-models-keda has KEDA's schema")
        scaled = base["ScaledObject"]
        model = keda.ScaledObject.model_validate(scaled)
        assert _same(model.model_dump(by_alias=True, exclude_none=True, mode="json"), scaled)
        scaled["spec"]["maxReplicas"] = 3
        with pytest.raises((ValueError, AssertionError)):
            wrong = keda.ScaledObject.model_validate(scaled)
            assert _same(wrong.model_dump(by_alias=True, exclude_none=True, mode="json"), scaled)
        del scaled["spec"]["maxReplicas"]


def _same(dumped: Any, given: Any) -> bool:
    """Whether nothing of `given` got lost in `dumped`, which may hold defaults beside it."""
    if isinstance(given, dict):
        return all(key in dumped and _same(dumped[key], value) for key, value in given.items())
    if isinstance(given, list):
        return len(dumped) == len(given) and all(map(_same, dumped, given))
    return dumped == given


class TestObjects:
    """What an operator relies on."""

    def test_gpu_overlay_asks_for_a_gpu_and_its_image(
        self, base: dict[str, dict[str, Any]], gpu: dict[str, dict[str, Any]]
    ) -> None:
        assert container(gpu)["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert container(gpu)["image"] == "tensorflow/serving:2.20.0-gpu"
        assert container(base)["image"] == "tensorflow/serving:2.20.0"
        assert "nvidia.com/gpu" not in container(base)["resources"]["limits"]
        assert "--batching_parameters_file=/config/batching.latency.config" in container(gpu)["args"]
        # What the overlay does not speak of stays: probes, mounts, memory.
        assert {key for key in container(base) if key not in container(gpu)} == set()

    def test_files_of_the_arguments_are_mounted(self, gpu: dict[str, dict[str, Any]]) -> None:
        """Every /config/FILE that the server and its probes name is in a ConfigMap that is mounted there."""
        volumes = gpu["Deployment"]["spec"]["template"]["spec"]["volumes"]
        sources = next(v for v in volumes if v["name"] == "config")["projected"]["sources"]
        mounted = {file for source in sources for file in gpu[f"ConfigMap {source['configMap']['name']}"]["data"]}
        words = [*container(gpu)["args"], *container(gpu)["readinessProbe"]["exec"]["command"]]
        named = {word.partition("/config/")[2] for word in words if "/config/" in word}
        assert named
        assert named <= mounted
        assert {"name": "config", "mountPath": "/config", "readOnly": True} in container(gpu)["volumeMounts"]

    def test_a_promotion_restarts_nothing_and_new_settings_restart_all(self, folder: Path, tmp_path: Path) -> None:
        """The model config keeps its name, since the server reads it again; the settings' name has their checksum."""
        before = set(build(folder, "kubernetes/base"))
        copy = tmp_path / "deploy"
        shutil.copytree(folder, copy)
        for name in ("models.config", "batching.cpu.config"):
            (copy / "tfs" / name).write_text((copy / "tfs" / name).read_text() + "# changed\n")
        after = set(build(copy, "kubernetes/base"))
        assert "ConfigMap tensorflow-serving-models" in before & after
        assert len(before - after) == 1
        assert next(iter(before - after)).startswith("ConfigMap tensorflow-serving-settings-")

    def test_selectors_find_the_pods(self, base: dict[str, dict[str, Any]]) -> None:
        labels = base["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for selector in (
            base["Deployment"]["spec"]["selector"]["matchLabels"],
            base["Service"]["spec"]["selector"],
            base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
            base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        ):
            assert selector.items() <= labels.items()
        assert base["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == base["Deployment"]["metadata"]["name"]
        names = {port["name"] for port in container(base)["ports"]}
        assert {port["targetPort"] for port in base["Service"]["spec"]["ports"]} <= names

    def test_updates_and_drains_interrupt_nobody(self, base: dict[str, dict[str, Any]]) -> None:
        update = base["Deployment"]["spec"]["strategy"]["rollingUpdate"]
        assert (update["maxSurge"], update["maxUnavailable"]) == (1, 0)
        assert base["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
        assert base["ScaledObject"]["spec"]["minReplicaCount"] > 1
        # The autoscaler's number must not be set back by applying the deployment again.
        assert "replicas" not in base["Deployment"]["spec"]
        stop = container(base)["lifecycle"]["preStop"]["exec"]["command"]
        assert int(stop[1]) < base["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    def test_probes(self, base: dict[str, dict[str, Any]]) -> None:
        """Ready means an available version; alive means a listening port, however busy; loading has ten minutes."""
        pod = container(base)
        assert pod["readinessProbe"]["exec"]["command"][:2] == ["bash", "/config/healthcheck.sh"]
        assert pod["livenessProbe"]["tcpSocket"] == {"port": "rest"}
        assert pod["startupProbe"]["periodSeconds"] * pod["startupProbe"]["failureThreshold"] == 600

    def test_autoscaling_queries_name_known_metrics(self, base: dict[str, dict[str, Any]]) -> None:
        from serving.configuration.monitoring import metrics

        triggers = base["ScaledObject"]["spec"]["triggers"]
        assert [metrics.names_in(trigger["metadata"]["query"]) <= metrics.known_names() for trigger in triggers] == [
            True,
            True,
        ]
        assert [bool(metrics.names_in(trigger["metadata"]["query"])) for trigger in triggers] == [True, True]

    def test_kserve_serves_each_model(self, folder: Path) -> None:
        """One service a model, under a name that DNS allows, from the folder that holds the version folders."""
        text = (folder / "kubernetes/kserve/inference-services.yaml").read_text()
        services = list(yaml.safe_load_all(text))
        assert [service["metadata"]["name"] for service in services] == ["resnet20-cifar", "squeezenet"]
        model = services[1]["spec"]["predictor"]["model"]
        assert model["storageUri"] == "pvc://tensorflow-serving-models/squeezenet/saved_model"
        assert model["runtimeVersion"] == "2.20.0-gpu"
        assert model["resources"]["limits"]["nvidia.com/gpu"] == "1"

    def test_kserve_has_the_same_settings(self, folder: Path, gpu: dict[str, dict[str, Any]]) -> None:
        """The flags that do not choose ports and models, and the files that they name, from the built ConfigMap."""
        built = build(folder, "kubernetes/kserve")
        predictor = built["InferenceService"]["spec"]["predictor"]
        (volume,) = predictor["volumes"]
        settings = built[f"ConfigMap {volume['configMap']['name']}"]["data"]
        assert volume["configMap"]["name"].startswith("tensorflow-serving-settings-")
        named = {word.partition("/config/")[2] for word in predictor["model"]["args"] if "/config/" in word}
        assert {"batching.latency.config", "monitoring.config", "session.config"} == named <= set(settings)
        missing = set(container(gpu)["args"]) - set(predictor["model"]["args"])
        assert {flag.partition("=")[0] for flag in missing} == {
            "--port",
            "--rest_api_port",
            "--model_config_file",
            "--model_config_file_poll_wait_seconds",
            "--allow_version_labels_for_unavailable_models",
            "--enable_grpc_healthcheck_service",
        }

    def test_a_monitor_finds_the_pods_and_their_port(self, folder: Path, base: dict[str, dict[str, Any]]) -> None:
        monitor = yaml.safe_load((folder / "kubernetes/monitoring/pod-monitor.yaml").read_text())["spec"]
        template = base["Deployment"]["spec"]["template"]["metadata"]
        assert monitor["selector"]["matchLabels"].items() <= template["labels"].items()
        (endpoint,) = monitor["podMetricsEndpoints"]
        assert endpoint["path"] == template["annotations"]["prometheus.io/path"]
        assert endpoint["port"] in {port["name"] for port in container(base)["ports"]}

    def test_a_signal_ends_the_server(self, base: dict[str, dict[str, Any]]) -> None:
        """It is the container's own process, not a script's child, and not the first of its namespace."""
        assert container(base)["command"] == ["tensorflow_model_server"]
        assert base["Deployment"]["spec"]["template"]["spec"]["shareProcessNamespace"] is True
        assert {"--port=8500", "--rest_api_port=8501"} <= set(container(base)["args"])

    def test_photos_have_processors_and_small_models_little_memory(
        self, base: dict[str, dict[str, Any]], gpu: dict[str, dict[str, Any]], tmp_path: Path
    ) -> None:
        assert int(container(gpu)["resources"]["requests"]["cpu"]) > int(
            container(base)["resources"]["requests"]["cpu"]
        )
        put_model(tmp_path, "small", side=96)
        files = rendering.render(find_models(tmp_path), gpus=0, models_folder="")
        (pod,) = yaml.safe_load(files["kubernetes/base/deployment.yaml"])["spec"]["template"]["spec"]["containers"]
        assert pod["resources"]["requests"]["memory"] == "1Gi"
        assert pod["resources"]["limits"]["memory"] == "2Gi"

    def test_kserve_names_stay_apart(self, tmp_path: Path) -> None:
        """Kubernetes takes neither capitals nor underscores: names that differ only in those need others."""
        for name in ("net_1", "net-1", "Net.1"):
            put_model(tmp_path, name)
        files = rendering.render(find_models(tmp_path), gpus=0, models_folder="")
        services = list(yaml.safe_load_all(files["kubernetes/kserve/inference-services.yaml"]))
        names = [service["metadata"]["name"] for service in services]
        assert len(set(names)) == 3
        assert all(re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) for name in names)
