"""Publish a folder whole: everything is written beside the target, then takes its place with one rename."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export.errors import ExportError, RequestError
from serving.contract.locks import lock_of, locked

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"  # of all other files, see `export.signing`
FROM_HUB = (".gitattributes", ".cache/huggingface")  # what the Hugging Face hub adds to a folder that it gives back
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux, renameat2
_RENAME_SWAP = 2  # macOS, renamex_np


def check_target(target: Path) -> None:
    """Refuse a target that cannot be written, lies in an export, or holds anything which no export has put there.

    Raises:
        RequestError: the target is a file, is not writable, lies in an export, or has foreign files in it.
    """
    for folder in (target, *target.parents):
        if folder.is_symlink() and not folder.exists():
            raise RequestError(f"{folder} is a link to nothing. Give another --output.")
        if folder.exists():
            break
    if not folder.is_dir():
        raise RequestError(f"{folder} is a file, so nothing can be written to {target}. Give a folder as the output.")
    if not os.access(folder if folder != target else target.parent, os.W_OK | os.X_OK):
        raise RequestError(f"{folder} is not writable for you. Give another folder as the output.")
    outer = next((parent for parent in target.parents if _names_of_files(parent)), None)
    if outer is not None:
        raise RequestError(
            f"{outer} is an export itself, and {target} would be in it, as files that it does not know. Give another "
            f"output, such as {outer.parent}."
        )
    foreign = foreign_files(target)
    if foreign:
        raise RequestError(
            f"{target} holds files that no export wrote, and an export replaces its folder whole: "
            f"{', '.join(foreign[:5])}{' …' if len(foreign) > 5 else ''}. Move them, or give another output."
        )


def foreign_files(target: Path) -> list[str]:
    """Files in a folder that its own manifest does not name, as paths relative to it; a signature covers that too."""
    if not target.is_dir():
        return []
    known = _names_of_files(target)
    known |= {SIGNATURE} if known else set()
    files = (path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    return sorted(path for path in files if path != MANIFEST and path not in known)


def _names_of_files(folder: Path) -> set[str]:
    """Return the files that the manifest of a folder names; none where no export wrote one."""
    try:
        return set(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


@contextmanager
def staging(target: Path, waiting: Callable[[str], None]) -> Iterator[Path]:
    """An empty folder beside the target; publish it with `publish`, else it is removed.

    One export at a time writes to a target: a second one calls `waiting` with a sentence and waits. What a killed
    run left behind is removed first. Nothing else is left beside the target, nor folders that were made for it.

    Raises:
        RequestError: see `check_target`.
    """
    check_target(target)
    missing = [folder for folder in target.parents if not folder.exists()]
    outer = target.with_name(f".{target.name}.partial-{os.getpid()}")
    folder = outer / target.resolve().name  # a signature holds the name of the folder
    busy = f"another export is writing to {target}; waiting for it to end"
    try:
        with locked(lock_of(target), lambda: waiting(busy)):
            try:
                _recover(target)
                check_target(target)
                folder.mkdir(parents=True)
                yield folder
            finally:
                shutil.rmtree(outer, ignore_errors=True)
    finally:
        for empty in missing:
            with suppress(OSError):  # it is in use
                empty.rmdir()


def publish(folder: Path, target: Path) -> None:
    """Give a finished folder its final name; what had that name before is removed afterwards."""
    if not target.exists():
        os.rename(folder, target)
        return
    if _exchange(folder, target):
        shutil.rmtree(folder)  # it holds the old export now
        return
    # No atomic exchange on this system: the old folder steps aside, and `_recover` puts it back if we are killed here.
    aside = _aside(target)
    os.rename(target, aside)
    os.rename(folder, target)
    shutil.rmtree(aside)


def _recover(target: Path) -> None:
    aside = _aside(target)
    if aside.exists():
        if target.exists():
            shutil.rmtree(aside)
        else:
            os.rename(aside, target)
    for left in target.parent.glob(f".{target.name}.partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _exchange(first: Path, other: Path) -> bool:
    """Swap two folders in one step where the system can (Linux, macOS); False where it cannot."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        if sys.platform == "darwin":
            failed = libc.renamex_np(os.fsencode(first), os.fsencode(other), _RENAME_SWAP)
        else:
            failed = libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    except (OSError, AttributeError, TypeError):
        return False
    if failed and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def check_space(target: Path, needed: int) -> None:
    """Refuse to start where the disk cannot hold what will be written.

    Raises:
        ExportError: fewer than `needed` bytes are free.
    """
    folder = next(folder for folder in (target, *target.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportError(
            f"The disk of {folder} has {free / 1e6:,.0f} MB free; this export needs about {needed / 1e6:,.0f} MB. Free "
            "some space, or give an --output on another disk. Nothing was written."
        )


def disk_full(error: BaseException) -> bool:
    """True where an error, from Python or from TensorFlow, means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
