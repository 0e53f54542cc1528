"""TFLite (LiteRT): phones, microcontrollers, browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, RequestError
from export.formats import int4
from export.quantization.calibration import check_calibration, prepare
from export.quantization.rounding import round_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from export.tracing.graph import TracedModel

PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")
RANGED = ("int8", "int8-io", "int16x8")  # whose activations get fixed ranges, from calibration images
# the same files with dense kernels
SPARSE = {"sparse-float16": "float16", "sparse-dynamic": "dynamic", "sparse-int8": "int8"}
SMALL = ("int4", *SPARSE)


def write_tflite(traced: TracedModel, path: Path, precision: str, calibration: np.ndarray | None = None) -> None:
    """Write a TFLite file for batch 1 with the signature `serving_default`.

    Args:
        precision: one of PRECISIONS or SMALL. `dynamic` has int8 weights and float32 activations; `int8` is int8
            inside with float32 input and output; `int8-io` has int8 input and output as well; `int16x8` is like `int8`
            with int16 activations; `int4` is like `dynamic` with int4 weights; `sparse-float16`, `sparse-dynamic` and
            `sparse-int8` are float16, dynamic and int8 without the zeros of the kernels.
        calibration: float32 [n, H, W, C], preprocessed like the network's input; needed for RANGED and `int4`, and
            used by `dynamic`, if given, to round the weights.

    Raises:
        RequestError: unknown precision, or calibration images missing or of another shape.
        ExportError: the network has an operation TFLite does not have, or the file would be no smaller than one of a
            simpler kind.
    """
    import tensorflow as tf

    if precision not in (*PRECISIONS, *SMALL):
        raise RequestError(
            f"TFLite precision {precision!r} is unknown; choose from {', '.join((*PRECISIONS, *SMALL))}."
        )
    sparse, precision = precision in SPARSE, SPARSE.get(precision, precision)
    if precision in (*RANGED, "int4") or (precision == "dynamic" and calibration is not None):
        check_calibration(traced, calibration, f"TFLite {precision}")
    frozen = traced.frozen
    if calibration is not None and precision == "int4":
        frozen = round_kernels(frozen, traced.input_name, calibration, int4.LEVELS)
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
    if precision not in ("float32", "int4"):
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
    finished = _finished(flatbuffer, traced, float_softmax=precision == "int16x8")
    if sparse:
        finished = _sparse(finished, precision)
    elif precision == "int4":
        finished = int4.with_int4_weights(finished, sum(kernel.size for kernel in frozen.kernels.values()))
    path.write_bytes(finished)


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
    _shorten_names(graph)
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_named(schema, graph, graph.inputs[0], traced.input_name)]
    signature.outputs = [_named(schema, graph, graph.outputs[0], traced.output_name)]
    content.signatureDefs = [signature]
    return flatbuffer_utils.convert_object_to_bytearray(content)


def _shorten_names(graph: Any) -> None:
    """Drop what makes names long: scopes around the whole network, and all that was fused into an operation.

    In a small network they are kilobytes.
    """
    names = [bytes(tensor.name) for tensor in graph.tensors]
    for _ in range(2):  # ours, and that of the model
        scopes = {name.partition(b"/")[0] for name in names if b"/" in name}
        if len(scopes) == 1:
            names = [name.removeprefix(scopes.copy().pop() + b"/") for name in names]
    taken = {name for name in names if b";" not in name}
    for tensor, name in zip(graph.tensors, names, strict=True):
        short = name.partition(b";")[0]
        choices = (short, short + b";" + name.rpartition(b"/")[2], name)
        tensor.name = name if b";" not in name else next((c for c in choices if c not in taken), name)
        taken.add(tensor.name)


def _sparse(dense: bytes, precision: str) -> bytes:
    from tensorflow.lite.tools import flatbuffer_utils

    from export.formats.sparsity import encode_sparse_kernels

    content: Any = flatbuffer_utils.convert_bytearray_to_object(dense)
    encoded = encode_sparse_kernels(content)
    sparse = flatbuffer_utils.convert_object_to_bytearray(content)
    if not encoded or len(sparse) >= len(dense):
        raise ExportError(
            f"A sparse file would be no smaller than the dense {precision} one of {len(dense):,} bytes: too few "
            "weights are zero. About a half of a kernel has to be; --compress --prune makes it so."
        )
    return sparse


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
