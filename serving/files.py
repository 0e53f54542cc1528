"""Files that others may read or write at the same time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving.contract import locks
from serving.errors import ServingError


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file, and its parent folders, with one rename: a reader finds the old content or the new.

    Everyone may read it by default, since a server runs as another user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, mode)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock while the block runs; raise a ServingError that begins with `busy` if another run keeps it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(path, timeout=10))
        except TimeoutError:
            raise ServingError(f"{busy} Run it again when that has ended.") from None
        yield
