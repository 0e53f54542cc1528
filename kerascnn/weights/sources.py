"""The sources table and the cache: from a name to a file that is known to be the published one."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

from kerascnn import registry
from kerascnn.registry import WeightsRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20.0  # seconds without a byte before a download is given up
ABANDONED = 600.0  # seconds without a byte after which a partial file belongs to no running download


class WeightsError(ValueError):
    """A weights file is not what it should be: truncated, altered, or made for another network."""


class WeightsUnavailable(OSError):
    """Published weights are not in the cache, and their address does not give them."""


def list_weights(variant: str = "*") -> list[WeightsRecord]:
    """Return the published weights of the variants that match a name or pattern.

    Raises:
        ValueError: No variant has that name.
    """
    names = registry.list_models(variant) or [registry.variant(variant).name]
    return [record for name in names for record in registry.variant(name).weights]


def preferred(variant: str) -> WeightsRecord | None:
    """Choose among the published weights of a variant: what is at hand, with kerascnn or in the cache, before the rest.

    Returns:
        None where none are published, or all are of a kind whose package is not installed.
    """
    packages = {"torch": "torch", "safetensors": "safetensors"}
    readable = [
        record
        for record in registry.variant(variant).weights
        if record.format not in packages or find_spec(packages[record.format])
    ]
    return next((record for record in readable if location(record).exists()), next(iter(readable), None))


def cache_folder() -> Path:
    """Return where fetched weights are kept: `weights/` in KERASCNN_HOME, which is ~/.cache/kerascnn by default."""
    home = os.environ.get("KERASCNN_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "kerascnn").expanduser() / "weights"


def location(record: WeightsRecord) -> Path:
    """Return where the file of published weights is, or will be once it was fetched."""
    if record.packaged:
        return Path(__file__).parents[1] / "data" / "weights" / record.file
    return cache_folder() / record.file


def fetch(record: WeightsRecord, *, verify: bool = True) -> Path:
    """Return the verified file of published weights, from the package or the cache, or else fetch it.

    Args:
        record: The record of the weights.
        verify: Check a file that is there already; leave that to the caller otherwise.

    Raises:
        WeightsUnavailable: It is not in the cache and could not be fetched.
        WeightsError: The file in the cache, or what was fetched, is not the published one.
    """
    target = location(record)
    if target.exists():
        if verify:
            check(target, record)
        return target
    if record.packaged:
        raise WeightsUnavailable(f"{target}, which comes with kerascnn, is not there. Install kerascnn again.")
    partial = f"{record.file}.partial-{os.getpid()}"
    fetched = target.with_name(partial)
    _remove_abandoned(target)
    try:
        _download(record, partial)
        check(fetched, record)
        # Only a checked file gets the final name, so that a killed download leaves nothing that could be mistaken.
        os.replace(fetched, target)
    finally:
        fetched.unlink(missing_ok=True)
    return target


def _remove_abandoned(target: Path) -> None:
    """Delete what killed downloads of the same file left behind."""
    for path in target.parent.glob(f"{target.name}.partial-*"):
        with suppress(OSError):  # another process may be doing the same
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


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
        if isinstance(error.__context__, HTTPError):
            error.__context__.close()  # the connection of the reply that Keras gave up
        size = f" ({record.bytes:,} bytes)" if record.bytes else ""
        raise WeightsUnavailable(
            f"The weights {record.full_name!r} are not in the cache and could not be fetched ({error}). Download "
            f"{record.url} on a connected machine and put it there as {folder / record.file}{size}; KERASCNN_HOME "
            "names another cache. Or build with weights=None."
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def check(path: Path, record: WeightsRecord, known: str | None = None) -> None:
    """Refuse a file that is not the published one: by SHA-256 (or its published first digits), MD5 or size.

    Args:
        path: The file.
        record: The record of the published weights.
        known: The file's SHA-256 where it was computed before.

    Raises:
        WeightsError: One of them differs.
    """
    size = path.stat().st_size
    digest = ("SHA-256", known, record.sha256) if known and record.sha256 else _digest(path, record)
    if digest is None and record.bytes in (None, size):
        return  # nothing is published to check against; reading the file shows whether it is complete
    kind, own, published = digest or ("size", str(size), str(record.bytes))
    if not own.startswith(published):
        state = f"has {size:,} bytes instead of {record.bytes:,}" if record.bytes not in (None, size) else "was altered"
        raise WeightsError(
            f"{path} is not the published file of {record.full_name!r}: it {state} ({kind} {own}, published "
            f"{published}). Delete it and fetch it again from {record.url}."
        )


def matches(path: Path, record: WeightsRecord) -> bool:
    """Return whether a file is the published one by its SHA-256 or MD5."""
    digest = _digest(path, record)
    return digest is not None and digest[1].startswith(digest[2])


def _digest(path: Path, record: WeightsRecord) -> tuple[str, str, str] | None:
    """Return the kind, the file's digest, and the published one."""
    if record.sha256:
        return "SHA-256", sha256(path), record.sha256
    if record.md5:
        with path.open("rb") as file:
            return "MD5", hashlib.file_digest(file, "md5").hexdigest(), record.md5
    return None


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
