"""Requests that a server answers to itself before it says that a model is ready, so that no user waits for the first.

The format is TensorFlow Serving's: a TFRecord file of PredictionLog messages, at most 1,000.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract import BATCH_SIZES, EXTRA, WARMUP_FILE

if TYPE_CHECKING:
    import tensorflow as tf

_SIDE = 256  # of the photo in requests that take any size


def write_warmup(signatures: dict[str, Any], folder: Path) -> None:
    """Write a request for each signature and each of BATCH_SIZES into the version folder `folder`.

    Args:
        signatures: Concrete functions of tensors by name.
        folder: The version folder.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = folder / EXTRA / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in signatures.items():
            inputs = dict(function.structured_input_signature[1].items() or _positional(function))
            for size in BATCH_SIZES:
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.signature_name = name
                for key, spec in inputs.items():
                    request.inputs[key].CopyFrom(_filled(spec, size))
                writer.write(log.SerializeToString())


def _positional(function: Any) -> list[tuple[str, Any]]:
    return [(spec.name, spec) for spec in function.structured_input_signature[0]]


def _filled(spec: tf.TensorSpec, batch: int) -> Any:
    """A batch for `spec` in a few bytes: a tensor message with one value stands for as many as its shape has."""
    import tensorflow as tf

    if spec.dtype == tf.string:
        photo = tf.fill((_SIDE, _SIDE, 3), tf.constant(128, tf.uint8))
        message = tf.make_tensor_proto(tf.io.encode_jpeg(photo).numpy())
    else:
        message = tf.make_tensor_proto(spec.dtype.as_numpy_dtype(0), spec.dtype)
    for size in (batch, *(side or _SIDE for side in spec.shape[1:])):
        message.tensor_shape.dim.add().size = size
    return message
