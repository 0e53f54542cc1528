"""The messages of the gRPC interface that the client needs, with the numbers of TensorFlow's own .proto files.

tensorflow-serving-api has them too, and imports TensorFlow for them: 600 MB and several seconds to send a photo. The
descriptors here are in a pool of their own, so that both can be loaded. tests/serving/test_client.py holds them against
the official ones.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from serving.client.errors import ClientError

_PACKAGE = "tensorflow.serving"
# message: {field: (number, type)}; "[]" after the type where the field repeats, "map:" before that of a map's values.
_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "Dim[]"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "float[]"),
        "double_val": (6, "double[]"),
        "int_val": (7, "int32[]"),
        "string_val": (8, "bytes[]"),
        "int64_val": (10, "int64[]"),
        "bool_val": (11, "bool[]"),
        "uint32_val": (16, "uint32[]"),
        "uint64_val": (17, "uint64[]"),
    },
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map:TensorProto"),
        "output_filter": (3, "string[]"),
    },
    "PredictResponse": {"outputs": (1, "map:TensorProto"), "model_spec": (2, "ModelSpec")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {"version": (1, "int64"), "state": (2, "int32"), "status": (3, "StatusProto")},
    "GetModelStatusResponse": {"model_version_status": (1, "ModelVersionStatus[]")},
}
# DataType of types.proto: (number, field of the values where they are not in tensor_content)
_DTYPES: dict[str, tuple[int, str]] = {
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
_SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")


def message_class(name: str) -> Any:
    """The class of the messages of the type `name`."""
    return _classes()[name]


def to_proto(value: np.ndarray, target: Any) -> None:
    """Fill a TensorProto: numbers as raw bytes, which costs neither time nor size, and bytes or text as strings.

    Raises:
        ClientError: the array has a dtype that TensorFlow has no number for.
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


def from_proto(tensor: Any) -> np.ndarray:
    """The array of a TensorProto, whichever of its fields holds the values.

    Raises:
        ClientError: its dtype is not one of those that are read, or it does not hold what its shape says.
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


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serving/client.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _FIELDS.items():
        described = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            field = described.field.add(name=field_name, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("map:"):
                entry = described.nested_type.add(name=f"{field_name.title()}Entry")
                entry.options.map_entry = True
                _set_type(entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL), "string")
                _set_type(
                    entry.field.add(name="value", number=2, label=kinds.LABEL_OPTIONAL), kind.removeprefix("map:")
                )
                field.label, kind = kinds.LABEL_REPEATED, f"{name}.{entry.name}"
            elif kind.endswith("[]"):
                field.label, kind = kinds.LABEL_REPEATED, kind.removesuffix("[]")
            _set_type(field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


def _set_type(field: Any, kind: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    if kind in _SCALARS:
        field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
