"""Requests that are wrong, sent to a SavedModel in a process of its own: each has to be refused, and none may end it.

A server feeds a graph whatever it is sent, of any rank and with any sides. An operation that takes the rank for granted
ends the whole server there (oneDNN's convolutions do), or answers as if the request were right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from serving.contract.operators import read_saved_model

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

REQUEST_SECONDS = 20  # of the processor
_LOADING_SECONDS = 120
_SIDE = 8  # where a side is open
_FLOAT, _STRING = 1, 7  # DT_FLOAT, DT_STRING
# A server on any processor: TensorFlow turns oneDNN on by itself on some alone. And no GPU's memory for this.
_ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}


@dataclass(frozen=True)
class Value:
    """One input of a request: zeros or empty strings, unless `content` says otherwise.

    Attributes:
        dtype: The number of a DataType.
        shape: Its sides.
        content: One element in bytes that all are, or for strings the first of them.
    """

    dtype: int
    shape: tuple[int, ...]
    content: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Request:
    """A request to a signature; `what` says what is unusual about it.

    Attributes:
        signature: The signature's name.
        what: Such as "an input of rank 1".
        inputs: The value of each input.
        is_wrong: Whether it has to be refused; otherwise it may be answered.
    """

    signature: str
    what: str
    inputs: Mapping[str, Value]
    is_wrong: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        request: The request.
        kind: What happened.
        message: The server's reply where it was refused; what ended the process where it was ended.
        memory: The most bytes that the process has held so far.
        seconds: Of the processor, where there was an answer or a refusal.
    """

    request: Request
    kind: Literal["refused", "answered", "ended the process", "had no answer"]
    message: str = ""
    memory: int = 0
    seconds: float = 0.0

    @property
    def is_fatal(self) -> bool:
        """Whether such a request takes a server from everybody."""
        return self.kind in ("ended the process", "had no answer")

    @property
    def is_bad(self) -> bool:
        """Whether the model should not be served like this."""
        return self.is_fatal or (self.kind == "answered" and self.request.is_wrong)

    def __str__(self) -> str:
        why = f": {self.message}" if self.message and self.is_fatal else ""
        return f"{self.request.signature}: a request with {self.request.what} {self.kind}{why}"


def wrong_requests(signatures: Mapping[str, SignatureDef]) -> Iterator[Request]:
    """Yield requests with wrong ranks, sides, channels and types for each input of each signature."""
    for name, signature in sorted(signatures.items()):
        if name.startswith("__"):
            continue
        right = {key: Value(info.dtype, _sides(info)) for key, info in signature.inputs.items()}
        for key, info in sorted(signature.inputs.items()):
            for what, value, is_wrong in _wrong_values(info):
                yield Request(name, what if len(right) == 1 else f"{key} of {what}", right | {key: value}, is_wrong)


def _wrong_values(info: TensorInfo) -> Iterator[tuple[str, Value, bool]]:
    sides = _sides(info)
    if info.tensor_shape.unknown_rank:
        return
    for rank in range(len(sides) + 2):
        if rank != len(sides):
            yield f"an input of rank {rank}", Value(info.dtype, (*sides, 1)[:rank]), True
    for axis, dim in enumerate(info.tensor_shape.dim):
        if dim.size > 0:
            for side in sorted({0, 1, dim.size + 1} - {dim.size}):
                shape = (*sides[:axis], side, *sides[axis + 1 :])
                yield f"an input of the shape {list(shape)}", Value(info.dtype, shape), True
    yield "an input of another type", Value(_FLOAT if info.dtype == _STRING else _STRING, sides), True
    if sides:
        yield "no rows", Value(info.dtype, (0, *sides[1:])), False
    if any(dim.size < 0 for dim in info.tensor_shape.dim[1:]):
        nothing = tuple(max(dim.size, 0) for dim in info.tensor_shape.dim[1:])
        yield "no pixels", Value(info.dtype, (1, *nothing)), False


def _sides(info: TensorInfo) -> tuple[int, ...]:
    """Return a shape that an input takes: one row, and _SIDE where a side is open."""
    return tuple(dim.size if dim.size > 0 else _SIDE if axis else 1 for axis, dim in enumerate(info.tensor_shape.dim))


@dataclass(frozen=True)
class Trial:
    """Requests that a process of their own is running on a SavedModel; `outcomes` waits for its end."""

    requests: Sequence[Request]
    process: subprocess.Popen[bytes]
    printed: IO[bytes]
    errors: IO[bytes]

    def outcomes(self) -> list[Outcome]:
        """Return what became of each request, up to the one that ended the process, if one did.

        Raises:
            ValueError: The SavedModel could not be loaded.
        """
        code = self.process.wait()
        self.printed.seek(0)
        lines = [json.loads(line) for line in self.printed if line.endswith(b"\n")]
        self.errors.seek(0)
        errors = self.errors.read().decode(errors="replace")
        if not lines or "failed" in lines[-1]:
            why = lines[-1]["failed"] if lines else _reason(errors, code)
            raise ValueError(f"the SavedModel cannot be tried: {why}")
        outcomes = [self._outcome(line) for line in lines if "ended" in line]
        if "begun" in lines[-1]:
            request = self.requests[lines[-1]["begun"]]
            message = _reason(errors, code)
            stopped = code in (-signal.SIGPROF, -signal.SIGALRM)
            outcomes.append(Outcome(request, "had no answer" if stopped else "ended the process", message))
        return outcomes

    def _outcome(self, line: dict[str, Any]) -> Outcome:
        kind: Literal["answered", "refused"] = "refused" if line["code"] else "answered"
        return Outcome(self.requests[line["ended"]], kind, line["message"], line["memory"], line["seconds"])


@contextmanager
def trying(folder: Path, requests: Sequence[Request] | None = None) -> Iterator[Trial]:
    """Run requests, by default `wrong_requests`, on the SavedModel in `folder` while the block does something else.

    Raises:
        OSError: There is no saved_model.pb, or it cannot be read.
        ValueError: It is not a SavedModel.
    """
    signatures = dict(read_saved_model(folder).meta_graphs[0].signature_def)
    requests = list(wrong_requests(signatures)) if requests is None else requests
    job = {
        "library": str(_library()),
        "folder": str(folder),
        "loading_seconds": _LOADING_SECONDS,
        "request_seconds": REQUEST_SECONDS,
        "requests": [_job(request, signatures[request.signature]) for request in requests],
    }
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        source.write(json.dumps(job).encode())
        source.seek(0)
        # -P: the folder of this package must not stand before the installed packages.
        command = [sys.executable, "-P", str(Path(__file__).with_name("hostile_worker.py"))]
        environment = os.environ | _ENVIRONMENT
        process = subprocess.Popen(command, stdin=source, stdout=printed, stderr=errors, env=environment)
        try:
            yield Trial(requests, process, printed, errors)
        finally:
            process.kill()
            process.wait()


def _job(request: Request, signature: SignatureDef) -> dict[str, object]:
    inputs = [
        {
            "name": signature.inputs[key].name,
            "dtype": value.dtype,
            "shape": value.shape,
            "content": [b64encode(element).decode() for element in value.content],
        }
        for key, value in request.inputs.items()
    ]
    return {"inputs": inputs, "outputs": [info.name for info in signature.outputs.values()]}


def _library() -> Path:
    import tensorflow as tf

    return next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_cc*"))


def _reason(errors: str, code: int) -> str:
    """Return the line that says why a process ended."""
    lines = [line.strip() for line in errors.splitlines() if "Check failed" in line or line.startswith("OSError")]
    return lines[-1][-300:] if lines else f"exit code {code}"
