"""Write a configuration folder: whole or not at all, and without losing what its reader changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.errors import RequestError, ServingError
from serving.files import replace_text

RECORD = ".rendered.json"  # checksums of the files as they were written last; a different one means an edit by hand


@dataclass(frozen=True)
class Published:
    """What was done, as paths relative to the folder."""

    written: tuple[str, ...]
    removed: tuple[str, ...]  # files of an earlier run that are no longer needed
    kept: tuple[str, ...]  # the reader's own files that existed already


def publish(
    folder: Path, files: Mapping[str, str], *, own: Collection[str], merged: Collection[str], force: bool
) -> Published:
    """Write `files` into `folder`, and remove what an earlier run wrote and this one does not.

    A new folder appears with one rename. In an existing folder each file is replaced with a rename of its own, because
    containers that have mounted it would not see a new folder.

    Args:
        folder: The configuration folder.
        files: {path relative to the folder: text}.
        own: Files with secrets: written once, for their owner alone, and then the reader's own.
        merged: Files whose new text already takes over what the existing file says.
        force: Replace files that were changed by hand.

    Raises:
        RequestError: `folder` is a file, or a file in it was changed by hand and `force` is false.
        ServingError: The disk does not accept it.
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
    checksums = {path: _checksum(text) for path, text in sorted(files.items()) if path not in own}
    content = {**new, RECORD: json.dumps(checksums, indent=2)}
    try:
        if folder.exists():
            _write(folder, content, own)
            for path in stale:
                (folder / path).unlink()
                for parent in (folder / path).parents:
                    if parent == folder or any(parent.iterdir()):
                        break
                    parent.rmdir()
        else:
            _create(folder, content, own)
    except OSError as error:
        raise ServingError(f"{folder} cannot be written: {error}. Give another folder as --output.") from error
    return Published(tuple(sorted(new)), stale, kept)


def _edited(folder: Path, files: Mapping[str, str], record: Mapping[str, str], free: Collection[str]) -> list[str]:
    """Return the files whose text neither an earlier run nor this one has written."""
    edited = []
    for path in sorted({*files, *record} - set(free)):
        try:
            present = _checksum((folder / path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            present = ""
        if present not in (record.get(path), _checksum(files[path]) if path in files else None):
            edited.append(path)
    return edited


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    # A record that somebody changed must not make this remove files elsewhere.
    return {
        path: str(checksum) for path, checksum in record.items() if ".." not in Path(path).parts and path[:1] != "/"
    }


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _create(folder: Path, files: Mapping[str, str], own: Collection[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        _write(staged, files, own)
        staged.chmod(0o755)  # mkdtemp's folder is for its owner alone, and the containers run as others
        staged.rename(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _write(folder: Path, files: Mapping[str, str], own: Collection[str]) -> None:
    for path, text in files.items():
        replace_text(folder / path, text, mode=0o600 if path in own else 0o644)
