"""`python -m export verify`: reread the files of an export, compare them with its manifest, and check its signature."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import click

from export import signing
from export.errors import ExportError, RequestError
from export.files import digest_of, size_of
from export.publishing import FROM_HUB, MANIFEST, SIGNATURE, foreign_files
from kerascnn.console import SETTINGS

SAME, ONLY_THERE = "same", "there, no digest on record"
HOLDS, NOT_CHECKED = "holds", "not checked: --key PUBLIC.pem was not given"


@dataclass(frozen=True)
class Checked:
    """What became of one path.

    Attributes:
        path: Relative to the folder.
        kind: What it is.
        bytes: Its size; None where it cannot be read.
        state: What was found, in words.
        passed: Whether it is what the manifest says.
    """

    path: str
    kind: str
    bytes: int | None
    state: str
    passed: bool


@click.command(context_settings=SETTINGS)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUBLIC.pem",
    help=f"Check the signature, {SIGNATURE}, with this public key.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def command(folder: Path, key: Path | None, as_json: bool) -> None:
    """Reread every file of an export in FOLDER and compare size and SHA-256 with its manifest.

    Exit codes: 0 all is as the manifest says; 1 something differs, is missing or is not named, or the signature does
    not hold; 2 FOLDER is no export, or the key cannot be used.
    """
    rows = verify(folder, key)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "files": [asdict(row) for row in rows]}))
    else:
        _print(rows)
    wrong = [f"{row.path}: {row.state}" for row in rows if not row.passed]
    if wrong:
        raise ExportError(
            f"{folder} is not what was exported. {'; '.join(wrong)}. Fetch these files again, or export anew."
        )


def verify(folder: Path, key: Path | None = None) -> list[Checked]:
    """Compare each file of an export with its manifest, and all with its signature.

    Args:
        folder: The folder of the export.
        key: The public key that the signature is checked with, a PEM file; None: it is not checked.

    Returns:
        A row for each artifact, packed copy and other file, and one for the signature. Files within an artifact's
        folder have rows of their own where they differ.

    Raises:
        RequestError: There is no manifest that can be read, or it is none of an export, or the key cannot be used.
    """
    manifest = _read(folder)
    try:
        named, records = _named(manifest), manifest.get("checksums", {})
        rows = [_checked(folder, path, kind, record) for path, (kind, record) in named.items()]
        for path in manifest["files"]:
            within = any(str(parent) in named for parent in PurePosixPath(_inside(path)).parents)
            if path in named:
                continue
            row = _checked(folder, path, "file", records.get(path))
            if not within or not row.passed:
                rows.append(row)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise RequestError(_NO_EXPORT.format(folder / MANIFEST)) from None
    rows += [Checked(path, "file", None, "not named in the manifest", False) for path in _foreign(folder)]
    return [*rows, *_signature(folder, key)]


_NO_EXPORT = "{} is not the manifest of an export. Give a folder that python -m export has written."


def _read(folder: Path) -> Mapping[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"{folder} has no {MANIFEST}, so it is no export. Give a folder that python -m export has written."
        ) from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise RequestError(_NO_EXPORT.format(path)) from None
    if not isinstance(manifest, dict):
        raise RequestError(_NO_EXPORT.format(path))
    return manifest


def _named(manifest: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return what has a digest in the manifest, by its path: artifacts, packed copies and the compressed network."""
    return {_inside(record["path"]): (kind, record) for kind, record in _records(manifest)}


def _records(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for artifact in manifest["artifacts"]:
        yield "artifact", artifact
        if artifact.get("packed"):
            yield "packed copy", artifact["packed"]
    if manifest.get("compression"):
        yield "compressed network", manifest["compression"]


def _inside(path: str) -> str:
    """Return the path if it stays within the folder.

    Raises:
        ValueError: It does not.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(path)
    return path


def _checked(folder: Path, path: str, kind: str, record: Mapping[str, Any] | None) -> Checked:
    """Compare one file or folder with what the manifest has of it: its size first, which costs nothing."""
    file = folder / path
    if not file.exists():
        return Checked(path, kind, None, "missing", False)
    try:
        size = size_of(file)
        if record is None:
            return Checked(path, kind, size, ONLY_THERE, True)
        if size != record["bytes"]:
            return Checked(path, kind, size, f"{size:,} bytes instead of {record['bytes']:,}", False)
        found = digest_of(file)
    except OSError as error:
        return Checked(path, kind, None, f"cannot be read: {error.strerror}", False)
    if found != record["sha256"]:
        return Checked(path, kind, size, f"SHA-256 {found[:8]}… instead of {record['sha256'][:8]}…", False)
    return Checked(path, kind, size, SAME, True)


def _signature(folder: Path, key: Path | None) -> Iterator[Checked]:
    path = folder / SIGNATURE
    size = size_of(path) if path.is_file() else None
    if key is not None:
        wrong = signing.problem(folder, key)
        yield Checked(SIGNATURE, "signature", size, wrong or HOLDS, not wrong)
    elif size is not None:
        yield Checked(SIGNATURE, "signature", size, NOT_CHECKED, True)


def _foreign(folder: Path) -> list[str]:
    """Return what lies in the folder and is not named; links to folders too, which an export never makes.

    What the Hugging Face hub adds to a download is left out.
    """
    links = (path for path in folder.rglob("*") if path.is_symlink() and path.is_dir())
    found = {*foreign_files(folder), *(path.relative_to(folder).as_posix() for path in links)}
    return sorted(path for path in found if not any(PurePosixPath(path).is_relative_to(known) for known in FROM_HUB))


def _print(rows: list[Checked]) -> None:
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("path", "is", "bytes", "found"):
        table.add_column(heading, justify="right" if heading == "bytes" else "left", overflow="fold")
    for row in rows:
        size = "" if row.bytes is None else f"{row.bytes:,}"
        table.add_row(row.path, row.kind, size, row.state, style=None if row.passed else "bold yellow")
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(table)
