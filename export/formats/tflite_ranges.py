"""The ranges of activations that TensorFlow's converter quantizes by, measured with LiteRT in a third of the time.

The converter has a calibrator of its own. It runs the float32 file operation by operation on one thread, without
LiteRT's delegates, and keeps Python's lock, so that nothing else in the process goes on. Where an addition writes its
sum over one of its inputs, it takes the sum's range for that input's. Its result is the same file with the smallest and
the largest value of every activation; this module writes the same, with the inputs' own ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from export.formats import tensorflow_lite
from export.formats.tflite_runtime import set_outputs
from kerascnn.photos import runtimes


@contextmanager
def quick_calibration() -> Iterator[None]:
    """Let TensorFlow's converter measure ranges with `with_ranges`.

    The converter has no public way to be given ranges, so its calibrator is replaced while it works.
    """
    module = tensorflow_lite.calibrator()
    original = module.Calibrator

    class Calibrator(original):  # type: ignore[misc,valid-type]
        """TensorFlow's, but for the way in which it finds ranges."""

        def calibrate(self, dataset_gen: Callable[[], Iterable[list[np.ndarray]]]) -> bytes:
            """Return the file that it was made for with the ranges of its activations."""
            return with_ranges(self._model_content, dataset_gen()) or super().calibrate(dataset_gen)

    module.Calibrator = Calibrator
    try:
        yield
    finally:
        module.Calibrator = original


def with_ranges(flatbuffer: bytes, samples: Iterable[list[np.ndarray]]) -> bytes | None:
    """Return a float32 file with the ranges of its inputs and activations on some samples.

    Args:
        flatbuffer: A file of one graph.
        samples: Values of the inputs, in the order of the file.

    Returns:
        The file, or None where it has more graphs (bodies of loops) or a value is not finite.
    """
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(flatbuffer)
    if len(content.subgraphs) > 1:
        return None
    graph, floats = content.subgraphs[0], schema.TensorType.FLOAT32
    outputs = {int(index) for operator in graph.operators for index in operator.outputs}
    activations = sorted(index for index in outputs if graph.tensors[index].type == floats)
    ranges = _measured(flatbuffer, [int(index) for index in graph.inputs], activations, samples)
    if not all(np.isfinite(bounds).all() for bounds in ranges.values()):
        return None
    for index, (low, high) in ranges.items():
        tensor = graph.tensors[index]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [low], [high]
    result: bytes = tensorflow_lite.packed(content)
    return result


def _measured(
    flatbuffer: bytes, inputs: list[int], activations: list[int], samples: Iterable[list[np.ndarray]]
) -> dict[int, tuple[float, float]]:
    """Return the smallest and the largest value of each float32 input and of each activation."""
    content = bytearray(flatbuffer)
    set_outputs(content, activations)  # of what a delegate computes, only outputs can be read
    interpreter = runtimes.interpreter(model_content=bytes(content))
    views = {index: interpreter.tensor(index) for index in activations}
    ranges: dict[int, tuple[float, float]] = {}
    for sample in samples:
        values = dict(zip(inputs, sample, strict=True))
        for index, value in values.items():
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        values = {index: value for index, value in values.items() if value.dtype == np.float32}
        for index in (*values, *activations):
            # A view must not live on into the next call of `invoke`.
            lowest, highest = _bounds(values[index] if index in values else views[index]())
            low, high = ranges.get(index, (np.inf, -np.inf))
            ranges[index] = min(low, lowest), max(high, highest)
    return ranges


def _bounds(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
