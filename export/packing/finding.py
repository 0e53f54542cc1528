"""Find in a .tflite file what can be coded as weights, and how: the list of values that costs the fewest bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.formats import tensorflow_lite
from export.packing.matching import Found, as_original, as_table, originals_like
from export.packing.records import FEWEST, Kernel, Kind, Product, Size, Sparse

_PART = 1 << 22  # weights of one record, which a decoder needs memory for
_SIZES = {"FLOAT32": Size.WORD, "FLOAT16": Size.HALF, "INT8": Size.BYTE, "INT4": Size.NIBBLE}
_UNSIGNED = {Size.WORD: "<u4", Size.HALF: "<u2", Size.BYTE: "u1"}
_VECTORS = ("Uint8Vector", "Uint16Vector", "Int32Vector")
_FEWEST_SCALES = 4  # of a product that is worth a line of the script


@dataclass(frozen=True)
class _Tensor:
    """A kernel as it lies in the file; `values` are unsigned whole numbers."""

    size: Size
    offset: int
    values: np.ndarray
    sparse: Sparse | None = None

    @property
    def kernel(self) -> Kernel:
        """What a record says of it before there is a list of values."""
        rows, height, width, columns = self.values.shape
        shape, last = (rows, height, width, columns), rows == 1 and columns > 1  # a depthwise kernel
        return Kernel(Kind.TABLE, self.size, shape, self.offset, 0, np.zeros(1, np.uint8), last, sparse=self.sparse)


def find(data: bytes, originals: Sequence[np.ndarray]) -> tuple[list[Found], list[Product]]:
    """Find the kernels of a file, and the scales that are products of others.

    Args:
        data: The file.
        originals: The kernels of the network that it was made from, as Keras has them.
    """
    schema = tensorflow_lite.schema()
    model = schema.Model.GetRootAs(data, 0)
    whole = np.frombuffer(data, np.uint8)
    sizes = {getattr(schema.TensorType, name): size for name, size in _SIZES.items()}
    found: list[Found] = []
    linked: list[Product] = []
    seen: set[int] = set()
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
            buffer, size = model.Buffers(tensor.Buffer()), sizes.get(tensor.Type())
            if size is None or tensor.Buffer() in seen or not buffer.DataLength() or tensor.ShapeLength() not in (2, 4):
                continue
            seen.add(tensor.Buffer())
            read = _read(schema, whole, tensor, (buffer.DataAsNumpy(), size))
            if read is not None:
                found += _coded(read, originals)
        linked += _products(whole, graph)
    return found, linked


def _read(schema: Any, whole: np.ndarray, tensor: Any, stored: tuple[np.ndarray, Size]) -> _Tensor | None:
    """Read a tensor; None where it is too small, or not what its shape says."""
    data, size = stored
    shape = [int(side) for side in tensor.ShapeAsNumpy()]
    shape = shape if len(shape) == 4 else [shape[0], 1, 1, shape[1]]
    weights, offset = int(np.prod(shape)), _offset(whole, data)
    if weights < FEWEST or shape[1] * shape[2] > 0xFFFF:
        return None
    if size == Size.NIBBLE:
        nibbles = np.stack([data & 15, data >> 4], axis=1).ravel()
        whole_kernel = tensor.Sparsity() is None and len(nibbles) - weights in (0, 1) and not nibbles[weights:].any()
        return _Tensor(size, offset, nibbles[:weights].reshape(shape)) if whole_kernel else None
    values = data.view(_UNSIGNED[size])
    if tensor.Sparsity() is not None:
        return _with_zeros(schema, whole, (tensor.Sparsity(), shape), _Tensor(size, offset, values))
    return _Tensor(size, offset, values.reshape(shape)) if len(values) == weights else None


def _with_zeros(schema: Any, whole: np.ndarray, layout: tuple[Any, list[int]], kept: _Tensor) -> _Tensor | None:
    """Put the zeros back; None where they were left out in another way than `export.formats.sparsity` does."""
    sparsity, shape = layout
    order = [int(axis) for axis in sparsity.TraversalOrderAsNumpy()]
    if sorted(order) == [0, 1]:  # of a dense layer, which has no height and no width
        order = [0, 1, 2, 3] if order[-1] else [1, 2, 3, 0]
    along = order[-1]
    level = sparsity.DimMetadata(sparsity.DimMetadataLength() - 1)
    kinds = {getattr(schema.SparseIndexVector, name): getattr(schema, name) for name in _VECTORS}
    vectors = []
    for kind, union in (
        (level.ArraySegmentsType(), level.ArraySegments()),
        (level.ArrayIndicesType(), level.ArrayIndices()),
    ):
        if kind not in kinds or union is None:
            return None
        vector = kinds[kind]()
        vector.Init(union.Bytes, union.Pos)
        vectors.append(vector.ValuesAsNumpy())
    segments, indices = vectors
    rows = np.zeros((int(np.prod(shape)) // shape[along], shape[along]), kept.values.dtype)
    if order != [*(axis for axis in range(4) if axis != along), along] or len(segments) != len(rows) + 1:
        return None
    counts = np.diff(segments.astype(np.int64))
    if len(indices) != len(kept.values) or counts.sum() != len(indices) or (counts < 0).any():
        return None
    rows[np.repeat(np.arange(len(rows)), counts), indices] = kept.values
    values = rows.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
    places = [(_offset(whole, vector), vector.itemsize) for vector in (segments, indices)]
    return replace(kept, values=np.ascontiguousarray(values), sparse=Sparse(along, places[0], places[1]))


def _coded(tensor: _Tensor, originals: Sequence[np.ndarray]) -> list[Found]:
    """Choose the list of values; none where no list saves anything. A large kernel becomes several."""
    kernel, values = tensor.kernel, tensor.values
    ways = [as_table(kernel, values)]
    if tensor.size != Size.NIBBLE:
        ways += [as_original(kernel, values, like) for like in originals_like(values.shape, originals)]
    choices = [way for way in ways if way is not None]
    return list(_parts(min(choices, key=lambda found: found.cost))) if choices else []


def _parts(found: Found) -> Iterator[Found]:
    """Cut a kernel that lies in one piece into some of at most _PART weights."""
    kernel = found.kernel
    rows, height, width, columns = kernel.shape
    row = height * width * columns
    if kernel.sparse or kernel.size == Size.NIBBLE or kernel.weights <= _PART or rows == 1:
        yield found
        return
    count = min(-(-kernel.weights // _PART), rows)
    bounds = [rows * i // count for i in range(count + 1)]
    for start, stop in itertools.pairwise(bounds):
        part = slice(start, stop)
        yield Found(
            replace(
                kernel,
                shape=(stop - start, height, width, columns),
                offset=kernel.offset + start * row * found.values.itemsize,
                gains=kernel.gains if kernel.last else kernel.gains[part],
            ),
            found.places[part],
            found.values[part],
        )


def _products(whole: np.ndarray, graph: Any) -> Iterator[Product]:
    """The scales of biases, which are those of the kernel times that of the layer's input."""
    done: set[int] = set()
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        if operator.InputsLength() != 3 or min(operator.Inputs(i) for i in range(3)) < 0:
            continue
        tensors = [graph.Tensors(operator.Inputs(i)).Quantization() for i in range(3)]
        if any(tensor is None or not tensor.ScaleLength() for tensor in tensors):
            continue
        inputs, kernel, bias = (tensor.ScaleAsNumpy() for tensor in tensors)
        if len(inputs) != 1 or len(bias) != len(kernel) or len(bias) < _FEWEST_SCALES:
            continue
        offset, factor = _offset(whole, bias), np.float32(inputs[0])
        if offset in done or not np.array_equal(_times(kernel, factor), bias):
            continue
        done.add(offset)
        yield Product(offset, _offset(whole, kernel), len(bias), factor)


def _times(numbers: np.ndarray, factor: np.float32) -> np.ndarray:
    return (numbers.astype(np.float64) * np.float64(factor)).astype(np.float32)


def _offset(whole: np.ndarray, part: np.ndarray) -> int:
    """Where a vector of the file begins in it."""
    return int(part.__array_interface__["data"][0] - whole.__array_interface__["data"][0])
