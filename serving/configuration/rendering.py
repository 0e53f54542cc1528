"""The files of a configuration, as text: {path relative to the folder: content}."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from serving.artifacts import ServedModel
from serving.configuration.monitoring import dashboard
from serving.configuration.tfs import batching, messages, model_config
from serving.configuration.tfs.flags import common_flags, server_flags

if TYPE_CHECKING:
    from jinja2 import Environment
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

TFS_VERSION = "2.20.0"  # the newest release of the image; see serving/README.md about exports of TensorFlow 2.21
METRICS_PATH = "/monitoring/prometheus/metrics"
MODEL_CONFIG = "tfs/models.config"
PER_MODEL = "batching_params.pbtxt"  # the name that --enable_per_model_batching_parameters looks for
# Written once, then the reader's own: they hold secrets, and what differs from machine to machine.
OWN_FILES = (".env", "proxy/api-keys.conf")

_HIDDEN = {"environment": ".env", "gitignore": ".gitignore"}
_GPU_ONLY = ("compose.gpu.yaml", "tfs/session.config", "kubernetes/overlays/gpu/")
_GIB = 2**30
_SERVER = 2**29  # bytes that TensorFlow Serving takes before it has a model
_SIDE = 224  # of images whose size is not known
_DECODING = 8 * 3 * 50_000_000  # bytes of the largest photos that the graphs of exports decode at a time
_DEPTH = 10  # of the lists and objects that the proxy lets through: twice as deep as a batch of images


@dataclass(frozen=True)
class _Model:
    """What the templates say of a model."""

    name: str
    folder: str  # its base path below the folder of all models
    version: int  # the newest
    service: str  # its name in Kubernetes


def render(
    models: Sequence[ServedModel], *, gpus: int, models_folder: str, existing: ModelServerConfig | None = None
) -> dict[str, str]:
    """Render every file of the configuration of these models.

    Args:
        models: The models to serve.
        gpus: How many NVIDIA GPUs there are; with one or more, the files for them are rendered too.
        models_folder: The folder of the exported models, as compose sees it; empty if the reader has to set it.
        existing: The present model config. Its versions and labels are kept; see `model_config.build`.
    """
    gpu = gpus > 0
    files = {MODEL_CONFIG: model_config.to_text(model_config.build(models, existing))}
    files |= {f"tfs/batching.{profile.name}.config": batching.to_text(profile) for profile in batching.PROFILES}
    for model in models:
        if profile := batching.for_model(_longer_side(model)):
            files[f"tfs/per_model/{model.name}/{PER_MODEL}"] = batching.to_text(profile, per_model=True)
    files["tfs/monitoring.config"] = _monitoring()
    files["grafana/dashboards/tensorflow-serving.json"] = dashboard.build(gpu=gpu)
    settings = ["healthcheck.sh", "monitoring.config"]
    settings += [f"batching.{profile.name}.config" for profile in batching.PROFILES]
    values = {
        "models": _describe(models),
        "gpu": gpu,
        "gpus": gpus,
        "models_folder": models_folder,
        "tfs_version": TFS_VERSION,
        "metrics_path": METRICS_PATH,
        "settings": settings + (["session.config"] if gpu else []),
        "password": secrets.token_urlsafe(16),
        "api_key": secrets.token_urlsafe(32),
        "at_work": 16 if gpu else 4,
        "depth": _DEPTH,
        "shallow": _shallow_json(_DEPTH),
        **_sizes(models),
    }
    environment = templates("serving.configuration")
    for template in environment.list_templates(extensions=["jinja"]):
        path = template.removesuffix(".jinja")
        if gpu or not path.startswith(_GPU_ONLY):
            flags = _flags(compose=path.startswith("compose"))
            files[_HIDDEN.get(path, path)] = environment.get_template(template).render(values | flags)
    return files


def _flags(*, compose: bool) -> dict[str, list[str]]:
    """Return the server's flags; only compose knows variables."""
    values = {"CPU_BATCHING": "cpu", "GPU_BATCHING": "latency", "GPU_MEMORY_FRACTION": "0.8"}
    cpu, gpu, fraction = (f"${{{name}:-{value}}}" if compose else value for name, value in values.items())
    return {
        "cpu_flags": server_flags(cpu, gpu=False),
        "gpu_flags": server_flags(gpu, gpu=True, memory_fraction=fraction),
        "common_cpu_flags": common_flags(cpu, gpu=False),
        "common_gpu_flags": common_flags(gpu, gpu=True, memory_fraction=fraction),
    }


def _describe(models: Sequence[ServedModel]) -> list[_Model]:
    described: dict[str, _Model] = {}
    for model in models:
        folder = model_config.container_path(model).removeprefix(f"{model_config.MODELS}/")
        # Kubernetes accepts neither capitals nor dots nor underscores, so two names may become one.
        stem = service = re.sub(r"[^a-z0-9]+", "-", model.name.lower()).strip("-")[:50]
        while service in described:
            service = f"{stem}-{len(described)}"
        described[service] = _Model(model.name, folder, model.versions[-1], service)
    return list(described.values())


def _sizes(models: Sequence[ServedModel]) -> dict[str, str]:
    """Return the memory of a pod and the storage of all models, in Kubernetes' units."""
    weights = sum(_bytes(model) for model in models)
    # The widest point of a network for images is as wide as 64 channels of its input, once in and once out.
    pixels = max((_longer_side(model) or _SIDE) ** 2 for model in models)
    at_work = max(profile.threads * profile.largest for profile in batching.PROFILES if profile.name == "cpu")
    activations = at_work * pixels * 2 * 64 * 4
    # Twice the weights: during a change of versions both are loaded.
    request = _SERVER + 2 * weights * 6 // 5 + activations
    return {
        "memory_request": _gibibytes(request),
        "memory_limit": _gibibytes(request + _DECODING),
        "storage": _gibibytes(4 * weights),
    }


def _gibibytes(count: int) -> str:
    return f"{max(1, -(-count // _GIB))}Gi"


def _shallow_json(depth: int) -> str:
    """Return a regular expression for JSON whose lists and objects are at most `depth` deep.

    It never tries a second way (possessive quantifiers), and has no quotation marks, which nginx would want escaped.
    """
    atom = r"[^\[\]{}\x22]++|\x22(?:[^\x22\x5c]++|\x5c.)*+\x22"
    nested = ""
    for _ in range(depth):
        inner = f"{atom}|{nested}" if nested else atom
        nested = rf"[\[{{](?:{inner})*+[\]}}]"
    return rf"(?s)^\s*{nested}"


def _longer_side(model: ServedModel) -> int:
    """Return the pixels of the longer side of the model's images; 0 if its manifest does not say."""
    try:
        _, height, width, _ = (model.manifest or {})["signature"]["input"]["shape"]
        return max(int(height), int(width))
    except (KeyError, TypeError, ValueError):
        return 0


def _bytes(model: ServedModel) -> int:
    newest = model.path(model.versions[-1])
    return sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())


def _monitoring() -> str:
    message = messages.new("MonitoringConfig")
    message.prometheus_config.enable = True
    message.prometheus_config.path = METRICS_PATH
    return messages.to_text(message, "Metrics for Prometheus, on the REST port.")


@cache
def templates(package: str) -> Environment:
    """Return the templates of a package. Rendering one fails where a value is missing."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
