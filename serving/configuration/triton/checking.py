"""Check Triton's configuration: each config.pbtxt against itself and against its ONNX file, before it is deployed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from serving.configuration import documents, schemas
from serving.configuration.monitoring import metrics
from serving.configuration.triton import deployment, messages
from serving.configuration.triton.repository import CONFIG, DATA_TYPES, FOLDER
from serving.errors import RequestError
from serving.findings import Finding
from serving.onnx import session

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

_REWRITE = "Fix it, or write it again: python -m serving init --server triton."
_FILE = "model.onnx"


def is_triton(folder: Path) -> bool:
    """Return whether a folder is a configuration of Triton."""
    return (folder / FOLDER).is_dir()


def validate(folder: Path) -> list[Finding]:
    """Find what is wrong with the configuration in `folder`, ONNX files included, errors first."""
    texts = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".pbtxt", ".txt", ".yaml", ".yml"):
            texts[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8", errors="replace")
    found = check_files(texts)
    for child in sorted((folder / FOLDER).iterdir()):
        if child.is_dir():
            found += _check_model(child, texts.get(f"{FOLDER}/{child.name}/{CONFIG}"))
    return sorted(found, key=lambda finding: finding.severity != "error")


def check_files(files: Mapping[str, str]) -> list[Finding]:
    """Find what is wrong with {path: content} of a configuration, without reading anything from the disk."""
    found: list[Finding] = []
    parsed: dict[str, list[object]] = {}
    for name, text in files.items():
        try:
            if name.endswith(f"/{CONFIG}"):
                found += _check_config(messages.parse(text, name), name, files)
            parsed[name] = documents.parse(name, text)
        except RequestError as error:
            found.append(Finding("error", name, f"Not a {str(error).removeprefix(f'{name} is not a ')}", _REWRITE))
        except ValueError as error:
            found.append(Finding("error", name, f"It cannot be parsed: {error}.", _REWRITE))
    found += schemas.check({name: documents for name, documents in parsed.items() if name.startswith("compose")})
    for name, objects in parsed.items():
        if name.startswith("kubernetes/") and not name.endswith("kustomization.yaml"):
            for one in objects:
                found += schemas.check_kubernetes(name, one)
    found += deployment.check(parsed)
    found += metrics.check(parsed, metrics.TRITON_METRICS)
    return found


def _check_config(config: DynamicMessage, where: str, files: Mapping[str, str]) -> Iterator[Finding]:
    folder, _, _ = where.rpartition("/")
    name = folder.rpartition("/")[2]
    if config.name != name:
        yield Finding("error", where, f"name is {config.name!r}; it has to be that of its folder, {name!r}.", _REWRITE)
    if not (config.backend or config.platform):
        yield Finding("error", where, "It has no backend.", 'Give backend: "onnxruntime".')
    if len(config.input) != 1 or not config.output:
        yield Finding("error", where, "It has not one input, and an output.", _REWRITE)
    largest, batching = config.max_batch_size, config.dynamic_batching
    if config.HasField("dynamic_batching") and largest < 1:
        yield Finding("error", where, "dynamic_batching needs max_batch_size, which is 0.", "Give 1 or more.")
    if beyond := [size for size in batching.preferred_batch_size if not 0 < size <= largest]:
        what = f"preferred_batch_size {beyond[0]} is not among 1 to max_batch_size, {largest}."
        yield Finding("error", where, what, "Leave it out.")
    policies = [field for field in ("latest", "all", "specific") if config.version_policy.HasField(field)]
    if len(policies) > 1:
        yield Finding("error", where, f"version_policy has {' and '.join(policies)}.", "Give one of them.")
    inputs = {tensor.name: tensor for tensor in config.input}
    for warmup in config.model_warmup:
        here = f"{where}, warm-up {warmup.name!r}"
        if warmup.batch_size > largest:
            what = f"batch_size is {warmup.batch_size}; max_batch_size is {largest}. The model would not be loaded."
            yield Finding("error", here, what, "Leave it out.")
        for key, value in warmup.inputs.items():
            tensor = inputs.get(key)
            if tensor is None or list(tensor.dims) != list(value.dims) or tensor.data_type != value.data_type:
                yield Finding("error", here, f"{key} is not the input that the model has.", _REWRITE)
    for output in config.output:
        if output.label_filename:
            yield from _check_labels(files.get(f"{folder}/{output.label_filename}"), output, where)


def _check_labels(text: str | None, output: DynamicMessage, where: str) -> Iterator[Finding]:
    if text is None:
        what = f"{output.name} has the labels {output.label_filename}, and there is no such file beside it."
        yield Finding("error", where, what, _REWRITE)
    elif len(text.splitlines()) != output.dims[-1]:
        what = f"{output.label_filename} has {len(text.splitlines())} labels; {output.name} has {output.dims[-1]}."
        yield Finding("error", where, what, "One a line, in the order of the outputs.")


def _check_model(folder: Path, text: str | None) -> Iterator[Finding]:
    """Compare a model's folder with what its config.pbtxt says."""
    if text is None:
        yield Finding("error", str(folder), f"It has no {CONFIG}.", _REWRITE)
        return
    versions = [child for child in folder.iterdir() if child.is_dir() and child.name.isdecimal()]
    if not versions:
        yield Finding("error", str(folder), "It has no version: a folder such as 1 with a model.onnx.", _REWRITE)
    for version in versions:
        if not (version / _FILE).is_file():
            yield Finding("error", str(version), f"It holds no {_FILE}.", _REWRITE)
            continue
        try:
            config = messages.parse(text, CONFIG)
        except RequestError:
            return  # found already
        yield from _check_onnx(version / _FILE, config)


def _check_onnx(path: Path, config: DynamicMessage) -> Iterator[Finding]:
    if importlib.util.find_spec("onnxruntime") is None:
        yield Finding("warning", str(path), "It was not looked into.", "pip install 'kerascnn[export]'.")
        return
    try:
        opened = session(path)
    except Exception as error:  # ONNX Runtime raises many kinds
        yield Finding("error", str(path), f"It cannot be loaded: {str(error).splitlines()[0][:300]}", _REWRITE)
        return
    types = {value: key for key, value in DATA_TYPES.items()}
    for what, declared, real in (
        ("input", config.input, opened.get_inputs()),
        ("output", config.output, opened.get_outputs()),
    ):
        present = {tensor.name: tensor for tensor in real}
        for tensor in declared:
            if tensor.name not in present:
                yield Finding(
                    "error", str(path), f"It has no {what} {tensor.name!r}, but {', '.join(present)}.", _REWRITE
                )
                continue
            sides = [side if isinstance(side, int) else -1 for side in present[tensor.name].shape][1:]
            kind = present[tensor.name].type.removeprefix("tensor(").removesuffix(")")
            kind = {"float": "float32", "double": "float64"}.get(kind, kind)
            given = types.get(tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values[tensor.data_type].name)
            if sides != list(tensor.dims) or kind != given:
                message = f"Its {what} {tensor.name} is {kind} {sides}; {CONFIG} says {given} {list(tensor.dims)}."
                yield Finding("error", str(path), message, _REWRITE)
