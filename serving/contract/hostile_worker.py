"""Runs requests on a SavedModel through TensorFlow's C API: `python -P hostile_worker.py < job.json`.

Python's own TensorFlow checks shapes before the graph sees them, as no server does, and takes seconds to import. A line
is printed before each request and after it, so that the last one tells which request ended the process.
"""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

Values = list[dict[str, Any]]
_STRING = 7  # DT_STRING
# ConfigProto {graph_options {rewrite_options {meta_optimizer_iterations: ONE}}}: the optimizer that a server runs as
# well, once over each signature instead of twice, which takes most of the time.
_CONFIG = bytes.fromhex("520452026001")
_STRING_BYTES = 24  # of a TF_TString; all zeros are the empty string


class _Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Session:
    """A SavedModel in a session, as a server holds it.

    Args:
        library: The path of libtensorflow_cc.
        folder: The folder of saved_model.pb.
    """

    def __init__(self, library: str, folder: str) -> None:
        self._tf = tf = ctypes.CDLL(library)
        for name in ("NewStatus", "NewGraph", "NewSessionOptions", "LoadSessionFromSavedModel", "AllocateTensor"):
            getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
        for name in ("GraphOperationByName", "TensorData"):
            getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
        tf.TF_Message.restype = ctypes.c_char_p
        tf.TF_DataTypeSize.restype = ctypes.c_size_t
        self._status = ctypes.c_void_p(tf.TF_NewStatus())
        self._graph = ctypes.c_void_p(tf.TF_NewGraph())
        options, tags = ctypes.c_void_p(tf.TF_NewSessionOptions()), (ctypes.c_char_p * 1)(b"serve")
        tf.TF_SetConfig(options, _CONFIG, ctypes.c_size_t(len(_CONFIG)), self._status)
        self._session = ctypes.c_void_p(
            tf.TF_LoadSessionFromSavedModel(options, None, folder.encode(), tags, 1, self._graph, None, self._status)
        )
        if code := tf.TF_GetCode(self._status):
            raise OSError(f"{code}: {tf.TF_Message(self._status).decode(errors='replace')}")

    def run(self, inputs: Values, outputs: list[str]) -> tuple[int, str]:
        """Run one request; return the code of its status, 0 for an answer, and its message."""
        tf = self._tf
        feeds = (_Output * len(inputs))(*(self._find(value["name"]) for value in inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(self._tensor, inputs))
        fetches = (_Output * len(outputs))(*map(self._find, outputs))
        answers = (ctypes.c_void_p * len(outputs))()
        fed, fetched = (feeds, values, len(inputs)), (fetches, answers, len(outputs))
        tf.TF_SessionRun(self._session, None, *fed, *fetched, None, 0, None, self._status)
        for tensor in (*values, *answers):
            tf.TF_DeleteTensor(ctypes.c_void_p(tensor))
        return tf.TF_GetCode(self._status), tf.TF_Message(self._status).decode(errors="replace")

    def _find(self, tensor: str) -> _Output:
        name, _, index = tensor.partition(":")
        operation = self._tf.TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise OSError(f"there is no operation {name}")
        return _Output(operation, int(index or 0))

    def _tensor(self, value: dict[str, Any]) -> int:
        tf, shape, kind = self._tf, value["shape"], value["dtype"]
        count = 1
        for side in shape:
            count *= side
        size = count * (_STRING_BYTES if kind == _STRING else tf.TF_DataTypeSize(kind))
        dims = (ctypes.c_int64 * len(shape))(*shape)
        tensor: int = tf.TF_AllocateTensor(kind, dims, len(shape), ctypes.c_size_t(size))
        data = tf.TF_TensorData(ctypes.c_void_p(tensor)) or 0
        content = [b64decode(text) for text in value.get("content", [])]
        ctypes.memset(data, 0, size)
        if kind != _STRING:
            for element in content:  # one, which is repeated
                ctypes.memmove(data, element * count, size)
            return tensor
        for place, text in enumerate(content):
            tf.TF_StringCopy(ctypes.c_void_p(data + place * _STRING_BYTES), text, ctypes.c_size_t(len(text)))
        return tensor


def most_memory() -> int:
    """Return the most bytes that this process has held."""
    try:  # `getrusage` counts those of the process that started this one, up to the start, as well
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except FileNotFoundError:  # not Linux
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def main() -> None:
    """Run every request of the job on standard input."""
    job = json.load(sys.stdin)
    signal.alarm(job["loading_seconds"])  # ends the process, also while it is in TensorFlow
    try:
        session = Session(job["library"], job["folder"])
    except OSError as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        return
    for number, request in enumerate(job["requests"]):
        print(json.dumps({"begun": number}), flush=True)
        # Time of the processor, which another process on the same machine does not take: the first request to a
        # signature also prepares its graph. The clock is for a request that waits for nothing.
        signal.setitimer(signal.ITIMER_PROF, job["request_seconds"])
        signal.alarm(job["loading_seconds"])
        before = time.process_time()
        code, message = session.run(request["inputs"], request["outputs"])
        seconds = time.process_time() - before
        ended = {"ended": number, "code": code, "message": message[:500], "memory": most_memory(), "seconds": seconds}
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main()
