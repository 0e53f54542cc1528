"""Check a configuration folder against itself and against the exported models, before it is deployed.

Every file is read the way its reader will read it: TensorFlow Serving's files by their real messages, YAML by a YAML
parser. Then the files are compared with each other: names, paths, versions, sizes, flags, metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serving.artifacts import ServedModel
from serving.configuration import documents, schemas
from serving.configuration.monitoring import metrics
from serving.configuration.rendering import METRICS_PATH, MODEL_CONFIG, PER_MODEL
from serving.configuration.tfs import batching, flags, messages, model_config
from serving.contract.warmup import read_warmup
from serving.errors import RequestError
from serving.findings import Finding

if TYPE_CHECKING:
    from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

    from serving.protobuf import DynamicMessage

_LARGEST_FILE = 2**20
_MONITORING, _SESSION, _SSL = "tfs/monitoring.config", "tfs/session.config", "tfs/ssl.config"
_SECRETS = "proxy/certificates/"
_UNBOUNDED = 1000  # the largest batch where max_batch_size is not given
_REWRITE = "Fix it, or write it again: python -m serving init."


def validate(folder: Path, models: Sequence[ServedModel]) -> list[Finding]:
    """Find what is wrong with the configuration of `models` in `folder`, errors first.

    Raises:
        RequestError: `folder` is not a folder.
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
    findings = [*check_files(files, models), *_check_warmup(files, models)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def check_files(files: Mapping[str, str], models: Iterable[ServedModel], *, tensorflow: bool = True) -> list[Finding]:
    """Find what is wrong with {path: content} of a configuration, without reading anything else from the disk.

    With `tensorflow`, also what needs TensorFlow's own messages, whose import takes seconds.
    """
    findings: list[Finding] = []
    if MODEL_CONFIG not in files:
        findings.append(Finding("error", MODEL_CONFIG, "The file is missing.", "Write it: python -m serving init."))
    for name, text in files.items():
        if name != _SESSION or tensorflow:
            findings += _check_message(name, text, models)
    parsed = {}
    for name, text in files.items():
        try:
            parsed[name] = documents.parse(name, text)
        except ValueError as error:
            findings.append(Finding("error", name, f"It cannot be parsed: {error}.", _REWRITE))
    findings += flags.check(parsed, files, _served(files))
    findings += metrics.check(parsed)
    findings += schemas.check(parsed)
    return findings


def _check_message(name: str, text: str, models: Iterable[ServedModel]) -> Iterator[Finding]:
    """Find what is wrong with a file that TensorFlow Serving itself reads; nothing for other files."""
    try:
        if name == MODEL_CONFIG:
            yield from model_config.check(messages.parse(text, "ModelServerConfig", name), models, name)
        elif _is_batching(name):
            yield from batching.check(messages.parse(text, "BatchingParameters", name), name)
        elif name == _MONITORING:
            yield from _check_monitoring(messages.parse(text, "MonitoringConfig", name), name)
        elif name == _SESSION:
            messages.parse(text, "ConfigProto", name)
        elif name in (_SSL, f"{_SSL}.template"):
            yield from _check_ssl(messages.parse(text, "SSLConfig", name), name)
    except RequestError as error:
        # "NAME is not a MESSAGE: LINE:COLUMN : …": every finding begins with the name anyway.
        yield Finding("error", name, f"Not a {str(error).removeprefix(f'{name} is not a ')}", _REWRITE)


def _served(files: Mapping[str, str]) -> dict[str, ModelConfig]:
    """Return the entries of the model config by name; none if it cannot be read."""
    try:
        config = messages.parse(files.get(MODEL_CONFIG, ""), "ModelServerConfig", MODEL_CONFIG)
    except RequestError:
        return {}
    return {entry.name: entry for entry in config.model_config_list.config}


def _is_batching(name: str) -> bool:
    path = Path(name)
    return path.name == PER_MODEL or (path.parent == Path("tfs") and path.match("batching.*.config"))


def _check_monitoring(message: DynamicMessage, where: str) -> Iterator[Finding]:
    if not message.prometheus_config.enable:
        yield Finding("warning", where, "Metrics are off.", "Set prometheus_config { enable: true }.")
    path = message.prometheus_config.path
    if path not in ("", METRICS_PATH):
        what = f"Metrics are at {path}; Prometheus and the pods' annotations ask for {METRICS_PATH}."
        yield Finding("error", where, what, f"Give path: {METRICS_PATH!r}.")


def _check_ssl(message: DynamicMessage, where: str) -> Iterator[Finding]:
    for field in ("server_key", "server_cert", *(["custom_ca"] if message.client_verify else [])):
        value = getattr(message, field).strip()
        if not (value.startswith("-----BEGIN ") and "\n" in value and "-----END " in value):
            what = f"{field} is not PEM text; the server takes the text itself, not the path of a file."
            yield Finding("error", where, what, "Write the file with tfs/write_ssl_config.sh.")


def _check_warmup(files: Mapping[str, str], models: Sequence[ServedModel]) -> Iterator[Finding]:
    """Find warm-up requests that the batching in use refuses, and batch sizes that nothing warms up."""
    limits = {}
    for name in flags.batching_in_use(files):
        with contextlib.suppress(RequestError, KeyError):
            limits[name] = messages.parse(files[name], "BatchingParameters", name)
    entries = _served(files) if limits else {}
    for model in models:
        if model.name not in entries:
            continue
        for version in sorted(model_config.loaded_versions(entries[model.name], model) & set(model.versions)):
            sizes = _warmed_sizes(model.path(version))
            for name, limit in limits.items():
                yield from _check_sizes(sizes, limit, name, f"{model.name}, version {version}")


def _warmed_sizes(version: Path) -> dict[str, set[int]]:
    """Return {signature: sizes of its warm-up requests}; empty if it has none, or if they cannot be read."""
    sizes: dict[str, set[int]] = {}
    try:
        for request in read_warmup(version):
            sizes.setdefault(request.signature, set()).add(request.batch)
    except ValueError:
        return {}
    return sizes


def _check_sizes(sizes: Mapping[str, set[int]], limit: DynamicMessage, file: str, where: str) -> Iterator[Finding]:
    largest = limit.max_batch_size.value if limit.HasField("max_batch_size") else _UNBOUNDED
    for signature, warmed in sorted(sizes.items()):
        if max(warmed) > largest and not limit.enable_large_batch_splitting.value:
            what = (
                f"A warm-up request of {signature} holds {max(warmed)} images; {file} allows {largest}. "
                "A server ends at its start with a model whose warm-up fails."
            )
            yield Finding("error", where, what, f"Raise max_batch_size to {max(warmed)}, or export with less.")
        if cold := sorted(set(limit.allowed_batch_sizes) - warmed):
            what = f"{signature} is not warmed up for batches of {', '.join(map(str, cold))}, which {file} allows."
            mend = "The first of them will be slow. Leave them out of allowed_batch_sizes."
            yield Finding("warning", where, what, mend)
