"""The checksum of an artifact, as `export` writes it to the manifest and as serving reads it there."""

from __future__ import annotations

import hashlib
from pathlib import Path


def files_of(path: Path) -> list[Path]:
    """Return the file itself, or every file in a folder, in order."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def digest_of(path: Path, *, without: str | None = None) -> str:
    """Return the SHA-256 of a file or a folder.

    A folder's is the SHA-256 of the lines that `sha256sum` prints for its files, in order.

    Args:
        path: The file or folder.
        without: A file to leave out, by its path within the folder.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    named = ((file, file.relative_to(path).as_posix()) for file in files_of(path))
    lines = (f"{digest_of(file)}  {name}\n" for file, name in named if name != without)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
