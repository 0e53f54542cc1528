"""One writer at a time for a folder: a lock file that is gone when nobody holds it.

`export` and `serving` agree on it by its path. The lock is the operating system's, so it ends with its process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_PAUSE = 0.1  # seconds between two attempts


def lock_of(folder: Path) -> Path:
    """Return the lock file of a folder, which lies beside it and is hidden."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    Args:
        path: The lock file, whose folder is made where it is missing. The file is removed at the end.
        waiting: Called once where another process, or another thread, holds it.
        timeout: Seconds to wait; None for as long as it takes.

    Raises:
        TimeoutError: Another still holds it.
    """
    start = time.monotonic()
    descriptor = _attempt(path)
    if descriptor is None:
        waiting()
    while descriptor is None:
        if timeout is not None and time.monotonic() - start > timeout:
            raise TimeoutError(f"{path} is held by another process.")
        time.sleep(_PAUSE)
        descriptor = _attempt(path)
    try:
        yield
    finally:
        if sys.platform != "win32":  # Windows removes no open file: there it goes once it is closed, if nobody waits
            path.unlink(missing_ok=True)
        os.close(descriptor)
        if sys.platform == "win32":
            with suppress(OSError):
                path.unlink()


def _attempt(path: Path) -> int | None:
    """Take the lock; None where another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder was removed in between, by another that left it empty
        return None
    try:
        _lock(descriptor)
        # Its last holder may have removed the file after it was opened here; then it locks nothing.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
