"""Artifacts in the runtimes that their users have: LiteRT, ONNX Runtime and TensorFlow."""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
# What an export puts into a .tflite file: class names, one a line, and what else is known of it.
LABELS_FILE, ABOUT_FILE = "labels.txt", "kerascnn.json"
_MISSING = "{} run in {}, which is not installed: pip install 'kerascnn[export]'"


@dataclass(frozen=True)
class Artifact:
    """An opened artifact with one input and one output.

    Attributes:
        shape: Its input without the batch.
        output: The name of its output.
        run: From float32 [n, ...] to float32 [n, ...].
        metadata: What the file says of itself.
    """

    shape: tuple[int | None, ...]
    output: str
    run: Callable[[np.ndarray], np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_artifact(path: Path, threads: int = THREADS) -> Artifact:
    """Open a .tflite or .onnx file or the folder of a SavedModel.

    Args:
        path: The file or folder.
        threads: How many threads a file computes with; for a SavedModel, TensorFlow takes as many as it wants.

    Raises:
        ModuleNotFoundError: Its runtime is not installed.
        ValueError: It is damaged, or has not one input and one output.
    """
    opener = {".tflite": _open_tflite, ".onnx": _open_onnx}.get(path.suffix)
    try:
        return opener(path, threads) if opener is not None else _open_saved_model(path)
    except (ModuleNotFoundError, _NotOneError):
        raise
    except Exception as error:  # each runtime raises its own kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be opened: {lines[0][:300]}") from error


class _NotOneError(ValueError):
    pass


def _only(items: Any, path: Path, what: str) -> Any:
    items = list(items)
    if len(items) != 1:
        raise _NotOneError(f"{path} has {len(items)} {what}s; a classifier of photos has one.")
    return items[0]


def interpreter(threads: int = THREADS, **model: Any) -> Any:
    """Start a .tflite file (`model_path` or `model_content`) in LiteRT."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING.format(".tflite files", "LiteRT")) from error

    started = Interpreter(**model, num_threads=threads)
    started.allocate_tensors()
    return started


def session(model: str | bytes, threads: int = THREADS) -> Any:
    """Start an ONNX file in ONNX Runtime on the CPU, with `threads` threads within an operation."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING.format("ONNX files", "ONNX Runtime")) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if int8_overflows():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def int8_overflows() -> bool:
    """Say whether ONNX Runtime's default int8 kernels may overflow here: on x86 without VNNI they add in 16 bits.

    With `session.x64quantprecision` they add in 32 bits and take twice the time. A processor that cannot be asked is
    taken to be one of these.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return True
    return not any(f"{flag} " in flags for flag in ("avx512_vnni", "avx_vnni"))


def quantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Bring values to the type of a tensor of a .tflite file, by its scale and zero point."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Bring values of a tensor of a .tflite file to float32, by its scale and zero point."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    scale, zero_point = details["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _open_tflite(path: Path, threads: int) -> Artifact:
    started = interpreter(threads, model_path=str(path))
    source = _only(started.get_input_details(), path, "input")
    target = _only(started.get_output_details(), path, "output")
    names = [name for signature in started.get_signature_list().values() for name in signature["outputs"]]

    def run(images: np.ndarray) -> np.ndarray:
        answers = []
        for image in images:  # such files have batch 1
            started.set_tensor(source["index"], quantized(image[None], source))
            started.invoke()
            answers.append(dequantized(started.get_tensor(target["index"]), target))
        return np.concatenate(answers)

    shape = tuple(int(size) for size in source["shape"][1:])
    return Artifact(shape, names[0] if names else target["name"], run, _associated(path))


def _associated(path: Path) -> dict[str, str]:
    """Read the files in the archive behind a .tflite file, as the JSON texts that an ONNX file has."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        texts = {
            name: archive.read(name).decode(errors="replace")
            for name in archive.namelist()
            if name in (ABOUT_FILE, LABELS_FILE)
        }
    labels = {"labels": json.dumps(texts[LABELS_FILE].splitlines())} if LABELS_FILE in texts else {}
    return {name: json.dumps(value) for name, value in json.loads(texts.get(ABOUT_FILE, "{}")).items()} | labels


def _open_onnx(path: Path, threads: int) -> Artifact:
    started = session(str(path), threads)
    source = _only(started.get_inputs(), path, "input")
    target = _only(started.get_outputs(), path, "output")
    batch, *shape = (size if isinstance(size, int) else None for size in source.shape)
    dtype = np.dtype({"float": "float32"}.get(kind := source.type[7:-1], kind))

    def run(images: np.ndarray) -> np.ndarray:
        images = images.astype(dtype)
        parts = [images] if batch is None else [images[i : i + batch] for i in range(0, len(images), batch)]
        return np.concatenate([started.run([target.name], {source.name: part})[0] for part in parts])

    return Artifact(tuple(shape), target.name, run, started.get_modelmeta().custom_metadata_map)


def _open_saved_model(path: Path) -> Artifact:
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING.format("SavedModels", "TensorFlow")) from error

    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    source, spec = _only(signature.structured_input_signature[1].items(), path, "input")
    target = _only(signature.structured_outputs, path, "output")

    def run(images: np.ndarray) -> np.ndarray:
        # `loaded` owns the variables that the signature reads, so it has to live as long as this function.
        assert loaded is not None
        return signature(**{source: tf.constant(images, spec.dtype)})[target].numpy().astype(np.float32)

    return Artifact(tuple(spec.shape[1:]), target, run)
