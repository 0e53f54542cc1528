"""`python -m export unpack`: from the packed copy of an artifact to the artifact."""

from __future__ import annotations

import lzma
from pathlib import Path

import click

from export.errors import RequestError
from export.packing import SUFFIX, unpack
from kerascnn.console import SETTINGS
from kerascnn.files import replacing

_SUFFIXES = (SUFFIX, ".xz")


@click.command(context_settings=SETTINGS)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="By default, the name without its end.")
def command(file: Path, output: Path | None) -> None:
    """Unpack FILE, a packed copy (.kdz or .xz) of a .tflite file, to the same bytes as before."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise RequestError(
            f"{file} cannot be read: {error.strerror}. Give a packed file, such as NAME.tflite.kdz."
        ) from None
    if file.suffix not in _SUFFIXES and output is None:
        raise RequestError(f"{file.name} does not end in {' or '.join(_SUFFIXES)}. Say where to write: --output FILE.")
    target = file.with_suffix("") if output is None else output
    content = _from_xz(data, file.name) if data[:1] == b"\xfd" else unpack(data, file.name)
    if target.exists() and (not target.is_file() or target.read_bytes() != content):
        raise RequestError(f"{target} is there already, and is something else. Move it away, or give another --output.")
    try:
        with replacing(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise RequestError(
            f"Nothing can be written to {target.parent}: {error.strerror}. Give another --output."
        ) from None
    click.echo(f"{target}: {len(content):,} bytes from {len(data):,}")


def _from_xz(data: bytes, name: str) -> bytes:
    try:
        return lzma.decompress(data)
    except (lzma.LZMAError, EOFError) as error:
        raise RequestError(f"{name} is damaged: {error}. Fetch it again.") from None
