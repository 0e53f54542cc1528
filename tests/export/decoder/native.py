"""The decoder in C, compiled and called."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

from tests import ROOT

FOLDER = ROOT / "export/decoder"
SOURCE = FOLDER / "kdz.c"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
CODES = (
    "ok", "not packed", "other version", "cut", "damaged", "output small", "workspace small", "argument",
)  # fmt: skip
GUARD = b"\xa5" * 64


class Info(ctypes.Structure):
    """kdz_info."""

    _fields_ = (
        ("output_size", ctypes.c_uint32),
        ("workspace_size", ctypes.c_size_t),
        ("weights", ctypes.c_uint32),
        ("plain_size", ctypes.c_uint32),
    )


def compiler() -> str | None:
    """A C compiler of this machine."""
    return next((name for name in ("gcc", "clang", "cc") if shutil.which(name)), None)


def compile(command: str, target: Path, *options: str) -> None:
    """Compile the decoder; what the compiler says of it is the error."""
    done = subprocess.run([command, *options, str(SOURCE), "-o", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Decoder:
    """The decoder as a library."""

    def __init__(self, folder: Path):
        name = compiler()
        assert name is not None
        target = folder / "kdz.so"
        compile(name, target, *STRICT, "-O2", "-shared", "-fPIC")
        self._library = ctypes.CDLL(str(target))
        self._library.kdz_message.restype = ctypes.c_char_p

    def message(self, code: int) -> str:
        """What the decoder says of a code."""
        return self._library.kdz_message(code).decode()

    def inspect(self, packed: bytes) -> tuple[str, Info]:
        """The code, and what unpacking takes."""
        info = Info()
        return CODES[self._library.kdz_inspect(packed, ctypes.c_size_t(len(packed)), ctypes.byref(info))], info

    def unpack(self, packed: bytes, *, short: int = 0, less_work: int = 0, shift: int = 0) -> tuple[str, bytes]:
        """The code and the bytes; nothing was written outside of the buffers.

        `short` and `less_work` make the buffers so much too small, `shift` takes the workspace from such an address.
        """
        code, info = self.inspect(packed)
        if code != "ok":
            return code, b""
        output_size, work_size = info.output_size - short, info.workspace_size - less_work
        output = ctypes.create_string_buffer(GUARD + bytes(output_size) + GUARD, output_size + 2 * len(GUARD))
        work = ctypes.create_string_buffer(work_size + 2 * len(GUARD))
        ctypes.memmove(ctypes.addressof(work) + len(GUARD) + shift + work_size, GUARD, 8)
        result = self._library.kdz_unpack(
            packed,
            ctypes.c_size_t(len(packed)),
            ctypes.byref(output, len(GUARD)),
            ctypes.c_size_t(output_size),
            ctypes.byref(work, len(GUARD) + shift),
            ctypes.c_size_t(work_size),
        )
        assert output.raw[: len(GUARD)] == output.raw[-len(GUARD) :] == GUARD
        end = len(GUARD) + shift + work_size
        assert work.raw[end : end + 8] == GUARD[:8]
        return CODES[result], output.raw[len(GUARD) : -len(GUARD)]
