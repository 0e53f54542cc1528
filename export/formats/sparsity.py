"""TFLite's sparse encoding: of a kernel only the weights that are not zero, and where each of them is.

A kernel is held as rows along one of its dimensions: `segments` says where each row begins among the values, `indices`
at which place of the row each value stands, in one byte where 256 places are enough. LiteRT unpacks it once, while it
loads (a DENSIFY operation whose output XNNPACK takes for a constant). XNNPACK has no layer of float inputs and int8
weights that have to be unpacked; there they are made float32 as well (DEQUANTIZE), also while it loads.

The converter has a flag for the same (`EXPERIMENTAL_SPARSITY`). It encodes every kernel with 30 % zeros, also where
that takes more bytes than the dense one, and always along the inputs. Here each kernel is encoded along the dimension
that takes the fewest bytes, and only where those are fewer than before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.formats import tensorflow_lite
from export.formats.splitting import split_wide_layers

_OVERHEAD = 400  # bytes of one more tensor and operation
# A FULLY_CONNECTED is not among them: XNNPACK refuses to load one of int8 with a kernel that has to be unpacked.
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def encode_sparse_kernels(content: Any) -> int:
    """Encode the kernels of a TFLite model that become smaller by it, in place.

    Args:
        content: the model as `tensorflow_lite.unpacked` gives it, with one subgraph. Kernels are
            constants in float16, or in int8 without a zero point.

    Returns:
        How many kernels were encoded.
    """
    schema = tensorflow_lite.schema()
    (graph,) = content.subgraphs
    split_wide_layers(content, sparse_bytes)
    types = {schema.TensorType.FLOAT16: np.float16, schema.TensorType.INT8: np.int8}
    added: list[Any] = []
    encoded = 0
    for index in _kernels(schema, content):
        tensor = graph.tensors[index]
        data = content.buffers[tensor.buffer].data
        if tensor.type not in types or data is None:
            continue
        kernel = np.frombuffer(bytes(data), types[tensor.type]).reshape(tensor.shape)
        values, sparsity, size = _encoded(schema, kernel)
        if not len(values) or size + _OVERHEAD >= kernel.nbytes:
            continue
        encoded += 1
        added.append(_unpacking(schema, content, index, values, sparsity))
        if tensor.type == schema.TensorType.INT8 and _read_with_floats(schema, graph, index):
            added.append(_to_float(schema, content, index))
    graph.operators = added + list(graph.operators)
    return encoded


def sparse_bytes(kernel: np.ndarray) -> int:
    """Return how many bytes a kernel takes without its zeros."""
    return _encoded(tensorflow_lite.schema(), kernel)[2] + _OVERHEAD


def widened(content: Any, index: int, halves: np.ndarray) -> None:
    """Store the float32 kernel `index` as `halves`, its values in float16, which LiteRT widens while it loads."""
    schema = tensorflow_lite.schema()
    (graph,) = content.subgraphs
    tensor = graph.tensors[index]
    tensor.type = schema.TensorType.FLOAT16
    content.buffers[tensor.buffer].data = np.frombuffer(halves.tobytes(), np.uint8)
    graph.operators = [_to_float(schema, content, index), *graph.operators]


def _kernels(schema: Any, content: Any) -> list[int]:
    """The constants of two or more dimensions that only layers, or conversions to float32 before them, read."""
    (graph,) = content.subgraphs
    wanted = {getattr(schema.BuiltinOperator, name) for name in (*_LAYERS, "DEQUANTIZE")}
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in content.operatorCodes]
    readers: dict[int, set[tuple[int, int]]] = {}
    for operator in graph.operators:
        for place, tensor in enumerate(operator.inputs):
            readers.setdefault(int(tensor), set()).add((kinds[operator.opcodeIndex], place))
    dequantize = schema.BuiltinOperator.DEQUANTIZE
    return [
        index
        for index, uses in readers.items()
        if index >= 0
        and len(graph.tensors[index].shape) >= 2
        and graph.tensors[index].sparsity is None
        and all(kind in wanted and place == (0 if kind == dequantize else 1) for kind, place in uses)
    ]


def _encoded(schema: Any, kernel: np.ndarray) -> tuple[np.ndarray, Any, int]:
    """The values, where they are, and how many bytes both take, along the dimension that takes the fewest."""
    best: tuple[np.ndarray, Any, int] | None = None
    for along in range(kernel.ndim):
        order = [*(axis for axis in range(kernel.ndim) if axis != along), along]
        rows = kernel.transpose(order).reshape(-1, kernel.shape[along])
        kept = rows != 0
        segments = _vector(schema, np.concatenate([[0], np.cumsum(kept.sum(axis=1))]))
        indices = _vector(schema, np.nonzero(kept)[1])
        values = rows[kept]
        size = sum(part.values.nbytes for _, part in (segments, indices)) + values.nbytes
        if best is None or size < best[2]:
            best = values, _parameters(schema, kernel.shape, order, segments, indices), size
    assert best is not None
    return best


def _parameters(schema: Any, shape: tuple[int, ...], order: list[int], segments: Any, indices: Any) -> Any:
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap, sparsity.dimMetadata = order, [], []
    for axis in order[:-1]:
        level = schema.DimensionMetadataT()
        level.format, level.denseSize = schema.DimensionType.DENSE, shape[axis]
        sparsity.dimMetadata.append(level)
    level = schema.DimensionMetadataT()
    level.format = schema.DimensionType.SPARSE_CSR
    level.arraySegmentsType, level.arraySegments = segments
    level.arrayIndicesType, level.arrayIndices = indices
    sparsity.dimMetadata.append(level)
    return sparsity


def _vector(schema: Any, numbers: np.ndarray) -> tuple[int, Any]:
    """Whole numbers in the smallest of the three types that the format has for them."""
    largest = int(numbers.max(initial=0))
    types: dict[str, Any] = {"Uint8Vector": np.uint8, "Uint16Vector": np.uint16, "Int32Vector": np.int32}
    kind = next(kind for kind, dtype in types.items() if largest <= np.iinfo(dtype).max)
    vector = getattr(schema, f"{kind}T")()
    vector.values = numbers.astype(types[kind])
    return getattr(schema.SparseIndexVector, kind), vector


def _unpacking(schema: Any, content: Any, index: int, values: np.ndarray, sparsity: Any) -> Any:
    """Make tensor `index` the output of an operation that unpacks `values`."""
    (graph,) = content.subgraphs
    dense = graph.tensors[index]
    packed = schema.TensorT()
    packed.name, packed.shape, packed.type = bytes(dense.name) + b"/sparse", dense.shape, dense.type
    packed.quantization, packed.sparsity = dense.quantization, sparsity
    packed.buffer = len(content.buffers)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    content.buffers.append(buffer)
    graph.tensors.append(packed)
    if sum(tensor.buffer == dense.buffer for tensor in graph.tensors) == 1:
        content.buffers[dense.buffer].data = None
    dense.buffer = 0  # the empty one: the tensor is computed now
    return _operator(schema, content, "Densify", len(graph.tensors) - 1, index, version=1)


def _read_with_floats(schema: Any, graph: Any, index: int) -> bool:
    """Whether the layers that read kernel `index` get float32 inputs, which they quantize while running."""
    return any(
        len(operator.inputs) > 1
        and operator.inputs[1] == index
        and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
        for operator in graph.operators
    )


def _to_float(schema: Any, content: Any, index: int) -> Any:
    """Have the layers that read the int8 tensor `index` read it in float32."""
    (graph,) = content.subgraphs
    tensor = schema.TensorT()
    tensor.name, tensor.shape = bytes(graph.tensors[index].name) + b"/float", graph.tensors[index].shape
    tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
    graph.tensors.append(tensor)
    for operator in graph.operators:
        operator.inputs = [len(graph.tensors) - 1 if place == index else place for place in operator.inputs]
    return _operator(schema, content, "Dequantize", index, len(graph.tensors) - 1, version=5)


def _operator(schema: Any, content: Any, name: str, source: int, target: int, version: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = tensorflow_lite.operator_code(
        content, getattr(schema.BuiltinOperator, name.upper()), version
    )
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
    operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
    return operator
