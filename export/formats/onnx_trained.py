"""Int8 for ONNX with the ranges that a network was trained with.

The converted graph has a pair of QuantizeLinear and DequantizeLinear wherever the network rounds an activation. The
pairs are taken out, and the model is quantized with their ranges. Tensors without a pair get the range of a neighbor:
the inputs of a rectifier or a concatenation that of its output, the outputs of pooling, padding and reshaping that of
their input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.formats.onnx_int8 import Range, from_softmax, prepared, with_steps
from export.formats.onnx_runtime import float_tensors

if TYPE_CHECKING:
    import onnx

_RESHAPING = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_KEEPING = (*_RESHAPING, "MaxPool", "AveragePool", "Pad", "Slice")
_READING_THE_SAME = (*_RESHAPING, "Relu", "Clip", "Concat")


def is_trained(model: onnx.ModelProto) -> bool:
    """Tell whether a model has ranges in it."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize a float32 model by the ranges in it; the softmax and what follows it stay in float32."""
    ranges = _taken_out(model.graph)
    ready = prepared(model)
    _spread(ready.graph, ranges)
    unknown = set(float_tensors(ready.graph)) - ranges.keys()
    excluded = from_softmax(ready.graph)
    excluded += [node.name for node in ready.graph.node if unknown & {*node.input, *node.output}]
    return with_steps(ready, ranges, activation="QUInt8", nodes_to_exclude=excluded)


def _taken_out(graph: onnx.GraphProto) -> dict[str, Range]:
    """Take the pairs out of a graph; return the ends of each tensor that one of them rounded."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    rounded: dict[str, str] = {}
    ranges: dict[str, Range] = {}
    kept = []
    for node in graph.node:
        source = rounded.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "QuantizeLinear":
            step, zero = (float(numpy_helper.to_array(constants[name])) for name in node.input[1:])
            ranges[source] = -zero * step, (255 - zero) * step
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            rounded[node.output[0]] = source
            continue
        for place, name in enumerate(node.input):
            node.input[place] = rounded.get(name, name)
        kept.append(node)
    _rename(kept, {rounded[value.name]: value.name for value in graph.output if value.name in rounded}, ranges)
    used = {name for node in kept for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(left)
    return ranges


def _rename(nodes: list[onnx.NodeProto], names: dict[str, str], ranges: dict[str, Range]) -> None:
    """Give tensors that a pair made the output the output's name."""
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    ranges.update({new: ranges[old] for old, new in names.items()})


def _spread(graph: onnx.GraphProto, ranges: dict[str, Range]) -> None:
    """Give tensors without a range that of a neighbor."""
    for node in graph.node:  # in the order of computation
        if node.op_type in _KEEPING and node.input[0] in ranges:
            ranges.setdefault(node.output[0], ranges[node.input[0]])
    for node in reversed(graph.node):
        if node.op_type in _READING_THE_SAME and node.output[0] in ranges:
            for name in node.input if node.op_type == "Concat" else node.input[:1]:
                ranges.setdefault(name, ranges[node.output[0]])
