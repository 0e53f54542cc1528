"""What Keras's own callbacks lack: checkpoints within an epoch, a limit of time, and continuing a stopped run."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerascnn.files import replacing
from kerascnn.training import checkpoints, distribution
from kerascnn.training.distribution import ALONE, Cluster
from kerascnn.training.runs import Run

PLATEAU = ("best", "wait", "cooldown_counter")  # what Keras's ReduceLROnPlateau remembers


class Keeper(keras.callbacks.Callback):
    """Writes checkpoints, stops a run whose time is over, and continues from an earlier checkpoint.

    It comes after the callbacks that change the learning rate. A checkpoint is written after each epoch, and within
    one when `run.every` seconds have passed.

    Args:
        run: What is trained.
        facts: What the run is; kept in the checkpoint.
        steps: Steps in an epoch.
        plateau: A callback whose memory belongs to the checkpoint: the one that lowers the learning rate at plateaus,
            or one that names its attributes as `remembered`.
        workers: The workers, of which the chief writes, and says when the time is over.

    Attributes:
        path: The checkpoint.
        step: Steps of the run so far.
        out_of_time: Whether the run was stopped by its limit of time.
    """

    def __init__(
        self,
        run: Run,
        facts: Mapping[str, Any],
        steps: int,
        plateau: keras.callbacks.Callback | None = None,
        workers: Cluster = ALONE,
    ):
        super().__init__()
        self.path = run.output / checkpoints.NAME
        self.run, self.facts, self.steps, self.plateau, self.workers = run, dict(facts), steps, plateau, workers
        self.step = 0
        self.out_of_time = self.diverged = False
        self._seconds_before = 0.0
        self._state: dict[str, Any] | None = None
        self._memory: dict[str, Any] = {}
        self._started = self._saved = time.monotonic()

    def resume(self) -> None:
        """Continue from the folder's checkpoint."""
        state = checkpoints.read_state(self.path)
        self.step, self._seconds_before, self._state = state["step"], state["seconds"], state

    def forget(self) -> None:
        """Leave the checkpoint that `resume` found: what is trained from here on is compiled anew."""
        self._state, self._memory = None, {}

    @property
    def seconds(self) -> float:
        """How long the run has taken so far, with its earlier parts."""
        return self._seconds_before + time.monotonic() - self._started

    def check_loss(self) -> None:
        """Refuse to go on with a loss that is not finite.

        Raises:
            FloatingPointError: The loss of the last step was infinite or NaN.
        """
        if not self.diverged:
            return
        epoch, step = divmod(self.step - 1, self.steps)
        kept = "the checkpoint is of before" if self.path.exists() else "there is no checkpoint yet"
        rate = self.run.recipe.rate
        raise FloatingPointError(
            f"The loss is no longer a finite number, in step {step + 1} of epoch {epoch + 1}. A lower learning rate "
            f"helps most (--rate {rate / 10:g} instead of {rate:g}), in another --output; {kept}."
        )

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the plateau callback its memory back."""
        self._remember(self._memory)  # which Keras has just reset

    def on_train_end(self, logs: Any = None) -> None:
        """Keep the plateau callback's memory for the next call of `fit`."""
        self._memory = self._plateau_memory()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restore the checkpoint that `resume` found."""
        if self._state is None:
            return
        checkpoints.restore(self.path, self.model)  # here, because Keras resets the metrics before an epoch
        if self.step % self.steps == 0:
            self.model.reset_metrics()  # a checkpoint after an epoch holds those of its validation
        self._remember(self._state["plateau"])
        self._state = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step; stop where the loss is not finite or the time is over; write a checkpoint when one is due."""
        self.step += 1
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.diverged = self.model.stop_training = True
        elif self._time_is_over():
            if self.step % self.steps:
                self.out_of_time = self.model.stop_training = True
                self.save()
        elif time.monotonic() - self._saved > self.run.every and self.step % self.steps:
            self.save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a checkpoint, and stop where the time is over."""
        if self.diverged or self.out_of_time:
            return
        self.save()
        if epoch + 1 < self.run.recipe.epochs and self._time_is_over():
            self.out_of_time = self.model.stop_training = True

    def _time_is_over(self) -> bool:
        limit = self.run.max_time
        return limit is not None and distribution.chiefs(self.workers, time.monotonic() - self._started > limit)

    def save(self) -> None:
        """Write a checkpoint if this is the chief.

        Raises:
            OSError: It could not be written; the last one is still there.
        """
        if not self.workers.chief:
            return
        state = {**self.facts, "step": self.step, "seconds": self.seconds, "plateau": self._plateau_memory()}
        try:
            checkpoints.save(self.path, self.model, state)
        except OSError as error:
            kept = "The one before it is untouched: make room" if self.path.exists() else "Make room"
            raise OSError(
                f"The checkpoint {self.path} could not be written ({error.strerror or error}). {kept} and run the same "
                "command again."
            ) from error
        self._saved = time.monotonic()

    def _plateau_memory(self) -> dict[str, Any]:
        names = getattr(self.plateau, "remembered", PLATEAU)
        return {name: getattr(self.plateau, name) for name in names} if self.plateau else {}

    def _remember(self, memory: Mapping[str, Any]) -> None:
        for name, value in memory.items():
            setattr(self.plateau, name, value)


class Row(keras.callbacks.Callback):
    """Adds the learning rate and the time to Keras's numbers of an epoch."""

    def __init__(self, keeper: Keeper):
        super().__init__()
        self.keeper = keeper

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add both."""
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            logs["seconds"] = round(self.keeper.seconds, 1)


class History(keras.callbacks.CSVLogger):
    """Keras's CSVLogger for a continued run: rows of epochs that will be trained again are removed first."""

    def __init__(self, path: Path, keeper: Keeper):
        self.keeper = keeper
        first = keeper.step // keeper.steps
        if first and path.exists():
            rows = [row for row in read_history(path) if row["epoch"] < first]
            with replacing(path) as partial, partial.open("w", newline="") as file:
                if rows:
                    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
        super().__init__(str(path), append=first > 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the row of an epoch that was finished.

        Raises:
            OSError: It could not be written.
        """
        if self.keeper.out_of_time or self.keeper.diverged:
            return
        try:
            super().on_epoch_end(epoch, logs)
        except OSError as error:
            raise OSError(
                f"{self.filename} could not be written ({error.strerror or error}). Make room and run the same command "
                "again: it continues from the last checkpoint."
            ) from error

    def on_train_end(self, logs: Any = None) -> None:
        """Close the file; the next call of `fit` appends to it."""
        super().on_train_end(logs)
        self.append = True

    def close(self) -> None:
        """Close the file after a call of `fit` that ended in an error."""
        if getattr(self, "csv_file", None) is not None:
            self.csv_file.close()


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the rows of a `history.csv`; epochs count from 0."""
    with path.open(newline="") as file:
        return [
            {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
