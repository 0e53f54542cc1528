"""gRPC calls of the client: one channel, and the client's own errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc

from serving.client.errors import RefusedError, from_grpc
from serving.client.wire import Connection

if TYPE_CHECKING:
    from serving.protobuf import DynamicMessage

# grpcio's default for replies is 4 MB; a batch of feature maps is larger.
_MOST_BYTES = 256 * 2**20


class Channel:
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

    def call(self, method: str, request: DynamicMessage, reply: type[DynamicMessage]) -> Any:
        """Return the reply, a message of the type `reply`.

        Raises:
            ClientError: The request failed.
        """
        stub = self._channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        try:
            return stub(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_grpc(error.code().name, error.details() or "") from error

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _read_certificate(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RefusedError(f"The certificate {path} cannot be read: {error.strerror or error}.") from error
