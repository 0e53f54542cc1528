"""Store the kernels of a TFLite file in the fewest bits that hold them exactly, each kernel for itself.

What a kernel loses, it has lost before (`export/quantization`): a kernel whose weights lie on 15 steps a channel is
stored in four bits, one on 255 steps in eight, one of float16 numbers in sixteen; zeros are left out where that takes
fewer bytes. So one writer serves every mixture of precisions. Layers with kernels of four or eight bits get float32
inputs, which they quantize while running, with a range for each image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.errors import ExportError
from export.formats import tensorflow_lite
from export.formats.sparsity import encode_sparse_kernels, sparse_bytes, widened
from export.quantization.steps import INT4, INT8, nibbles, numbers_of, steps_of

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def with_small_kernels(flatbuffer: bytes) -> bytes:
    """Return a float32 TFLite model of one graph with each kernel in the fewest bytes that hold it."""
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(flatbuffer)
    kinds = {getattr(schema.BuiltinOperator, name): name for name in _LAYERS}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in content.operatorCodes]
    for index, kind in _kernels(content, [kinds.get(code) for code in codes]).items():
        _store(schema, content, index, kind)
    encode_sparse_kernels(content)
    small: bytes = tensorflow_lite.packed(content)
    return small


def with_four_bits(flatbuffer: bytes) -> bytes:
    """Return an int8 TFLite model of one graph in which kernels that were trained for four bits are stored in four.

    The converter writes such a kernel with 15 of int8's 255 values. Its step and that of its bias grow accordingly.

    Raises:
        ExportError: There is no such kernel.
    """
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(flatbuffer)
    (graph,) = content.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in content.operatorCodes]
    kinds = [getattr(schema.BuiltinOperator, name) for name in _LAYERS if name != "DEPTHWISE_CONV_2D"]
    layers = [operator.inputs for operator in graph.operators if codes[operator.opcodeIndex] in kinds]
    stored = {index for index in {int(inputs[1]) for inputs in layers} if _in_four(schema, content, index)}
    if not stored:
        raise ExportError(
            "The network's weights were trained for eight bits. Train it with quantize_aware(model, bits=4), or export "
            "it to int8."
        )
    biases = {int(inputs[2]): inputs[:2] for inputs in layers if int(inputs[1]) in stored and len(inputs) > 2}
    for index, inputs in biases.items():
        if index >= 0:
            _rescale(content, index, *(graph.tensors[place].quantization.scale for place in inputs))
    small: bytes = tensorflow_lite.packed(content)
    return small


def _in_four(schema: Any, content: Any, index: int) -> bool:
    """Store a kernel in four bits, if it lies on 15 steps; tell whether it does."""
    kernel = content.subgraphs[0].tensors[index]
    if kernel.type != schema.TensorType.INT8:
        return False
    buffer = content.buffers[kernel.buffer]
    numbers = np.frombuffer(bytes(buffer.data), np.int8).astype(np.float32)
    fours = np.round(numbers * INT4 / INT8)
    if (np.round(fours * INT8 / INT4) != numbers).any():
        return False
    buffer.data = np.frombuffer(nibbles(fours.astype(np.int8)), np.uint8)
    kernel.type = schema.TensorType.INT4
    kernel.quantization.scale = np.asarray(kernel.quantization.scale, np.float32) * np.float32(INT8 / INT4)
    return True


def _rescale(content: Any, index: int, source: Any, kernel: Any) -> None:
    """Convert a bias to the steps of its layer: the input's times the kernel's."""
    bias = content.subgraphs[0].tensors[index]
    buffer, before = content.buffers[bias.buffer], np.asarray(bias.quantization.scale, np.float64)
    steps = np.asarray(kernel, np.float32) * np.float32(source[0])
    numbers = np.round(np.frombuffer(bytes(buffer.data), np.int32) * before / steps)
    buffer.data = np.frombuffer(numbers.astype(np.int32).tobytes(), np.uint8)
    bias.quantization.scale = steps


def _kernels(content: Any, kinds: list[str | None]) -> dict[int, str]:
    """Return the constants of float32 that only layers of one kind read, as their kernels, with that kind."""
    (graph,) = content.subgraphs
    readers: dict[int, set[tuple[str | None, int]]] = {}
    for operator in graph.operators:
        for place, index in enumerate(operator.inputs):
            readers.setdefault(int(index), set()).add((kinds[operator.opcodeIndex], place))
    floats = tensorflow_lite.schema().TensorType.FLOAT32
    kernels = {}
    for index, uses in readers.items():
        (kind, place), *others = uses
        if others or kind is None or place != 1 or graph.tensors[index].type != floats:
            continue
        if content.buffers[graph.tensors[index].buffer].data is not None:
            kernels[index] = kind
    return kernels


def _store(schema: Any, content: Any, index: int, kind: str) -> None:
    tensor = content.subgraphs[0].tensors[index]
    buffer = content.buffers[tensor.buffer]
    kernel = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape)
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    steps = None if kind == "DEPTHWISE_CONV_2D" else steps_of(kernel, axis, INT4)  # LiteRT has no such ones
    in_four = steps is not None
    if steps is None:
        steps = steps_of(kernel, axis, INT8)
    if steps is None:
        halves = kernel.astype(np.float16)
        if np.array_equal(halves, kernel):
            widened(content, index, halves)
        return
    numbers = numbers_of(kernel, axis, steps)
    if in_four and kind != "FULLY_CONNECTED":
        in_four = sparse_bytes(numbers) > numbers.size / 2  # else it is smaller in eight bits without its zeros
    tensor.type = schema.TensorType.INT4 if in_four else schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = steps, np.zeros(len(steps), np.int64)
    tensor.quantization.quantizedDimension = axis
    buffer.data = np.frombuffer(nibbles(numbers) if in_four else numbers.tobytes(), np.uint8)


def cost(kernel: np.ndarray, levels: int) -> float:
    """Return about how many bytes a kernel takes with a number of levels: INT4, INT8, or more in float16."""
    if levels == INT4:
        return kernel.size / 2
    each = 1 if levels == INT8 else 2
    sparse = (each + 1) * np.count_nonzero(kernel) + kernel.size / 64
    return float(each * kernel.size if kernel.ndim == 2 else min(each * kernel.size, sparse))
