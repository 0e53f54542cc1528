"""What a request can end with, one class for each way out; the same over REST and gRPC."""

from __future__ import annotations

from serving.errors import ServingError


class ClientError(ServingError):
    """A request failed. `status` is what the server answered: an HTTP status, or the name of a gRPC code."""

    def __init__(self, message: str, status: int | str | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnreadableImageError(ClientError):
    """An image is missing, or is none; nothing was sent."""


class UnreachableError(ClientError):
    """Nothing listens at the address, or the connection broke."""


class BadRequestError(ClientError):
    """The server understood that the request is wrong (400, INVALID_ARGUMENT)."""


class NotFoundError(ClientError):
    """There is no such model or version, or it is not loaded (404, NOT_FOUND)."""


class RefusedError(ClientError):
    """A key or a certificate is missing or wrong (401, 403, UNAUTHENTICATED, PERMISSION_DENIED)."""


class TooLargeError(ClientError):
    """The request is larger than the server, or the proxy before it, takes (413)."""


class OverloadedError(ClientError):
    """The server is full and stayed so through all retries (429, 503, RESOURCE_EXHAUSTED, UNAVAILABLE)."""


class TimedOutError(ClientError):
    """No answer came in time (504, DEADLINE_EXCEEDED, or the client's own timeout)."""


class ServerError(ClientError):
    """The server failed (500 and the other codes)."""


_BY_HTTP: dict[int, type[ClientError]] = {
    400: BadRequestError,
    401: RefusedError,
    403: RefusedError,
    404: NotFoundError,
    405: BadRequestError,
    408: TimedOutError,
    413: TooLargeError,
    429: OverloadedError,
    503: OverloadedError,
    504: TimedOutError,
}
_BY_GRPC: dict[str, type[ClientError]] = {
    "INVALID_ARGUMENT": BadRequestError,
    "FAILED_PRECONDITION": BadRequestError,
    "OUT_OF_RANGE": BadRequestError,
    "UNAUTHENTICATED": RefusedError,
    "PERMISSION_DENIED": RefusedError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAVAILABLE": OverloadedError,
    "DEADLINE_EXCEEDED": TimedOutError,
}
_ADVICE: dict[type[ClientError], str] = {
    NotFoundError: "Look at the name and the version, and at the server's log if it should be there.",
    RefusedError: "Give the API key of the proxy, such as headers={'X-API-Key': …}.",
    TooLargeError: "Send fewer images in a request.",
    OverloadedError: "The server has more requests than it can take; try again later, or send fewer at a time.",
    TimedOutError: "Send fewer images in a request, or wait longer (timeout).",
}


def from_http(status: int, message: str) -> ClientError:
    """The error for an HTTP status that is not 200."""
    return _make(_BY_HTTP.get(status, ServerError), status, message)


def from_grpc(code: str, message: str) -> ClientError:
    """The error for a gRPC code that is not OK."""
    if code == "UNAVAILABLE" and _is_connection(message):
        return UnreachableError(f"The server cannot be reached: {message}", code)
    # gRPC says RESOURCE_EXHAUSTED of a message beyond a limit too, and a second try would not make it smaller.
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
        return _make(TooLargeError, code, message)
    return _make(_BY_GRPC.get(code, ServerError), code, message)


def _make(kind: type[ClientError], status: int | str, message: str) -> ClientError:
    said = message.strip().rstrip(".") or "no reason given"
    return kind(f"The server answered {status}: {said}. {_ADVICE.get(kind, '')}".strip(), status)


def _is_connection(message: str) -> bool:
    told = message.lower()
    return any(
        part in told for part in ("failed to connect", "connection refused", "connection reset", "socket closed")
    )
