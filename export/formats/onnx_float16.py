"""Half precision for ONNX: weights and arithmetic, with float32 inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.formats.onnx_int8 import keep_transformers_importable

if TYPE_CHECKING:
    import onnx


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model that computes in half precision, but for the softmax and what ONNX Runtime keeps out."""
    keep_transformers_importable()
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    # Sums over a thousand classes, and over the channels of a local response normalization, need float32.
    blocked = {*DEFAULT_OP_BLOCK_LIST, "Softmax", "LRN"}
    model = convert_float_to_float16(model, keep_io_types=True, op_block_list=sorted(blocked))
    _drop_round_trips(model.graph, blocked)
    OnnxModel(model).topological_sort()  # the conversion appends its casts
    return model


def _drop_round_trips(graph: onnx.GraphProto, blocked: set[str]) -> None:
    """Drop the casts to half precision and back behind operations that compute in float32: they only round.

    The conversion puts them behind a softmax that is the output, and between two such operations. Where channels are
    moved to their place in between, as in a map of scores, that is then done in float32.
    """
    import onnx

    def is_cast(node: onnx.NodeProto | None, kind: int) -> bool:
        return node is not None and node.op_type == "Cast" and node.attribute[0].i == kind

    for back in [node for node in graph.node if is_cast(node, onnx.TensorProto.FLOAT)]:
        producers = {name: node for node in graph.node for name in node.output}
        there = producers.get(back.input[0])
        move = there if there is not None and there.op_type == "Transpose" else None
        if move is not None:
            if sum(move.output[0] in node.input for node in graph.node) > 1:
                continue
            there = producers.get(move.input[0])
        if there is None or not is_cast(there, onnx.TensorProto.FLOAT16):
            continue
        before, old, new = producers.get(there.input[0]), there.input[0], back.output[0]
        if before is None or before.op_type not in blocked or old in [value.name for value in graph.output]:
            continue
        graph.node.remove(back)
        if move is not None:
            move.input[0], move.output[0] = old, new
        else:
            before.output[list(before.output).index(old)] = new
            for node in graph.node:
                node.input[:] = [new if name == old else name for name in node.input]
        if not any(there.output[0] in node.input for node in graph.node):
            graph.node.remove(there)
