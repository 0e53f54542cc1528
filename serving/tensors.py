"""Tensors of the Open Inference Protocol (V2): names of types, and arrays as the bytes of its binary form."""

from __future__ import annotations

import struct
from math import prod

import numpy as np

from serving.errors import RequestError

DATATYPES = {
    "BOOL": "bool",
    **{f"{kind.upper()}{size}": f"{kind}{size}" for kind in ("int", "uint") for size in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
_NAMES = {numpy: name for name, numpy in DATATYPES.items()}
_LENGTH = struct.Struct("<I")  # before each element of BYTES


def datatype_of(array: np.ndarray) -> str:
    """Return the protocol's name for the type of an array; text and bytes are BYTES.

    Raises:
        RequestError: It has none.
    """
    name = "object" if array.dtype.kind in "SUO" else array.dtype.name
    if name not in _NAMES:
        raise RequestError(f"The protocol has no tensors of {array.dtype}, but of {', '.join(DATATYPES.values())}.")
    return _NAMES[name]


def to_bytes(array: np.ndarray) -> bytes:
    """Return the elements of an array in the binary form: row by row, little endian."""
    if datatype_of(array) != "BYTES":
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    elements = (value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1))
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def from_bytes(content: bytes, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array that the binary form holds.

    Raises:
        ValueError: The type is unknown, or the content does not fit the shape.
    """
    if datatype not in DATATYPES:
        raise ValueError(f"{datatype!r} is not a type of the protocol; there are {', '.join(DATATYPES)}")
    if min(shape, default=1) < 0:
        raise ValueError(f"the shape {list(shape)} has a negative side")
    count = prod(shape)
    if datatype != "BYTES":
        dtype = np.dtype(DATATYPES[datatype]).newbyteorder("<")
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"{len(content)} bytes are no {datatype} of the shape {list(shape)}")
        return np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    elements, start = [], 0
    while start < len(content):
        if start + _LENGTH.size > len(content):
            raise ValueError("an element of BYTES is cut off")
        (size,) = _LENGTH.unpack_from(content, start)
        start += _LENGTH.size
        if start + size > len(content):
            raise ValueError("an element of BYTES is cut off")
        elements.append(content[start : start + size])
        start += size
    if len(elements) != count:
        raise ValueError(f"{len(elements)} elements are no BYTES of the shape {list(shape)}")
    array = np.empty(count, object)
    array[:] = elements
    return array.reshape(shape)
