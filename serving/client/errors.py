"""The ways in which a request fails, one class each, the same over REST and gRPC."""

from __future__ import annotations

from serving.errors import ServingError


class ClientError(ServingError):
    """A request failed.

    Attributes:
        status: What the server answered, an HTTP status or the name of a gRPC code; None if nothing was answered.
        answers: The statuses and codes that mean this error.
        advice: What to do.
    """

    answers: tuple[int | str, ...] = ()
    advice = ""

    def __init__(self, message: str, status: int | str | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnreadableImageError(ClientError):
    """An image is missing or cannot be read. Nothing was sent."""


class UnreachableError(ClientError):
    """Nothing listens at the address, or the connection broke."""


class BadRequestError(ClientError):
    """The server says that the request is wrong (400, INVALID_ARGUMENT)."""

    answers = (400, 405, "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE")


class NotFoundError(ClientError):
    """The model or the version does not exist or is not loaded (404, NOT_FOUND)."""

    answers = (404, "NOT_FOUND")
    advice = "Check the name and the version; if they are right, see the server's log."


class RefusedError(ClientError):
    """A key or a certificate is missing or wrong (401, 403, UNAUTHENTICATED, PERMISSION_DENIED)."""

    answers = (401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED")
    advice = "Give the API key of the proxy, such as headers={'X-API-Key': …}."


class TooLargeError(ClientError):
    """The request is larger than the server, or the proxy in front of it, accepts (413)."""

    answers = (413,)
    advice = "Send fewer images in a request."


class OverloadedError(ClientError):
    """The server was full and stayed so through all retries (429, 503, RESOURCE_EXHAUSTED, UNAVAILABLE)."""

    answers = (429, 503, "RESOURCE_EXHAUSTED", "UNAVAILABLE")
    advice = "The server has more requests than it can take; try again later, or send fewer at a time."


class TimedOutError(ClientError):
    """No answer came in time (504, DEADLINE_EXCEEDED, or the client's own timeout)."""

    answers = (408, 504, "DEADLINE_EXCEEDED")
    advice = "Send fewer images in a request, or wait longer (timeout)."


class ServerError(ClientError):
    """The server failed (500 and the other codes)."""


_BY_ANSWER = {answer: kind for kind in ClientError.__subclasses__() for answer in kind.answers}
_BROKEN_CONNECTION = ("failed to connect", "connection refused", "connection reset", "socket closed")


def from_http(status: int, message: str) -> ClientError:
    """Make the error for an HTTP status other than 200."""
    return _make(_BY_ANSWER.get(status, ServerError), status, message)


def from_grpc(code: str, message: str) -> ClientError:
    """Make the error for a gRPC code other than OK."""
    if code == "UNAVAILABLE" and any(part in message.lower() for part in _BROKEN_CONNECTION):
        return UnreachableError(f"The server cannot be reached: {message}", code)
    # RESOURCE_EXHAUSTED also stands for a message beyond a limit, which a second try would not make smaller.
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
        return _make(TooLargeError, code, message)
    return _make(_BY_ANSWER.get(code, ServerError), code, message)


def _make(kind: type[ClientError], status: int | str, message: str) -> ClientError:
    reason = message.strip().rstrip(".") or "no reason given"
    return kind(f"The server answered {status}: {reason}. {kind.advice}".strip(), status)
