"""What the three command lines share: exit codes, a quiet terminal, sizes, commands that are imported when called.

Exit codes: 0 done; 1 something failed; 2 what was asked for cannot be done as asked; 130 stopped by the user.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import gc
import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import click

SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}
Command = TypeVar("Command", bound=Callable[..., Any])
Errors = tuple[type[Exception], ...]
HTML = (".html", ".htm")
_BACKENDS = {"tensorflow": "export", "jax": "jax", "torch": "torch"}  # backend -> the extra that installs it


def run_command(
    command: click.Command,
    name: str | None = None,
    *,
    refusals: Errors,
    failures: Errors,
    extra: str | None = None,
    stopped: str = "Stopped.",
) -> None:
    """Run a command line; an error is one paragraph on standard error and an exit code.

    Args:
        command: The command, which may return an exit code.
        name: The program's name in its help; by default the name that it was called by.
        refusals: Errors that say why something cannot be done as asked: exit code 2.
        failures: Errors whose message is meant for the user: exit code 1. Any other error is named as unexpected.
        extra: The extra of this package that installs a module which is not found (exit code 2).
        stopped: What is said after Ctrl-C.

    Raises:
        SystemExit: The exit code is not 0.
    """
    # TensorFlow and Keras make objects by the million that live to the end. Looking through them for garbage would take
    # a quarter of the time that they take to import, and two seconds in the end.
    gc.set_threshold(100_000, 50, 1000)
    atexit.register(gc.freeze)
    try:
        code = command.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        _end(f"{error.format_message()} Try --help.", 2)
    except refusals as error:
        _end(str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        _end(stopped, 130)
    except BrokenPipeError:
        sys.stderr.close()  # or Python complains of standard output at its end
        sys.exit(1)
    except Exception as error:
        if not extra and isinstance(error, ModuleNotFoundError) and error.name in _BACKENDS:
            _end(
                f"Keras runs on {error.name} here (KERAS_BACKEND, or its keras.json), which is not installed: pip "
                f"install 'kerascnn[{_BACKENDS[error.name]}]', or choose another of {', '.join(_BACKENDS)}.",
                2,
            )
        if extra and isinstance(error, ModuleNotFoundError):
            _end(f"{error.name} is not installed. It comes with the extra: pip install 'kerascnn[{extra}]'.", 2)
        expected = isinstance(error, failures)
        _end(str(error) if expected else f"An unexpected {type(error).__name__}: {str(error)[:500]}", 1)
    else:
        if code:
            sys.exit(code)


def _end(message: str, code: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called or asked for their own help.

    Attributes:
        lazy: Command -> ("module:attribute", what the listing says of it).
    """

    def __init__(self, lazy: Mapping[str, tuple[str, str]], **settings: Any):
        super().__init__(context_settings=SETTINGS, **settings)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


def options_as(record: type, name: str) -> Callable[[Command], Command]:
    """Give a command one parameter `name`: a `record` (a dataclass) of the options that its fields are named after.

    It is the decorator next to the command.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(**options: Any) -> Any:
            values = {field.name: options.pop(field.name) for field in dataclasses.fields(record)}
            return command(**options, **{name: record(**values)})

        return cast("Command", call)

    return decorate


def input_size_option(help_text: str) -> Callable[[Command], Command]:
    """Make the option `--input-size N|HxW`; the command gets (height, width) in pixels, or None."""
    return click.option("--input-size", metavar="N|HxW", callback=_parse_size, help=help_text)


def _parse_size(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() and int(side) for side in sides):
        raise click.UsageError(
            f"{param.opts[0]} is one number or HEIGHTxWIDTH, such as 224 or 224x320; it is {text!r}."
        )
    return int(sides[0]), int(sides[-1])


def parse_time(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Read a time such as 90s, 30m or 2h; in seconds."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise click.UsageError(f"{param.opts[0]} is a time such as 600, 90s, 30m or 2h; it is {text!r}.")
    return seconds


def check_file(path: Path, option: str, suffixes: tuple[str, ...]) -> None:
    """Refuse before any work a file that cannot be written, or whose name ends otherwise.

    Raises:
        ValueError: It is one of these.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{option} writes a file whose name ends in {suffixes[0]}; it is {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.")


@contextmanager
def quiet(log: Path | None = None) -> Iterator[IO[str]]:
    """Keep what TensorFlow and its converters say, much of it from C++, away from the terminal.

    Standard error of the whole process goes to the file `log`, or nowhere.

    Yields:
        A stream to the real standard error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    real, target = os.dup(2), os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND)
    try:
        os.dup2(target, 2)
        with os.fdopen(os.dup(real), "w", buffering=1) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            yield stream
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
        os.close(target)


@contextmanager
def quiet_with_log(prefix: str) -> Iterator[tuple[IO[str], Path]]:
    """Do as `quiet`, and keep what was said in a log where an error passes through.

    Yields:
        A stream to the real standard error, and the path of the log.
    """
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".log")
    os.close(handle)
    log, failed = Path(name), True
    try:
        with quiet(log) as stream:
            yield stream, log
        failed = False
    finally:
        if not failed or log.stat().st_size == 0:
            log.unlink()
