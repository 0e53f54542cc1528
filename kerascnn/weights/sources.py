"""The sources table and the cache: from a name to a file that is known to be the published one."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from kerascnn import registry
from kerascnn.registry import WeightsRecord
from kerascnn.weights import zipped
from kerascnn.weights.downloading import Download, progress
from kerascnn.weights.errors import WeightsError, WeightsUnavailable

TIMEOUT = 20.0  # seconds without a byte before a download is given up
ABANDONED = 600.0  # seconds without a byte after which a partial file belongs to no running download


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
    packages = {"torch": "torch", "safetensors": "safetensors", "onnx": "onnx"}
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
    partial = target.with_name(f"{record.file}.partial-{os.getpid()}")
    download = Download(partial, record.bytes, checkable=_has_digest(record), timeout=TIMEOUT)
    try:
        _prepare(target, download)
        _download(record, download)
        # Only a checked file gets the final name, so that a killed download leaves nothing that could be mistaken.
        os.replace(partial, target)
    except OSError as error:
        size = f" ({record.bytes:,} bytes)" if record.bytes else ""
        raise WeightsUnavailable(
            f"The weights {record.full_name!r} are not in the cache and could not be fetched ({error}). Download "
            f"{record.url} on a connected machine and put it there as {target}{size}; KERASCNN_HOME names another "
            "cache. Or build with weights=None."
        ) from error
    finally:
        if partial.exists():
            if download.checkable and download.head.ranges:
                os.replace(partial, _rest(target))
            else:
                partial.unlink()
    return target


def _rest(target: Path) -> Path:
    """Return where the first part of a file waits for the next attempt, which goes on from there."""
    return target.with_name(f"{target.name}.partial")


def _prepare(target: Path, download: Download) -> None:
    """Make the cache, delete what killed downloads of the same file left there, and take up where one can go on."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = [_rest(target)] if _rest(target).exists() else []
    for path in target.parent.glob(f"{target.name}.partial-*"):
        with suppress(OSError):  # another process may be doing the same
            if time.time() - path.stat().st_mtime > ABANDONED:
                left.append(path)
    for path in left:
        with suppress(OSError):
            if download.checkable and not download.target.exists():
                os.replace(path, download.target)
            else:
                path.unlink()


def _download(record: WeightsRecord, download: Download) -> None:
    failures, altered = [], None
    with progress(record.full_name) as download.report:
        for url in record.addresses:
            try:
                return _download_from(url, record, download)
            except WeightsError as error:
                altered = error
            except OSError as error:
                failures.append(f"{url}: {error}")
    raise altered or OSError("; ".join(failures))


def _download_from(url: str, record: WeightsRecord, download: Download) -> None:
    """Fetch and check a file; once more from its beginning where the parts of two connections do not fit."""
    for last in (False, True):
        download.fetch(url)
        try:
            check(download.target, record)
            if not record.sha256 and download.head.sha256 not in ("", sha256(download.target)):
                raise WeightsError(f"What {url} sent of {record.full_name!r} is not what it says that it has.")
            return
        except WeightsError:
            download.target.unlink()
            if last or not download.joined:
                raise


def check(path: Path, record: WeightsRecord, known: str | None = None) -> None:
    """Refuse a file that is not the published one: by SHA-256 (or its published first digits), SHA-1, MD5 or size.

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
    """Return whether a file is the published one by its digest."""
    digest = _digest(path, record)
    return digest is not None and digest[1].startswith(digest[2])


def _has_digest(record: WeightsRecord) -> bool:
    return bool(record.sha256 or record.sha1 or record.md5)


def _digest(path: Path, record: WeightsRecord) -> tuple[str, str, str] | None:
    """Return the kind, the file's digest, and the published one."""
    if record.sha256:
        return "SHA-256", sha256(path), record.sha256
    if record.sha1:  # of what a .zip holds
        held = hashlib.sha1(usedforsecurity=False)
        with zipped.member(path) as packed:
            while block := packed.read(1 << 20):
                held.update(block)
        return "SHA-1", held.hexdigest(), record.sha1
    if record.md5:
        with path.open("rb") as file:
            return "MD5", hashlib.file_digest(file, "md5").hexdigest(), record.md5
    return None


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
