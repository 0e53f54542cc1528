"""The warm-up requests of a SavedModel: reading them, and answering them as a server does before it is ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.contract import EXTRA, WARMUP_FILE

MOST = 1000  # a server refuses more


@dataclass(frozen=True)
class WarmupRequest:
    """One request: the signature it calls, and a tensor message for each of its inputs."""

    signature: str
    inputs: Mapping[str, Any]

    @property
    def batch(self) -> int:
        """How many images it holds; 0 where an input has no dimensions."""
        dims = next(iter(self.inputs.values())).tensor_shape.dim
        return dims[0].size if dims else 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What it has in common with the requests that differ from it in the batch alone."""
        parts = []
        for name, message in sorted(self.inputs.items()):
            same = type(message)()
            same.CopyFrom(message)
            if same.tensor_shape.dim:
                same.tensor_shape.dim[0].size = 0
            parts.append((name, same.SerializeToString(deterministic=True)))
        return self.signature, *parts


def read_warmup(folder: Path) -> list[WarmupRequest]:
    """The requests in the version folder `folder`, in order; none where it has no such file.

    Raises:
        ValueError: the file is damaged, or holds what is not a request to predict.
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
        requests.append(WarmupRequest(request.model_spec.signature_name or "serving_default", dict(request.inputs)))
    return requests


def answer(loaded: Any, request: WarmupRequest) -> dict[str, Any]:
    """What a loaded SavedModel answers, by output name.

    Raises:
        ValueError: it has no such signature, or that takes other inputs.
        Exception: whatever TensorFlow raises when it runs.
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
    return function(**{name: tf.constant(tf.make_ndarray(message)) for name, message in request.inputs.items()})


def _records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError as error:
        raise ValueError("the file is damaged") from error
