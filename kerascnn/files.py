"""Files that are never half-written, and folders that one process writes to."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file by a complete one; where the writing fails, what was there before stays.

    Yields:
        The path to write to, in the same folder.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs. The lock is the operating system's: it leaves no file, and ends with us.

    Raises:
        ValueError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ValueError(
                    f"Another run is at work in {folder}. Wait for its end, or give another --output."
                ) from None
            # Some file systems of networks lock no folders.
        yield
    finally:
        os.close(descriptor)
