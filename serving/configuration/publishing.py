"""Write a configuration without ever leaving half of one, and without losing what a reader has changed in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import RequestError, ServingError

RECORD = ".rendered.json"  # the checksums of what was written last, by which a change is seen


@dataclass(frozen=True)
class Published:
    """Paths relative to the folder. kept: the reader's own files, which were there already."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def publish(
    folder: Path, files: Mapping[str, str], *, own: Collection[str], merged: Collection[str], force: bool
) -> Published:
    """Write `files` into `folder`, and remove those that an earlier run wrote and that are no longer among them.

    own: files that are written once and then belong to the reader; secrets, so that nobody else may read them.
    merged: files whose content was already taken over from those that are there.
    A new folder appears with one rename. In one that is there each file is replaced with a rename: containers have
    its folders mounted and would not see a new one.

    Raises:
        RequestError: `folder` is a file, or a file in it was changed since it was written and `force` is false.
        ServingError: the disk does not take it.
    """
    if file := next((path for path in (folder, *folder.parents) if path.is_file()), None):
        raise RequestError(f"{file} is a file. Give a folder as --output.")
    record = _read_record(folder)
    edited = _edited(folder, files, record, {*own, *merged})
    if edited and not force:
        raise RequestError(
            f"These files in {folder} were changed by hand since they were written: {', '.join(edited)}. Keep them and "
            "give another --output, or write over them with --force."
        )
    kept = tuple(sorted(path for path in own if path in files and (folder / path).exists()))
    new = {path: text for path, text in files.items() if path not in kept}
    stale = tuple(sorted(path for path in record if path not in files and (folder / path).is_file()))
    new[RECORD] = json.dumps(
        {path: _checksum(text) for path, text in sorted(files.items()) if path not in own}, indent=2
    )
    try:
        if folder.exists():
            for path, text in new.items():
                _replace(folder / path, text, private=path in own)
            for path in stale:
                (folder / path).unlink()
        else:
            _create(folder, new, own)
    except OSError as error:
        raise ServingError(f"{folder} cannot be written: {error}. Give another folder as --output.") from error
    return Published(tuple(sorted(path for path in new if path != RECORD)), stale, kept)


def _edited(folder: Path, files: Mapping[str, str], record: Mapping[str, str], free: Collection[str]) -> list[str]:
    """Files that neither an earlier run nor this one would have written like this."""
    edited = []
    for path in sorted({*files, *record} - set(free)):
        try:
            there = _checksum((folder / path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            there = ""
        if there not in (record.get(path), _checksum(files[path]) if path in files else None):
            edited.append(path)
    return edited


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    # A record that was tampered with must not make this remove files elsewhere.
    return {
        path: str(checksum) for path, checksum in record.items() if ".." not in Path(path).parts and path[:1] != "/"
    }


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _create(folder: Path, files: Mapping[str, str], own: Collection[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        for path, text in files.items():
            _replace(staged / path, text, private=path in own)
        staged.chmod(0o755)  # mkdtemp's folder is for its owner alone, and the containers run as others
        staged.rename(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _replace(path: Path, text: str, *, private: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o600 if private else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
