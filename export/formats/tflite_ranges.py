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

from export.formats.tflite_runtime import set_outputs
from kerascnn.photos import runtimes

THREADS = 2


@contextmanager
def quick_calibration() -> Iterator[None]:
    """Let TensorFlow's converter measure ranges with `with_ranges`.

    It has no public way to be given ranges, so its calibrator is replaced; where TensorFlow has moved it, the
    converter's own goes on doing the work.
    """
    from tensorflow.lite.python.optimize import calibrator

    original = calibrator.Calibrator

    class Calibrator(original):  # type: ignore[misc,valid-type]
        """TensorFlow's, but for the way in which it finds ranges."""

        def calibrate(self, dataset_gen: Callable[[], Iterable[list[np.ndarray]]]) -> bytes:
            """Return the file that it was made for with the ranges of its activations."""
            return with_ranges(self._model_content, dataset_gen()) or super().calibrate(dataset_gen)

    calibrator.Calibrator = Calibrator
    try:
        yield
    finally:
        calibrator.Calibrator = original


def with_ranges(flatbuffer: bytes, samples: Iterable[list[np.ndarray]]) -> bytes | None:
    """Return a float32 file with the ranges of its input and its activations on some samples.

    Args:
        flatbuffer: A file with one input.
        samples: Values of the input, [value] for each sample.

    Returns:
        The file, or None where this does not hold or a value is not finite.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    content: Any = flatbuffer_utils.convert_bytearray_to_object(flatbuffer)
    graph = content.subgraphs[0]
    if len(content.subgraphs) > 1 or len(graph.inputs) > 1:
        return None
    floats = schema.TensorType.FLOAT32
    written = {int(index) for operator in graph.operators for index in operator.outputs}
    seen = sorted(index for index in written if graph.tensors[index].type == floats)
    ranges = _measured(flatbuffer, int(graph.inputs[0]), seen, samples)
    if not all(np.isfinite(bounds).all() for bounds in ranges.values()):
        return None
    for index, (low, high) in ranges.items():
        tensor = graph.tensors[index]
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min, tensor.quantization.max = [low], [high]
    result: bytes = flatbuffer_utils.convert_object_to_bytearray(content)
    return result


def _measured(
    flatbuffer: bytes, source: int, seen: list[int], samples: Iterable[list[np.ndarray]]
) -> dict[int, tuple[float, float]]:
    """Return the smallest and the largest value of the input and of the tensors `seen`."""
    content = bytearray(flatbuffer)
    set_outputs(content, seen)  # of the delegates' results, only outputs can be read
    interpreter = runtimes.interpreter(THREADS, model_content=bytes(content))
    lows, highs = dict.fromkeys([source, *seen], np.inf), dict.fromkeys([source, *seen], -np.inf)
    for (sample,) in samples:
        interpreter.set_tensor(source, sample)
        interpreter.invoke()
        for index in lows:
            values = sample if index == source else interpreter.get_tensor(index)
            lows[index] = min(lows[index], float(values.min()))
            highs[index] = max(highs[index], float(values.max()))
    return {index: (lows[index], highs[index]) for index in lows}
