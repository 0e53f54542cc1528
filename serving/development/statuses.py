"""The status of a request: the canonical codes that TensorFlow and gRPC share, and the HTTP status of each."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_LONGEST_MESSAGE = 1000  # characters; some of TensorFlow's messages quote whole tensors


class Code(IntEnum):
    """Canonical status codes (google.rpc.Code), with the same numbers in TensorFlow and gRPC."""

    http: int  # the status that REST answers with

    OK = 0, 200
    CANCELLED = 1, 499
    UNKNOWN = 2, 500
    INVALID_ARGUMENT = 3, 400
    DEADLINE_EXCEEDED = 4, 504
    NOT_FOUND = 5, 404
    ALREADY_EXISTS = 6, 409
    PERMISSION_DENIED = 7, 403
    RESOURCE_EXHAUSTED = 8, 429
    FAILED_PRECONDITION = 9, 400
    ABORTED = 10, 409
    OUT_OF_RANGE = 11, 400
    UNIMPLEMENTED = 12, 501
    INTERNAL = 13, 500
    UNAVAILABLE = 14, 503
    DATA_LOSS = 15, 500
    UNAUTHENTICATED = 16, 401

    def __new__(cls, number: int, http: int = 500) -> Code:
        """Make the code of a number, with its HTTP status."""
        code = int.__new__(cls, number)
        code._value_, code.http = number, http
        return code


class StatusError(Exception):
    """A request that is answered with an error: its code, and a message for the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """Make the error for a request that is wrong in itself, whatever the state of the server."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> StatusError:
    """Make the error for one of TensorFlow's, without the stack and the file names in it."""
    try:
        code = Code(error.error_code)
    except ValueError:
        code = Code.UNKNOWN
    return StatusError(code, readable(str(error.message)))


def readable(message: str) -> str:
    """Return the sentence in an error of TensorFlow's: what comes after the traceback and before the list of nodes."""
    message = re.split(r"^Node: '[^\n]*'\n", message, flags=re.MULTILINE)[-1]
    message = re.split(r"\n\s*\[\[|\n\nOriginal stack trace", message)[0]
    lines = [line for line in message.splitlines() if not line.lstrip().startswith('File "')]
    return "\n".join(lines).strip()[:_LONGEST_MESSAGE] or "The model failed."
