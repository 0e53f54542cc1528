"""What a file weighs beside its bytes on disk: packed for transport, and in memory while it answers."""

from __future__ import annotations

import lzma
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export import packing
from export.files import digest_of

if TYPE_CHECKING:
    import numpy as np

_SECONDS = 120  # for a process that loads a file and answers once
_SLOW = 1 << 25  # bytes, beyond which the last percent of packing takes minutes


@dataclass(frozen=True)
class Packed:
    """A copy for transport that lies beside an artifact; it has to be unpacked before it can be run."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Sizes:
    """packed: None where nothing was packed. memory: bytes; None where it was not measured."""

    packed: Packed | None = None
    memory: int | None = None

    def numbers(self) -> dict[str, int]:
        """Bytes by the name that the manifest has for them, of those that are known."""
        sizes = {"transport": self.packed.bytes if self.packed else None, "memory": self.memory}
        return {name: size for name, size in sizes.items() if size is not None}


def measure_sizes(folder: Path, path: str, threads: int, kernels: Sequence[np.ndarray] = ()) -> Sizes:
    """Pack the .tflite file `folder / path` beside it, and measure what it takes in memory; see `pack`."""
    return Sizes(pack(folder, path, kernels), memory(folder / path, threads))


def pack(folder: Path, path: str, kernels: Sequence[np.ndarray] = ()) -> Packed:
    """Write the smaller of two copies: `path`.kdz, see `export.packing`, or `path`.xz, which `xz -d` unpacks.

    Args:
        folder: Where the file is, and its copy goes.
        path: Its name there.
        kernels: Those of the network that it was made from.
    """
    data = (folder / path).read_bytes()
    copies = {".xz": as_xz(data), packing.SUFFIX: packing.pack(data, kernels)}
    suffix = min(copies, key=lambda suffix: len(copies[suffix]))
    packed = folder / f"{path}{suffix}"
    packed.write_bytes(copies[suffix])
    return Packed(packed.relative_to(folder).as_posix(), packed.stat().st_size, digest_of(packed))


def as_xz(data: bytes) -> bytes:
    """Return what every operating system's own tools unpack."""
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME if len(data) <= _SLOW else 6)


def memory(path: Path, threads: int) -> int | None:
    """Measure the memory that LiteRT needs to load a .tflite file and answer one image.

    A process of its own imports LiteRT, and then counts what is added to its resident memory: the pages of the file
    that are read, unpacked weights, and activations.

    Returns:
        The greatest number of bytes; None where the system does not count them (Linux does), or the process fails.
    """
    worker = Path(__file__).with_name("sizes_worker.py")
    try:
        # -P: the folder of this package must not stand before the installed packages.
        command = [sys.executable, "-P", str(worker), str(path), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = done.stdout.strip()
    return int(answer) if done.returncode == 0 and answer.isdecimal() else None
