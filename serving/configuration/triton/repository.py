"""The models of Triton's repository: the ONNX files of exports, and the config.pbtxt of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.artifacts import check_name, read_manifest
from serving.configuration.triton import messages
from serving.contract import BATCH_SIZES, MANIFEST_FILE
from serving.errors import RequestError

FOLDER, CONFIG, LABELS, MODEL = "repository", "config.pbtxt", "labels.txt", "1/model.onnx"
PREPROCESSING = "preprocessing"  # the parameter that tells a client how photos are prepared
DATA_TYPES = {
    **{f"{kind}{size}": f"TYPE_{kind.upper()}{size}" for kind in ("int", "uint") for size in (8, 16, 32, 64)},
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
}
_DELAY = 2_000  # microseconds for which the first request of a batch waits for others
QUEUE = 64 * BATCH_SIZES[-1]  # requests that wait before the server refuses more


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file of an export.

    Attributes:
        name: What it is served as: the folder's name, and its precision unless that is float32.
        path: The file.
        precision: As in the manifest.
        input, output: Name, shape without the batch, and dtype.
        labels: Class names in the order of the outputs; None if they are not known.
        preprocessing: The fields of `Preprocessing` that turn a photo into the input; None if they are not known.
    """

    name: str
    path: Path
    precision: str
    input: tuple[str, tuple[int, ...], str]
    output: tuple[str, tuple[int, ...], str]
    labels: tuple[str, ...] | None
    preprocessing: Mapping[str, Any] | None


def find_onnx(folder: Path) -> tuple[OnnxModel, ...]:
    """Find the ONNX files in the folder of all exports, sorted by name.

    Raises:
        RequestError: There is none, or its name cannot be served.
        ServingError: A manifest cannot be read.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. Give the one that export wrote to, such as artifacts/.")
    found = [model for child in sorted(folder.iterdir()) if child.is_dir() for model in _of_export(child)]
    if not found:
        raise RequestError(
            f"There is no ONNX file to serve in {folder}. Export one with: python -m export --model squeezenet --onnx "
            f"--output {folder}."
        )
    return tuple(sorted(found, key=lambda model: model.name))


def _of_export(folder: Path) -> Iterator[OnnxModel]:
    manifest = read_manifest(folder / MANIFEST_FILE) or {}
    labels = folder / "labels.txt"
    for artifact in manifest.get("artifacts") or []:
        path = folder / artifact["path"]
        if artifact["format"] != "onnx" or not path.is_file() or len(artifact.get("inputs") or [0]) > 1:
            continue
        precision = artifact["precision"]
        yield OnnxModel(
            name=check_name(folder.name if precision == "float32" else f"{folder.name}_{precision}"),
            path=path,
            precision=precision,
            input=_tensor(artifact["input"]),
            output=_tensor(artifact["output"]),
            labels=tuple(labels.read_text(encoding="utf-8").splitlines()) if labels.is_file() else None,
            preprocessing=_preprocessing(manifest.get("preprocessing")),
        )


def _tensor(described: Mapping[str, Any]) -> tuple[str, tuple[int, ...], str]:
    _, *sides = described["shape"]
    return described["name"], tuple(-1 if side is None else side for side in sides), described["dtype"]


def _preprocessing(known: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is left to the caller: without the normalization, where the file does that itself."""
    if not known:
        return None
    fields = {name: value for name, value in known.items() if name != "included"}
    return fields | {"channel_order": "rgb", "mean": [0.0], "std": [1.0]} if known.get("included") else fields


def files(models: tuple[OnnxModel, ...], *, gpu: bool) -> dict[str, str]:
    """Return the text files of the repository of these models, {path below the configuration: content}."""
    texts = {}
    for model in models:
        texts[f"{FOLDER}/{model.name}/{CONFIG}"] = config_text(model, gpu=gpu)
        if model.labels is not None:
            texts[f"{FOLDER}/{model.name}/{LABELS}"] = "\n".join(model.labels) + "\n"
    return texts


def config_text(model: OnnxModel, *, gpu: bool) -> str:
    """Return the config.pbtxt of a model."""
    from google.protobuf import text_format

    message = messages.new()
    message.name, message.backend, message.max_batch_size = model.name, "onnxruntime", BATCH_SIZES[-1]
    for field, (name, dims, dtype) in (("input", model.input), ("output", model.output)):
        tensor = getattr(message, field).add(name=name, data_type=DATA_TYPES[dtype], dims=dims)
        if field == "output" and model.labels is not None:
            tensor.label_filename = LABELS
    message.version_policy.latest.num_versions = 1
    # int8 gains on CPUs; on a GPU ONNX Runtime has few kernels for it.
    on_gpu = gpu and model.precision != "int8"
    message.instance_group.add(count=1, kind="KIND_GPU" if on_gpu else "KIND_CPU")
    batching = message.dynamic_batching
    batching.preferred_batch_size.extend(BATCH_SIZES[-2:])
    batching.max_queue_delay_microseconds = _DELAY if on_gpu else _DELAY // 4
    batching.default_queue_policy.max_queue_size = QUEUE
    name, dims, dtype = model.input
    for size in BATCH_SIZES:
        warmup = message.model_warmup.add(name=f"batch of {size}", batch_size=size)
        warmup.inputs[name].data_type, warmup.inputs[name].zero_data = DATA_TYPES[dtype], True
        warmup.inputs[name].dims.extend(dims)
    if model.preprocessing is not None:
        message.parameters[PREPROCESSING].string_value = json.dumps(model.preprocessing)
    comment = """# Triton reads this when it starts. The values are places to start from; none was measured on a GPU.
# instance_group: a KIND_GPU instance is made on every GPU; more instances let batches overlap.
# dynamic_batching: how long a request waits for others, and how many wait before more are refused.
# parameters: how a client prepares photos (python -m serving client reads it).
"""
    return comment + text_format.MessageToString(message)
