"""A .tflite file in TFLite Micro, in a process of its own: it ends the process that it is in where a file is bad."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, Signals
from threading import Timer
from typing import IO, TYPE_CHECKING, Any

from export.errors import ExportError

if TYPE_CHECKING:
    import numpy as np

LARGEST_ARENA = 1 << 24  # bytes; no more is tried
_SECONDS = 60  # for one answer
_NO_OPERATOR = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_NO_MEMORY = re.compile(r"^Failed to (?:resize|allocate)", re.M)


class MicroProcess:
    """The process; see `opened`.

    Attributes:
        arena: What the file takes of its arena, in bytes by name; the arena has no byte more.
        input: The input as TFLite Micro declares it: shape, dtype and quantization.
        outputs: The file's output, and further ones of the copy.
    """

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], models: tuple[bytes, bytes, int]) -> None:
        self._process, self._errors = process, errors
        self.arena: dict[str, int]
        self.arena, (self.input, *self.outputs) = self._ask((*models, LARGEST_ARENA))

    def run(self, images: np.ndarray, copy: bool = False) -> list[np.ndarray]:
        """Answer one image with every output, in float32.

        Args:
            images: float32 [1, height, width, channels].
            copy: Whether the copy answers, which has more outputs.

        Raises:
            ExportError: The process ended, or took too long.
        """
        from kerascnn.photos.runtimes import dequantized, quantized

        answers = self._ask((int(copy), quantized(images, self.input)))
        return [dequantized(answer, details) for answer, details in zip(answers, self.outputs, strict=False)]

    def _ask(self, question: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        watch = Timer(_SECONDS, self._process.kill)
        watch.start()
        try:
            pickle.dump(question, self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._process.wait()
            raise ExportError(self._reason()) from error
        finally:
            watch.cancel()

    def _reason(self) -> str:
        """Say why the process ended, from what it wrote."""
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        if missing := _NO_OPERATOR.search(said):
            return f"TFLite Micro has no operator {missing[1]}."
        if _NO_MEMORY.search(said):
            return f"It does not fit into an arena of {LARGEST_ARENA:,} bytes, and no more is tried."
        if self._process.returncode == -SIGKILL:
            return f"TFLite Micro was stopped: it gave no answer within {_SECONDS} seconds."
        lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
        code = self._process.returncode
        ended = f"by {Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"TFLite Micro ended {ended}. {'; '.join(lines)[-300:]}".strip()


@contextmanager
def opened(content: bytes, copy: bytes, outputs: int) -> Iterator[MicroProcess]:
    """Open a .tflite file in the smallest arena that holds it, while the block asks it.

    Args:
        content: The file.
        copy: The same network with more outputs.
        outputs: How many these are.

    Raises:
        ExportError: It cannot be opened; the message says why.
    """
    # -P: the folder of this package must not stand before the installed packages.
    command = [sys.executable, "-P", str(Path(__file__).with_name("micro_worker.py"))]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield MicroProcess(process, errors, (content, copy, outputs))
        finally:
            process.kill()
            process.communicate()
