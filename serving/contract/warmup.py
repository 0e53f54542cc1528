"""The warm-up requests of a SavedModel: read them, and answer them as a server does before it is ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract import DEFAULT_SIGNATURE, EXTRA, WARMUP_FILE

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.tensor_pb2 import TensorProto

MOST = 1000  # a server refuses more


@dataclass(frozen=True)
class WarmupRequest:
    """One request: the signature that it calls, and a tensor for each input."""

    signature: str
    inputs: Mapping[str, TensorProto]

    @property
    def batch(self) -> int:
        """The number of images that it holds; 0 if the first input has no dimensions."""
        dims = next(iter(self.inputs.values())).tensor_shape.dim
        return int(dims[0].size) if dims else 0

    @property
    def kind(self) -> tuple[object, ...]:
        """What it shares with requests that differ from it in the batch size alone."""
        parts = []
        for name, tensor in sorted(self.inputs.items()):
            stripped = type(tensor)()
            stripped.CopyFrom(tensor)
            if stripped.tensor_shape.dim:
                stripped.tensor_shape.dim[0].size = 0
            parts.append((name, stripped.SerializeToString(deterministic=True)))
        return self.signature, *parts


def read_warmup(folder: Path) -> list[WarmupRequest]:
    """Read the requests of the version in `folder`, in order; an empty list if it has none.

    Raises:
        ValueError: The file is damaged, or holds something other than predict requests.
    """
    path = folder / EXTRA / WARMUP_FILE
    if not path.is_file():
        return []
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    requests = []
    for number, record in enumerate(_records(path), 1):
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            raise ValueError(f"record {number} is not a PredictionLog") from error
        if log.WhichOneof("log_type") != "predict_log" or not log.predict_log.request.inputs:
            raise ValueError(f"record {number} is not a request to predict")
        request = log.predict_log.request
        requests.append(WarmupRequest(request.model_spec.signature_name or DEFAULT_SIGNATURE, dict(request.inputs)))
    return requests


def answer(loaded: Any, request: WarmupRequest) -> dict[str, tf.Tensor]:
    """Answer a request with a SavedModel that `tf.saved_model.load` gave; the outputs by name.

    Raises:
        ValueError: The model has no such signature, or the signature takes other inputs.
        Exception: Whatever TensorFlow raises when it runs.
    """
    import tensorflow as tf

    if request.signature not in loaded.signatures:
        raise ValueError(f"there is no signature {request.signature!r}")
    function = loaded.signatures[request.signature]
    expected = function.structured_input_signature[1]
    if set(expected) != set(request.inputs):
        raise ValueError(
            f"{request.signature} takes {', '.join(sorted(expected))}, and the request has "
            f"{', '.join(sorted(request.inputs))}"
        )
    inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
    return function(**inputs)


def _records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError as error:
        raise ValueError("the file is damaged") from error
