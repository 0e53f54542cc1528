"""Photos and tables on this machine, on S3 or on Google Cloud, through PyArrow's file systems."""

from __future__ import annotations

import fnmatch
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem


def find_photos(photos: str) -> tuple[FileSystem, list[str]]:
    """Find the file system of photos, and their paths on it in the order of their names.

    Raises:
        ValueError: There is nothing of that name, or no photo in it.
    """
    from pyarrow import fs

    from kerascnn.photos.files import SUFFIXES

    wild = [place for place in map(photos.find, "*?[") if place >= 0]
    base = photos[: min(wild)].rpartition("/")[0] or ("/" if photos.startswith("/") else ".") if wild else photos
    system, folder = opened(base)
    try:
        info = system.get_file_info(folder)
        if info.type == fs.FileType.NotFound:
            raise ValueError(f"There is no {base}. Give a folder of photos, or a pattern such as 'photos/*.jpg'.")
        if info.type == fs.FileType.File:
            return system, [folder]
        entries = system.get_file_info(fs.FileSelector(folder, recursive=True))
    except OSError as error:
        raise ValueError(f"{base} cannot be listed: {error}") from error
    names = sorted(entry.path for entry in entries if entry.type == fs.FileType.File)
    if wild:
        rest = photos[len(base) :].lstrip("/") if photos.startswith(base + "/") else photos.lstrip("/")
        pattern = f"{folder.rstrip('/')}/{rest}"
        names = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    else:
        names = [
            name
            for name in names
            if name.lower().endswith(SUFFIXES)
            and not any(part.startswith(".") for part in name[len(folder) :].split("/"))
        ]
    if not names:
        kinds = "" if wild else f" ({', '.join(SUFFIXES)})"
        raise ValueError(f"There are no photos{kinds} in {photos}, among {len(entries):,} files and folders.")
    return system, names


def opened(address: str) -> tuple[FileSystem, str]:
    """Return the file system of a path or an address such as s3://bucket/folder, and its path there."""
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(address if "://" in address else os.path.abspath(address))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{address} is neither a folder on this machine nor an address that can be opened: {error}"
        ) from error


def schema() -> pa.Schema:
    """Return the schema of the rows. Rows with an `error` have only path, model and weights besides."""
    import pyarrow as pa

    return pa.schema(
        {
            "path": pa.string(),
            "class": pa.int32(),
            "label": pa.string(),
            "probability": pa.float32(),
            "top_classes": pa.list_(pa.int32()),
            "top_labels": pa.list_(pa.string()),
            "top_probabilities": pa.list_(pa.float32()),
            "error": pa.string(),
            "model": pa.string(),
            "weights": pa.string(),
        }
    )


def table_of(output: str, columns: list[str]) -> pa.Table | None:
    """Read columns of the rows that a folder already holds; None if it has none.

    Raises:
        ValueError: A file of it is damaged.
    """
    import pyarrow as pa
    from pyarrow import dataset, fs

    system, folder = opened(output)
    info = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    files = [entry.path for entry in info if entry.path.endswith(".parquet")]
    if not files:
        return None
    try:
        return dataset.dataset(files, filesystem=system, format="parquet", schema=schema()).to_table(columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"A file in {output} cannot be read, perhaps because a run was killed while it wrote it: {error}. Delete "
            "that file and run again: its photos are scored anew."
        ) from error
