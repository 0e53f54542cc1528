"""The progress of a training on the terminal."""

from __future__ import annotations

import time
from typing import IO, Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBar(keras.callbacks.Callback):
    """Prints a line for each epoch, and on a terminal a bar over the whole run with the accuracy and the time left.

    Args:
        epochs: Epochs of the run.
        stream: Where to; standard error by default.
    """

    def __init__(self, epochs: int, stream: IO[str] | None = None):
        super().__init__()
        console = Console(file=stream, stderr=True, highlight=False)
        self.epochs = epochs
        self._shown = 0.0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.progress.add_task("building", total=None, numbers="")

    def __enter__(self) -> ProgressBar:
        self.progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Name the epoch."""
        self._epoch = epoch
        self.progress.update(self.task, description=f"epoch {epoch + 1} of {self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the bar, twice a second at most."""
        if time.monotonic() - self._shown < 0.5:
            return
        self._shown = time.monotonic()
        steps = self.params["steps"]
        numbers = f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.1%}" if logs else ""
        done = self._epoch * steps + batch + 1
        self.progress.update(self.task, total=self.epochs * steps, completed=done, numbers=numbers)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Print the line of the epoch."""
        if logs and not self.model.stop_training:
            self.progress.console.print(
                f"epoch {epoch + 1:>3}  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:7.2%}  "
                f"validation {logs.get('val_accuracy', float('nan')):7.2%}  rate {logs['learning_rate']:.5f}  "
                f"{logs['seconds']:,.0f} s",
                soft_wrap=True,
            )
