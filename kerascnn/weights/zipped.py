"""Archives that are not trusted: how much they may hold, and that what they hold is what they say."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kerascnn.weights.errors import WeightsError

ENTRIES = 100_000
RATIO = 32  # bytes out of each byte of a file, at most: weights hardly shrink, pruned ones somewhat
ROOM = 1 << 20  # bytes that even a small file may unpack to
DAMAGES = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, KeyError)


def most(size: int) -> int:
    """Return how many bytes a file of so many may unpack to."""
    return RATIO * size + ROOM


def check(file: IO[bytes], size: int) -> None:
    """Read an archive of uncompressed entries to its end and compare each with its checksum.

    Args:
        file: The archive.
        size: Its size, which its entries together cannot exceed.

    Raises:
        ValueError: It has too many entries, or they are compressed, overlap or are damaged.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > ENTRIES or sum(entry.file_size for entry in entries) > size:
            raise ValueError("its entries are more than it can hold")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its entries are compressed")
        damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} differs from its checksum")


@contextmanager
def member(path: Path) -> Iterator[IO[bytes]]:
    """Open the one file that a .zip holds.

    Raises:
        WeightsError: The archive is damaged, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) != 1 or entries[0].file_size > most(path.stat().st_size):
                raise ValueError(f"it holds {len(entries)} files instead of one, or one that is too large")
            with archive.open(entries[0]) as file:
                yield file
    except DAMAGES as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{path} is not an archive of one weights file, or is damaged: {error}.") from error
