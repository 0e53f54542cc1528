"""What the user sees while an export runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class Progress(Protocol):
    """Told of each step and of what must not be missed."""

    def step(self, text: str) -> None:
        """A new step begins."""

    def note(self, text: str) -> None:
        """Something that stays on the screen, such as what is replaced."""

    def warn(self, text: str) -> None:
        """Something that the user must see, such as weights that are missing."""


class Silent:
    """For calls from Python: steps are not shown, warnings are Python warnings."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Give a Python warning."""
        import warnings

        warnings.warn(text, stacklevel=3)


class Plain:
    """Lines with the seconds since the start, for logs and pipes."""

    def __init__(self, write: Callable[[str], None]):
        self._write, self._start = write, time.monotonic()

    def step(self, text: str) -> None:
        """Write a line."""
        self._write(f"[{time.monotonic() - self._start:6.1f} s] {text}")

    def note(self, text: str) -> None:
        """Write a line."""
        self.step(text)

    def warn(self, text: str) -> None:
        """Write a line that says it is a warning."""
        self._write(f"WARNING: {text}")


class Live:
    """A line with a spinner and the seconds that the current step has taken; warnings stay on the screen."""

    def __init__(self, console: Console):
        from rich.progress import Progress as Bar
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = console
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self.bar = Bar(*columns, console=console, transient=True)
        self._task: int | None = None
        self._lock = threading.Lock()  # artifacts are verified while others are written

    def step(self, text: str) -> None:
        """Replace the line."""
        with self._lock:
            if self._task is not None:
                self.bar.remove_task(self._task)  # type: ignore[arg-type]
            self._task = self.bar.add_task(text, total=None)

    def note(self, text: str) -> None:
        """Print it above the line."""
        self._console.print(text)

    def warn(self, text: str) -> None:
        """Print a warning above the line."""
        self._console.print(f"WARNING: {text}", style="bold yellow")


@contextmanager
def progress_on(stream: IO[str]) -> Iterator[Progress]:
    """The display for a stream: live where it is a terminal, plain lines where it is not."""
    if not stream.isatty():
        yield Plain(lambda line: print(line, file=stream, flush=True))
        return
    from rich.console import Console

    live = Live(Console(file=stream))
    with live.bar:
        yield live
