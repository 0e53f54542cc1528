"""The gRPC messages that the client needs, and arrays in them.

tensorflow-serving-api has them too, but imports TensorFlow: 600 MB and several seconds to send a photo. The
tests compare messages.proto with the official messages.
"""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.client.errors import ClientError
from serving.protobuf import message_classes

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

# DataType of types.proto: (number, field of the values that are not in tensor_content)
_DTYPES = {
    "float32": (1, "float_val"),
    "float64": (2, "double_val"),
    "int32": (3, "int_val"),
    "uint8": (4, "int_val"),
    "int16": (5, "int_val"),
    "int8": (6, "int_val"),
    "object": (7, "string_val"),
    "int64": (9, "int64_val"),
    "bool": (10, "bool_val"),
    "uint16": (17, "int_val"),
    "uint32": (22, "uint32_val"),
    "uint64": (23, "uint64_val"),
}
_BY_NUMBER = {number: (np.dtype(name), field) for name, (number, field) in _DTYPES.items()}
_classes = cache(lambda: message_classes(Path(__file__).with_suffix(".proto")))


def message_class(name: str) -> type[DynamicMessage]:
    """Return the class of the messages of the type `name`."""
    return _classes()[name]


def to_proto(value: np.ndarray, target: DynamicMessage) -> None:
    """Fill a TensorProto: numbers as raw bytes, which costs neither time nor size; bytes and text as strings.

    Raises:
        ClientError: TensorFlow has no number for the dtype.
    """
    if value.dtype.kind in "SU":
        value = value.astype(object)
    if value.dtype.name not in _DTYPES:
        raise ClientError(
            f"An input cannot be {value.dtype}; it can be {', '.join(_DTYPES).replace('object', 'bytes')}."
        )
    target.dtype = _DTYPES[value.dtype.name][0]
    for size in value.shape:
        target.tensor_shape.dim.add(size=size)
    if value.dtype.kind == "O":
        target.string_val.extend(v.encode() if isinstance(v, str) else v for v in value.reshape(-1))
    else:
        target.tensor_content = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()


def from_proto(tensor: DynamicMessage) -> np.ndarray:
    """Return the array of a TensorProto, whichever of its fields holds the values.

    Raises:
        ClientError: The client does not read its dtype, or its values do not fit its shape.
    """
    if tensor.dtype not in _BY_NUMBER:
        raise ClientError(f"The server answered with a tensor of the data type {tensor.dtype}, which is not read here.")
    dtype, field = _BY_NUMBER[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    try:
        if tensor.tensor_content and dtype.kind != "O":
            return np.frombuffer(tensor.tensor_content, dtype.newbyteorder("<")).reshape(shape).copy()
        values = np.array(list(getattr(tensor, field)), dtype)
        missing = prod(shape) - values.size
        if values.size and missing > 0:  # the last value stands for all that follow
            values = np.append(values, np.full(missing, values[-1], dtype))
        return values.reshape(shape)
    except ValueError as error:
        raise ClientError(f"The server answered with a tensor that contradicts itself: {error}") from error
