"""Check a configuration folder against itself and against the models that were exported, before it is deployed.

Every file is read the way its reader will: messages of TensorFlow Serving by their real fields, YAML by a YAML parser.
Then the files are compared with each other: names, paths, versions, sizes, flags, metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.artifacts import ServedModel
from serving.configuration import batching, flags, messages, metrics, model_config, schemas, warmup
from serving.configuration.rendering import METRICS_PATH, MODEL_CONFIG, PER_MODEL
from serving.errors import RequestError
from serving.findings import Finding

_LARGEST_FILE = 2**20
_SESSION = "tfs/session.config"
_SECRETS = "proxy/certificates/"


def validate(folder: Path, models: Sequence[ServedModel]) -> list[Finding]:
    """What is wrong with the configuration in `folder`, worst first.

    models: those that the configuration is for; see `serving.artifacts.find_models`.

    Raises:
        RequestError: `folder` is no folder.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. Write a configuration with: python -m serving init.")
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(_SECRETS) or not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            continue
        try:
            files[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # a file of the reader's own
    findings = [*check_files(files, models), *_warmup_findings(files, models)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def check_files(files: Mapping[str, str], models: Iterable[ServedModel], *, tensorflow: bool = True) -> list[Finding]:
    """What is wrong with the files {path in the folder: content}; reads nothing else from the disk.

    tensorflow: whether to check what needs TensorFlow's own messages too; importing it takes seconds.
    """
    findings: list[Finding] = []
    served: set[str] = set()
    if MODEL_CONFIG not in files:
        findings.append(Finding("error", MODEL_CONFIG, "The file is missing.", "Write it: python -m serving init."))
    for name, text in files.items():
        if name == _SESSION and not tensorflow:
            continue
        found, message = _parse_message(name, text)
        findings += found
        if message is None:
            continue
        if name == MODEL_CONFIG:
            findings += model_config.check(message, models, name)
            served = {config.name for config in message.model_config_list.config}
        elif _is_batching(name):
            findings += batching.check(message, name)
        elif name == "tfs/monitoring.config":
            findings += _check_monitoring(message, name)
        elif name.startswith("tfs/ssl.config"):
            findings += _check_ssl(message, name)
    documents = {}
    for name, text in files.items():
        found, documents[name] = _parse_documents(name, text)
        findings += found
    findings += flags.check(documents, files, served)
    findings += metrics.check(documents)
    findings += schemas.check(documents)
    return findings


def _parse_message(name: str, text: str) -> tuple[list[Finding], Any | None]:
    kinds = {
        MODEL_CONFIG: messages.model_server_config,
        "tfs/monitoring.config": messages.monitoring_config,
        _SESSION: messages.session_config,
        "tfs/ssl.config": messages.ssl_config,
        "tfs/ssl.config.template": messages.ssl_config,
    }
    kind = messages.batching_parameters if _is_batching(name) else kinds.get(name)
    if kind is None:
        return [], None
    try:
        return [], messages.parse(text, kind(), name)
    except RequestError as error:
        # "NAME is not a MESSAGE: LINE:COLUMN : …": the name already stands in front of every finding.
        what = str(error).removeprefix(f"{name} is not a ")
        return [Finding("error", name, f"Not a {what}", "Mend it, or write it again: python -m serving init.")], None


def _is_batching(name: str) -> bool:
    path = Path(name)
    return path.name == PER_MODEL or (path.parent == Path("tfs") and path.match("batching.*.config"))


def _parse_documents(name: str, text: str) -> tuple[list[Finding], list[Any]]:
    """The documents of a YAML or JSON file; none for other files."""
    import yaml

    if not name.endswith((".yaml", ".yml", ".json")):
        return [], []
    try:
        if name.endswith(".json"):
            return [], [json.loads(text)]
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [], [document for document in yaml.load_all(text, loader) if document is not None]
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        return [Finding("error", name, f"It cannot be parsed: {reason}.", "Mend it, or write it again.")], []


def _check_monitoring(message: Any, where: str) -> Iterator[Finding]:
    if not message.prometheus_config.enable:
        yield Finding("warning", where, "Metrics are off.", "Set prometheus_config { enable: true }.")
    path = message.prometheus_config.path
    if path not in ("", METRICS_PATH):
        what = f"Metrics are at {path}; Prometheus and the pods' annotations ask for {METRICS_PATH}."
        yield Finding("error", where, what, f"Give path: {METRICS_PATH!r}.")


def _check_ssl(message: Any, where: str) -> Iterator[Finding]:
    for field in ("server_key", "server_cert", *(["custom_ca"] if message.client_verify else [])):
        value = getattr(message, field).strip()
        if not (value.startswith("-----BEGIN ") and "\n" in value and "-----END " in value):
            what = f"{field} is not PEM text; the server takes the text itself, not the path of a file."
            yield Finding("error", where, what, "Write the file with tfs/write_ssl_config.sh.")


def _warmup_findings(files: Mapping[str, str], models: Sequence[ServedModel]) -> Iterator[Finding]:
    """Warm-up requests that the batching in use refuses, and batch sizes that nothing warms up."""
    limits = {}
    for name in flags.batching_in_use(files):
        found, message = _parse_message(name, files.get(name, ""))
        if not found and message is not None and name in files:
            limits[name] = message
    found, config = _parse_message(MODEL_CONFIG, files.get(MODEL_CONFIG, ""))
    if not limits or found or config is None:
        return
    served = {entry.name: entry for entry in config.model_config_list.config}
    for model in models:
        if model.name not in served:
            continue
        for version in sorted(model_config.loaded_versions(served[model.name], model) & set(model.versions)):
            sizes = warmup.batch_sizes(model.path(version))
            for name, message in limits.items():
                yield from warmup.check(sizes, message, f"{model.name}, version {version}", name)
