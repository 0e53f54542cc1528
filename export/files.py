"""Size and checksum of an artifact, which is a file or, as a SavedModel, a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or every file in a folder, in order."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in files_of(path))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of the lines `SHA-256  path` that sha256sum prints for it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = (f"{digest_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files_of(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
