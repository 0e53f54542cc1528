"""TFLite (LiteRT): phones, microcontrollers, browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, RequestError
from export.quantization import check_calibration, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from export.graph import TracedModel

PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")
RANGED = ("int8", "int8-io", "int16x8")  # whose activations get fixed ranges, from calibration images


def write_tflite(traced: TracedModel, path: Path, precision: str, calibration: np.ndarray | None = None) -> None:
    """Write a TFLite file for batch 1 with the signature `serving_default`.

    Args:
        precision: one of PRECISIONS. `dynamic` has int8 weights and float32 activations; `int8` is int8 inside with
            float32 input and output; `int8-io` has int8 input and output as well; `int16x8` is like `int8` with int16
            activations.
        calibration: float32 [n, H, W, C], preprocessed like the network's input; needed for RANGED, and used by
            `dynamic`, if given, to round the weights.

    Raises:
        RequestError: unknown precision, or calibration images missing or of another shape.
        ExportError: the network has an operation TFLite does not have.
    """
    import tensorflow as tf

    _check_request(traced, precision, calibration)
    frozen = traced.frozen
    if calibration is not None and precision in ("dynamic", *RANGED):
        # 65,536 steps are enough for the smallest channel, so int16 activations need no equalised ones.
        frozen = prepare(traced, calibration, activations=precision in ("int8", "int8-io"))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph_def, name="")
        inputs = graph.get_tensor_by_name(f"{traced.input_name}:0")
        outputs = graph.get_tensor_by_name(f"{traced.output_name}:0")
        inputs.set_shape((1, *traced.input_shape[1:]))
    # The constructor of the v1 converter is the public entry that takes a frozen graph as it is: the v2 one freezes it
    # a second time. Behind them is the same converter.
    converter = tf.compat.v1.lite.TFLiteConverter(frozen.with_kernels(), [inputs], [outputs])
    converter.exclude_conversion_metadata = True  # a hash over all weights in Python, read by nobody
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None and precision in RANGED:
        converter.representative_dataset = lambda: _one_by_one(calibration)
    if precision == "int16x8":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        # LocalResponseNormalization has no int16 kernel and stays in float, which the second entry allows.
        converter.target_spec.supported_ops = [sixteen, tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "int8-io":
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    try:
        flatbuffer = converter.convert()
    except Exception as error:
        raise ExportError(_explain(error, traced.model.name, precision)) from error
    path.write_bytes(_finished(flatbuffer, traced, float_softmax=precision == "int16x8"))


def _check_request(traced: TracedModel, precision: str, calibration: np.ndarray | None) -> None:
    if precision not in PRECISIONS:
        raise RequestError(f"TFLite precision {precision!r} is unknown; choose from {', '.join(PRECISIONS)}.")
    if precision in ("float32", "float16") or (precision == "dynamic" and calibration is None):
        return
    check_calibration(traced, calibration, f"TFLite {precision}")


def _one_by_one(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    for index in range(len(images)):
        yield [images[index : index + 1]]


def _explain(error: Exception, name: str, precision: str) -> str:
    """The converter's message is pages of MLIR; the operations it lacks are on lines of their own."""
    missing = sorted(
        set(", ".join(re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.M)).split(", ")) - {""}
    )
    if missing:
        return (
            f"Model {name!r} uses operations that TFLite does not have: {', '.join(missing)}. "
            "Replace the layers that make them, or export to another format."
        )
    return f"TensorFlow could not convert {name!r} to TFLite {precision}: {error}"


def _finished(flatbuffer: bytes, traced: TracedModel, float_softmax: bool) -> bytes:
    """Name the two ends and add a signature, which the converter does only when it reads a SavedModel."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    content: Any = flatbuffer_utils.convert_bytearray_to_object(flatbuffer)
    (graph,) = content.subgraphs
    if float_softmax:
        _dequantize_before_softmax(schema, content, graph)
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_named(schema, graph, graph.inputs[0], traced.input_name)]
    signature.outputs = [_named(schema, graph, graph.outputs[0], traced.output_name)]
    content.signatureDefs = [signature]
    return flatbuffer_utils.convert_object_to_bytearray(content)


def _dequantize_before_softmax(schema: Any, content: Any, graph: Any) -> None:
    """Let a softmax that ends the network work on dequantised logits.

    TFLite's int16 softmax takes exp(x) from a table that ends at x = -10, so that each class far below the best one
    still counts 0.00005: among 1,000 classes that takes up to 5 points from the best.
    """
    operators = schema.BuiltinOperator
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in content.operatorCodes]
    if [kinds[operator.opcodeIndex] for operator in graph.operators[-2:]] != [operators.SOFTMAX, operators.DEQUANTIZE]:
        return
    softmax, dequantize = graph.operators[-2:]
    between, end = softmax.outputs[0], dequantize.outputs[0]
    if dequantize.inputs[0] != between or graph.outputs[0] != end:
        return
    dequantize.inputs, dequantize.outputs = softmax.inputs, [between]
    softmax.inputs, softmax.outputs = [between], [end]
    graph.operators[-2:] = [dequantize, softmax]
    graph.tensors[between].type = schema.TensorType.FLOAT32
    graph.tensors[between].quantization = None


def _named(schema: Any, graph: Any, index: int, name: str) -> Any:
    graph.tensors[index].name = name
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry
