"""gRPC on the wire: grpcio, and the messages of serving.client.messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import numpy as np

from serving.client import messages
from serving.client.errors import RefusedError, from_grpc
from serving.client.wire import Arrays, Connection, Target, VersionStatus

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
# grpcio's default for replies is 4 MB; a batch of feature maps is larger.
_MOST_BYTES = 256 * 2**20
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


class RpcWire:
    """A channel to one server; with TLS for grpcs:// addresses."""

    def __init__(self, connection: Connection) -> None:
        self._timeout = connection.timeout
        self._metadata = tuple((name.lower(), value) for name, value in connection.headers.items())
        options = [("grpc.max_receive_message_length", _MOST_BYTES), ("grpc.max_send_message_length", _MOST_BYTES)]
        parts = urlsplit(connection.url)
        if parts.scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials(_read_certificate(connection.ca) if connection.ca else None)
            self._channel = grpc.secure_channel(parts.netloc, credentials, options)
        else:
            self._channel = grpc.insecure_channel(parts.netloc, options)

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs for whole arrays, which travel as their raw bytes."""
        request = messages.message_class("PredictRequest")()
        _fill(request.model_spec, target)
        for name, value in inputs.items():
            messages.to_proto(np.asarray(value), request.inputs[name])
        request.output_filter.extend(outputs)
        response = self._call(_PREDICT, request, "PredictResponse")
        return {name: messages.from_proto(tensor) for name, tensor in response.outputs.items()}

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model, as the server describes them."""
        request = messages.message_class("GetModelStatusRequest")()
        _fill(request.model_spec, target)
        response = self._call(_STATUS, request, "GetModelStatusResponse")
        return [
            VersionStatus(row.version, _STATES.get(row.state, "UNKNOWN"), row.status.error_message)
            for row in response.model_version_status
        ]

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, method: str, request: DynamicMessage, reply: str) -> DynamicMessage:
        call = self._channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.message_class(reply).FromString,
        )
        try:
            return call(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_grpc(error.code().name, error.details() or "") from error


def _fill(spec: DynamicMessage, target: Target) -> None:
    spec.name, spec.signature_name = target.model, target.signature
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label


def _read_certificate(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RefusedError(f"The certificate {path} cannot be read: {error.strerror or error}.") from error
