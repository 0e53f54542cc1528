"""What commands that report figures share: options for tables and pictures, and a progress bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import click

from kerascnn.console import HTML, Command, check_file

Style = Literal["json", "csv"] | None  # None: a table
FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True)
class Pictures:
    """The files that a picture is written to."""

    png: Path | None
    svg: Path | None

    @property
    def paths(self) -> list[Path]:
        """Those that were asked for."""
        return [path for path in (self.png, self.svg) if path is not None]


def check_picture(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuse before any work a picture or page that cannot be written."""
    if path is None:
        return None
    check_file(path, param.opts[0], HTML if param.name == "html" else (f".{param.name}",))
    if param.name == "html":
        from kerascnn.analysis.pages import rendering

        rendering.check_installed()
    else:
        from kerascnn.analysis import plots

        plots.figure(1, 1)  # which fails without matplotlib
    return path


def style_options(command: Command) -> Command:
    """Give a command `--csv` and `--json`."""
    for kind in ("csv", "json"):
        text = f"Print {kind.upper()} instead of a table."
        command = click.option(f"--{kind}", "style", flag_value=kind, default=None, help=text)(command)
    return command


def picture_options(command: Command) -> Command:
    """Give a command `--png` and `--svg`."""
    for kind in ("svg", "png"):
        text = f"Draw a {kind.upper()}."
        command = click.option(f"--{kind}", type=FILE, metavar="FILE", callback=check_picture, help=text)(command)
    return command


@contextlib.contextmanager
def progress(what: str, stream: IO[str] | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show on standard error how much is done and how long the rest takes, where it is a terminal.

    Args:
        what: What is being done.
        stream: The real standard error, where that of the process is quiet.

    Yields:
        What is told a name, how much is done, and how much there is.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=stream, stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    text = TextColumn("{task.description}")
    with Progress(text, *columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)  # which is not known yet
        yield lambda name, done, total: bar.update(task, completed=done, total=total, description=f"{what} {name}")


def announce(*paths: Path | None) -> None:
    """Say on standard error which files were written."""
    for path in filter(None, paths):
        print(f"Written: {path}", file=sys.stderr)
