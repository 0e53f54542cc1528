"""What is changed in a .tflite file after TensorFlow has written it: names, signature, metadata, softmax, zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.errors import ExportError
from export.formats import tensorflow_lite
from export.formats.tflite_metadata import describe


def finish(
    flatbuffer: bytes, input_name: str, output_name: str, float_softmax: bool, metadata: Mapping[str, str]
) -> bytes:
    """Name the two ends and add a signature, which the converter does only when it reads a SavedModel, and metadata.

    Args:
        flatbuffer: The file as the converter gives it.
        input_name: What the input is called afterwards.
        output_name: What the output is called afterwards.
        float_softmax: Let a quantized softmax at the end compute in float32.
        metadata: As `tflite_metadata.describe` takes it.
    """
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(flatbuffer)
    (graph,) = content.subgraphs
    if float_softmax:
        _dequantize_before_softmax(schema, content, graph)
    _shorten_names(graph)
    _sign(schema, content, [input_name], [output_name])
    describe(content, metadata)
    finished: bytes = tensorflow_lite.packed(content)
    return finished


def with_signature(flatbuffer: bytes, inputs: list[str], outputs: list[str], metadata: Mapping[str, str]) -> bytes:
    """Name all inputs and outputs of a file, in its own order, and add a signature of these names and metadata."""
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(flatbuffer)
    _sign(schema, content, inputs, outputs)
    describe(content, metadata)
    finished: bytes = tensorflow_lite.packed(content)
    return finished


def _sign(schema: Any, content: Any, inputs: list[str], outputs: list[str]) -> None:
    graph = content.subgraphs[0]  # the others are bodies of loops
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_named(schema, graph, i, name) for i, name in zip(graph.inputs, inputs, strict=True)]
    signature.outputs = [_named(schema, graph, i, name) for i, name in zip(graph.outputs, outputs, strict=True)]
    content.signatureDefs = [signature]


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


def _dequantize_before_softmax(schema: Any, content: Any, graph: Any) -> None:
    """Let a softmax that ends the network work on dequantized logits.

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


def without_zeros(flatbuffer: bytes, precision: str) -> bytes:
    """Leave the zeros of kernels out of a file; `precision` is what it has with them.

    Raises:
        ExportError: The file would be no smaller.
    """
    from export.formats.sparsity import encode_sparse_kernels

    content: Any = tensorflow_lite.unpacked(flatbuffer)
    encoded = encode_sparse_kernels(content)
    sparse: bytes = tensorflow_lite.packed(content)
    if not encoded or len(sparse) >= len(flatbuffer):
        raise ExportError(
            f"A sparse file would be no smaller than the dense {precision} one of {len(flatbuffer):,} bytes: too few "
            "weights are zero. About half of a kernel has to be; --compress --prune makes it so."
        )
    return sparse
