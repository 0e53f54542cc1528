"""The status of a request: the canonical codes that TensorFlow and gRPC share, and what REST answers for each."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_LONGEST_MESSAGE = 1000  # characters; TensorFlow quotes whole tensors in some


class Code(IntEnum):
    """Canonical status codes (google.rpc.Code), with the same numbers in TensorFlow and gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class StatusError(Exception):
    """A request that is answered with an error: its code, and a message for the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """The error for a request that is wrong in itself, whatever the state of the server."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> StatusError:
    """What the runtime said, without the stack and the file names that it says it with."""
    try:
        code = Code(error.error_code)
    except ValueError:
        code = Code.UNKNOWN
    return StatusError(code, readable(str(error.message)))


def readable(message: str) -> str:
    """The sentence in an error of TensorFlow's: what stands after the traceback and before the list of nodes."""
    message = re.split(r"^Node: '[^\n]*'\n", message, flags=re.MULTILINE)[-1]
    message = re.split(r"\n\s*\[\[|\n\nOriginal stack trace", message)[0]
    lines = [line for line in message.splitlines() if not line.lstrip().startswith('File "')]
    return "\n".join(lines).strip()[:_LONGEST_MESSAGE] or "The model failed."
