"""A loaded artifact with inputs and outputs by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.checking.runtimes import TensorSpec
from export.errors import ExportError
from kerascnn.photos import runtimes
from serving.contract import DEFAULT_SIGNATURE

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class NamedRuntime:
    """A loaded artifact.

    Attributes:
        inputs: What it declares as its inputs, by name; None for the batch, which is 1 where it is fixed.
        outputs: What it declares as its outputs.
        run: Answers a batch, or one at a time where the batch is fixed.
        threads: How many it computes with; None where the runtime takes what it wants.
        steps: The quantization steps of inputs and outputs: (scale, zero point) by name.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    run: Callable[[Arrays], Arrays]
    threads: int | None = None
    steps: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def predict(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Answer all of n samples; quantized values are floats before and after."""
        size = 1 if any(spec.shape[:1] == (1,) for spec in self.inputs) else 16
        count = len(next(iter(arrays.values())))
        parts = []
        for start in range(0, count, size):
            batch = {
                name: _quantized(values[start : start + size], self.type_of(name), self.steps.get(name))
                for name, values in arrays.items()
            }
            parts.append(self.run(batch))
        names = [spec.name for spec in self.outputs]
        return {
            name: _dequantized(np.concatenate([np.asarray(part[name]) for part in parts]), self.steps.get(name))
            for name in names
        }

    def type_of(self, name: str) -> np.dtype[Any]:
        """Return the type of an input."""
        return np.dtype(next(spec.dtype for spec in self.inputs if spec.name == name))


def _quantized(values: np.ndarray, dtype: np.dtype[Any], step: tuple[float, int] | None) -> np.ndarray:
    if step is None:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / step[0]) + step[1], limits.min, limits.max).astype(dtype)


def _dequantized(values: np.ndarray, step: tuple[float, int] | None) -> np.ndarray:
    return values if step is None else (values.astype(np.float32) - step[1]) * np.float32(step[0])


def open_tflite(path: Path, threads: int) -> NamedRuntime:
    """Load a .tflite file in LiteRT by its signature."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner(DEFAULT_SIGNATURE)
    specs: list[tuple[TensorSpec, ...]] = []
    steps = {}
    for details in (runner.get_input_details(), runner.get_output_details()):
        for name, tensor in details.items():
            scale, zero_point = tensor["quantization"]
            if scale:
                steps[name] = (float(scale), int(zero_point))
        specs.append(
            tuple(
                TensorSpec(name, tuple(int(size) for size in tensor["shape"]), np.dtype(tensor["dtype"]).name)
                for name, tensor in details.items()
            )
        )
    return NamedRuntime(specs[0], specs[1], lambda arrays: runner(**arrays), threads, steps)


def open_onnx(path: Path, threads: int) -> NamedRuntime:
    """Load an ONNX file in ONNX Runtime on the CPU."""
    from export.formats.onnx_runtime import specification

    session = runtimes.session(str(path), threads)
    inputs, outputs = (tuple(map(specification, tensors)) for tensors in (session.get_inputs(), session.get_outputs()))
    names = [spec.name for spec in outputs]
    return NamedRuntime(
        inputs, outputs, lambda arrays: dict(zip(names, session.run(names, dict(arrays)), strict=True)), threads
    )


def open_saved_model(path: Path, threads: int) -> NamedRuntime:
    """Load a SavedModel by its serving_default signature; TensorFlow takes as many threads as it wants.

    Raises:
        ExportError: It has no such signature.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    if DEFAULT_SIGNATURE not in loaded.signatures:
        raise ExportError(f"The SavedModel has no signature {DEFAULT_SIGNATURE!r}.")
    function = loaded.signatures[DEFAULT_SIGNATURE]

    def run(arrays: Arrays) -> Arrays:
        assert loaded is not None  # it owns the variables that the signature reads
        answer = function(**{name: tf.constant(values) for name, values in arrays.items()})
        return {name: values.numpy() for name, values in answer.items()}

    inputs, outputs = (
        tuple(TensorSpec(name, tuple(spec.shape), spec.dtype.name) for name, spec in specs.items())
        for specs in (function.structured_input_signature[1], function.structured_outputs)
    )
    return NamedRuntime(inputs, outputs, run)


OPEN: dict[str, Callable[[Path, int], NamedRuntime]] = {
    "saved_model": open_saved_model,
    "tflite": open_tflite,
    "onnx": open_onnx,
}
