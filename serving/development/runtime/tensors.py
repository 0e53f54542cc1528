"""`TensorProto`s as arrays and back, as the real server fills them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from serving.development.limits import MAX_TENSOR_BYTES
from serving.development.statuses import invalid

if TYPE_CHECKING:
    from tensorflow.core.framework.tensor_pb2 import TensorProto

# The field of a TensorProto for each type; those left out have their bytes in tensor_content.
_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    **dict.fromkeys(("float16", "bfloat16"), "half_val"),
}


def to_proto(array: np.ndarray) -> TensorProto:
    """Return an array as a `TensorProto` whose numbers are in the field of their type, each of them.

    TensorFlow's own `make_tensor_proto` writes bytes (`tensor_content`), which clients that read `float_val` pass over.
    """
    import tensorflow as tf
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    field = _FIELDS.get(array.dtype.name)
    if field is None:
        return tf.make_tensor_proto(array)
    values = array.view(np.uint16) if field == "half_val" else array
    proto = TensorProto(dtype=tf.dtypes.as_dtype(array.dtype).as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(values.ravel().tolist())
    return proto


def to_array(name: str, tensor: TensorProto) -> np.ndarray:
    """Return the array that a `TensorProto` holds; refuse one that is small on the wire and huge in memory."""
    import tensorflow as tf

    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    try:
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        if min(shape, default=0) < 0 or tensor.tensor_shape.unknown_rank:
            raise ValueError("its shape is not known")
        # One value may stand for all of them, so a few bytes can ask for any amount of memory.
        if prod(shape) * max(dtype.size or 8, 1) > MAX_TENSOR_BYTES:
            raise ValueError(f"it has the shape {shape}, more than {MAX_TENSOR_BYTES // 2**20} MiB")
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise invalid(f"Tensor {name} cannot be read: {str(error)[:200]}") from error
