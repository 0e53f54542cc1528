"""Count the zeros and shared values that a file has kept, in the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import RequestError
from export.formats import tensorflow_lite
from kerascnn.weights import container

KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # operation: the axis of its output channels
UNPACKING = ("DEQUANTIZE", "DENSIFY")


@dataclass(frozen=True)
class Counted:
    """One kernel of a convolution or dense layer, as a file has it.

    Attributes:
        name: of the layer's kernel, as the file gives it.
        shape: of the kernel.
        dtype: such as "int8".
        zeros: how many weights are exactly zero.
        values: how many different values the whole kernel has, zero included.
        channel_values: how many the output channel with the most has. Where normalization was folded into a kernel, or
            each channel has a step of its own, values are shared within a channel only.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    zeros: int
    values: int
    channel_values: int

    @property
    def size(self) -> int:
        """How many values the array has."""
        return int(np.prod(self.shape))


def count(path: Path) -> list[Counted]:
    """Count the kernels of a .tflite or .kdc file, in its order.

    Raises:
        RequestError: it is another kind of file, or has kernels of another kind than `export` writes.
        WeightsError: the .kdc file is damaged.
    """
    if path.suffix == container.SUFFIX:
        arrays = container.read(path)[1]
        return [_counted(name, array, -1, 0) for name, array in arrays.items() if array.ndim in (2, 4)]
    if path.suffix != ".tflite":
        raise RequestError(f"Kernels are counted in .tflite and .kdc files; {path.name} is neither.")
    return _tflite(path)


def sparsity(kernels: list[Counted]) -> float:
    """Return the share of zeros in all kernels together."""
    return sum(kernel.zeros for kernel in kernels) / max(sum(kernel.size for kernel in kernels), 1)


def _tflite(path: Path) -> list[Counted]:
    schema = tensorflow_lite.schema()
    content: Any = tensorflow_lite.unpacked(bytearray(path.read_bytes()))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in content.operatorCodes]
    types = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.FLOAT16: "<f2", schema.TensorType.INT8: "i1"}
    kernels = []
    for graph in content.subgraphs:
        # LiteRT computes these from a constant while it loads the file.
        unpacked = {op.outputs[0]: op.inputs[0] for op in graph.operators if codes[op.opcodeIndex] in UNPACKING}
        for op in graph.operators:
            kind = codes[op.opcodeIndex]
            if kind not in KERNELS:
                continue
            index = op.inputs[1]
            while index in unpacked:
                index = unpacked[index]
            tensor = graph.tensors[index]
            name = graph.tensors[op.inputs[1]].name.decode()
            data = content.buffers[tensor.buffer].data
            if data is None or tensor.type not in types:  # computed, or packed int4
                raise RequestError(f"{name} in {path.name} is no constant of float32, float16 or int8.")
            array = np.frombuffer(bytes(data), types[tensor.type])
            if tensor.sparsity is not None:
                array = _dense(array, tensor.shape, tensor.sparsity)
            zero = tensor.quantization.zeroPoint if tensor.quantization is not None else None
            zero = 0 if zero is None else int(zero[0])
            kernels.append(_counted(name, array.reshape(tensor.shape), KERNELS[kind], zero))
    return kernels


def _dense(values: np.ndarray, shape: Any, sparsity: Any) -> np.ndarray:
    """Decode a kernel from TFLite's sparse encoding along one dimension, which is traversed last."""
    *_, last = sparsity.dimMetadata
    if len(sparsity.dimMetadata) != len(shape) or last.arraySegments is None:
        raise RequestError("A kernel is in blocks of TFLite's sparse encoding, which are not counted.")
    order = list(sparsity.traversalOrder)
    lengths: np.ndarray = np.diff(np.asarray(last.arraySegments.values, np.int64))
    rows = np.zeros((len(lengths), shape[order[-1]]), values.dtype)
    rows[np.repeat(np.arange(len(rows)), lengths), last.arrayIndices.values] = values
    return rows.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _counted(name: str, array: np.ndarray, axis: int, zero: int) -> Counted:
    """Count one kernel, with its output channels along `axis`; the number `zero` stands for zero."""
    rows = np.sort(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1), axis=1)
    return Counted(
        name=name,
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        zeros=int((array == zero).sum()),
        values=len(np.unique(array)),
        channel_values=1 + int((np.diff(rows, axis=1) != 0).sum(axis=1).max()),
    )
