"""Split a wide convolution of a TFLite file, so that the places of its weights take one byte each without the zeros.

TFLite's sparse encoding counts places along one dimension of a kernel. In a layer with more than 256 inputs and outputs
each place takes two bytes. Of layers with at most 256 outputs, whose answers are then joined, it takes one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from export.formats import tensorflow_lite

WIDEST = 256
_OVERHEAD = 700  # bytes of one more layer


def split_wide_layers(content: Any, sparse_bytes: Callable[[np.ndarray], int]) -> None:
    """Split each convolution with an int8 kernel that then takes fewer bytes, in place.

    Args:
        content: the model as `tensorflow_lite.unpacked` gives it, with one subgraph.
        sparse_bytes: says how many bytes a kernel takes without its zeros.
    """
    schema = tensorflow_lite.schema()
    (graph,) = content.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in content.operatorCodes]
    readers = [int(index) for operator in graph.operators for index in operator.inputs]
    operators: list[Any] = []
    for operator in graph.operators:
        parts = [operator]
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.CONV_2D and readers.count(operator.inputs[1]) == 1:
            kernel = _int8_kernel(schema, content, operator)
            if kernel is not None and _saves(kernel, sparse_bytes):
                parts = _parts(schema, content, operator, kernel)
        operators += parts
    before, after = (_buffers_read(graph, some) for some in (graph.operators, operators))
    for buffer in before - after:
        content.buffers[buffer].data = None
    graph.operators = operators


def _buffers_read(graph: Any, operators: list[Any]) -> set[int]:
    """Return the buffers of what operations read; layers may share one, such as biases of zero."""
    return {graph.tensors[index].buffer for operator in operators for index in operator.inputs if index >= 0}


def _int8_kernel(schema: Any, content: Any, operator: Any) -> np.ndarray | None:
    """Return the kernel [outputs, height, width, inputs] of a convolution; None where it cannot be split."""
    (graph,) = content.subgraphs
    source, tensor = (graph.tensors[index] for index in operator.inputs[:2])
    data = content.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.INT8 or data is None or source.shape[-1] != tensor.shape[-1]:  # in groups
        return None
    return np.frombuffer(bytes(data), np.int8).reshape(tensor.shape)


def _saves(kernel: np.ndarray, sparse_bytes: Callable[[np.ndarray], int]) -> bool:
    if len(kernel) <= WIDEST or kernel.shape[-1] <= WIDEST:
        return False
    parts = _bounds(len(kernel))
    split = sum(sparse_bytes(kernel[start:end]) + _OVERHEAD for start, end in parts)
    return split < min(kernel.nbytes, sparse_bytes(kernel))


def _bounds(outputs: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, outputs, -(-outputs // WIDEST) + 1).astype(int)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _parts(schema: Any, content: Any, operator: Any, kernel: np.ndarray) -> list[Any]:
    """Return convolutions of some outputs each, and what joins their answers."""
    (graph,) = content.subgraphs
    joined = int(operator.outputs[0])
    parts, answers = [], []
    for start, end in _bounds(len(kernel)):
        part = copy.copy(operator)
        constants = [_slice(content, int(index), start, end) for index in operator.inputs[1:] if index >= 0]
        answer = copy.copy(graph.tensors[joined])
        answer.name = bytes(answer.name) + f"/{start}".encode()
        answer.shape = [*answer.shape[:-1], end - start]
        answer.shapeSignature = None
        graph.tensors.append(answer)
        answers.append(len(graph.tensors) - 1)
        part.inputs, part.outputs = [operator.inputs[0], *constants], answers[-1:]
        parts.append(part)
    join = schema.OperatorT()
    join.opcodeIndex = tensorflow_lite.operator_code(content, schema.BuiltinOperator.CONCATENATION, version=2)
    join.inputs, join.outputs = answers, [joined]
    join.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    join.builtinOptions = schema.ConcatenationOptionsT()
    join.builtinOptions.axis = 3
    return [*parts, join]


def _slice(content: Any, index: int, start: int, end: int) -> int:
    """Add some outputs of the constant `index` as a constant of its own, and return its index."""
    (graph,) = content.subgraphs
    whole = graph.tensors[index]
    raw = bytes(content.buffers[whole.buffer].data)
    each = len(raw) // int(whole.shape[0])
    tensor, buffer = copy.copy(whole), copy.copy(content.buffers[whole.buffer])
    buffer.data = np.frombuffer(raw[start * each : end * each], np.uint8)
    tensor.name = bytes(tensor.name) + f"/{start}".encode()
    tensor.shape, tensor.buffer = [end - start, *whole.shape[1:]], len(content.buffers)
    if whole.quantization is not None and whole.quantization.scale is not None and len(whole.quantization.scale) > 1:
        tensor.quantization = copy.copy(whole.quantization)
        tensor.quantization.scale = whole.quantization.scale[start:end]
        tensor.quantization.zeroPoint = whole.quantization.zeroPoint[start:end]
    content.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
