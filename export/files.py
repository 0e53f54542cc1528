"""Size and checksum of an artifact, which is a file or, as a SavedModel, a folder."""

from __future__ import annotations

from pathlib import Path

from serving.contract.checksums import digest_of, files_of

__all__ = ["digest_of", "files_of", "size_of"]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in files_of(path))
