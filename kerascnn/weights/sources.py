"""The sources table and the cache: from a name to a file that is known to be the published one."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kerascnn import registry
from kerascnn.registry import WeightsRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20.0  # seconds without a byte before a download is given up


class WeightsError(ValueError):
    """A weights file is not what it should be: truncated, altered, or made for another network."""


class WeightsUnavailable(OSError):
    """Published weights are neither in the cache nor to be had from their address."""


def list_weights(variant: str = "*") -> list[WeightsRecord]:
    """The published weights of the variants that match a name or pattern.

    Raises:
        ValueError: no variant has that name.
    """
    names = registry.list_models(variant) or [registry.variant(variant).name]
    return [record for name in names for record in registry.variant(name).weights]


def cache_folder() -> Path:
    """Where fetched weights are kept: `weights/` in KERASCNN_HOME, which is ~/.cache/kerascnn where it is not set."""
    home = os.environ.get("KERASCNN_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "kerascnn").expanduser() / "weights"


def fetch(record: WeightsRecord) -> Path:
    """The verified file of published weights, from the cache or fetched with Keras's download helper.

    Raises:
        WeightsUnavailable: it is not in the cache and could not be fetched.
        WeightsError: the file in the cache, or what was fetched, is not the published one.
    """
    target = cache_folder() / record.file
    if target.exists():
        check(target, record)
        return target
    partial = f"{record.file}.partial-{os.getpid()}"
    fetched = target.with_name(partial)
    try:
        _download(record, partial)
        check(fetched, record)
        # Only a checked file gets the final name, so that a killed download leaves nothing that could be mistaken.
        os.replace(fetched, target)
    finally:
        fetched.unlink(missing_ok=True)
    return target


def _download(record: WeightsRecord, filename: str) -> None:
    import keras

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):  # Keras would quietly put the file somewhere else
            raise PermissionError(f"{folder} is not writable")
        with _timeout(TIMEOUT):
            keras.utils.get_file(filename, record.url, cache_dir=str(folder.parent), cache_subdir=folder.name)
    except Exception as error:  # Keras raises bare Exception for every failed address
        raise WeightsUnavailable(
            f"The weights {record.full_name!r} are not in the cache and could not be fetched ({error}). Download "
            f"{record.url} on a connected machine and put it there as {folder / record.file} ({record.bytes:,} bytes; "
            "KERASCNN_HOME names another cache), or build with weights=None."
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def check(path: Path, record: WeightsRecord) -> None:
    """Refuse a file that is not the published one, byte for byte.

    Raises:
        WeightsError: size or SHA-256 differ.
    """
    size = path.stat().st_size
    found = sha256(path)
    if found != record.sha256:
        state = f"has {size:,} bytes instead of {record.bytes:,}" if size != record.bytes else "was altered"
        raise WeightsError(
            f"{path} is not the published file of {record.full_name!r}: it {state} (SHA-256 {found}, published "
            f"{record.sha256}). Delete it and fetch it again from {record.url}."
        )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
