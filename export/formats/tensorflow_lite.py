"""All that is taken from `tf.lite`: its converter, the schema of .tflite files, and the calibrator.

TensorFlow is going to part with them. No other module names them, so that the move is one change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from export.formats.precision import Precision

_SHARED = 1 << 16  # bytes of the largest vector that is compared with others


def schema() -> Any:
    """Return the module of the classes and enumerations of a .tflite file."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def unpacked(flatbuffer: bytes | bytearray) -> Any:
    """Read a .tflite file into objects that can be changed."""
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(flatbuffer)


def packed(content: Any) -> bytes:
    """Write such objects as a .tflite file."""
    from flatbuffers import Builder

    class Sharing(Builder):
        """Writes equal vectors once: the zero points of a kernel take eight bytes a channel, and all are 0."""

        def __init__(self) -> None:
            super().__init__(1 << 20)
            self.written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            """Write a vector, or return where the same one is."""
            if x.nbytes > _SHARED:
                return int(super().CreateNumpyVector(x))
            key = x.dtype.str, x.tobytes()
            if key not in self.written:
                self.written[key] = int(super().CreateNumpyVector(x))
            return self.written[key]

    builder = Sharing()
    builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operator_code(content: Any, kind: int, version: int) -> int:
    """Return the place of a kind of operation among those that a file uses; it is added where it is missing."""
    for place, code in enumerate(content.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == kind:
            code.version = max(code.version, version)
            return place
    code = schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), version
    content.operatorCodes.append(code)
    return len(content.operatorCodes) - 1


def calibrator() -> Any:
    """Return the module in which the converter looks for the class `Calibrator`."""
    from tensorflow.lite.python.optimize import calibrator

    return calibrator


def graph_converter(graph: Any, inputs: Sequence[Any], outputs: Sequence[Any], precision: Precision) -> Any:
    """Make a converter of a frozen graph.

    The constructor of the v1 converter is the public entry that takes a frozen graph as it is: the v2 one freezes it a
    second time. Behind them is the same converter.
    """
    import tensorflow as tf

    return _prepared(tf.compat.v1.lite.TFLiteConverter(graph, inputs, outputs), precision)


def function_converter(function: Any, precision: Precision) -> Any:
    """Make a converter of a concrete function without variables."""
    import tensorflow as tf

    return _prepared(tf.lite.TFLiteConverter.from_concrete_functions([function]), precision)


def _prepared(converter: Any, precision: Precision) -> Any:
    """Tell a converter how numbers are stored and computed."""
    import tensorflow as tf

    converter.exclude_conversion_metadata = True  # a hash over all weights in Python, read by nobody
    if precision.weights in ("float16", "int8") or precision.has_ranges:  # int4 weights are made of what it writes
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision.activations == "int16":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        # LocalResponseNormalization has no int16 kernel and stays in float, which the second entry allows.
        converter.target_spec.supported_ops = [sixteen, tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision.interface == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter
