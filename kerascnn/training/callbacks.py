"""What Keras's own callbacks lack: checkpoints within an epoch, an end in time, and going on where a run ended."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerascnn.training import checkpoints, distribution
from kerascnn.training.distribution import ALONE, Cluster

PLATEAU = ("best", "wait", "cooldown_counter")  # what Keras's ReduceLROnPlateau remembers


class Keeper(keras.callbacks.Callback):
    """Writes checkpoints, ends a run whose time is over, and goes on where an earlier one ended.

    It comes after the callbacks that change the learning rate. A checkpoint is written after each epoch, and within
    one when `every` seconds have passed.

    Args:
        folder: of the checkpoint.
        facts: what the run is; kept in the checkpoint.
        steps: in an epoch.
        epochs: of the run.
        max_time: seconds after which this run ends, in the middle of an epoch if need be; None for no limit.
        every: seconds between two checkpoints within an epoch.
        plateau: the callback that lowers the learning rate at plateaus, whose memory belongs to the checkpoint.
        workers: of which the chief writes, and says when the time is over.
    """

    def __init__(
        self,
        folder: Path,
        facts: Mapping[str, Any],
        steps: int,
        epochs: int,
        max_time: float | None = None,
        every: float = 300.0,
        plateau: keras.callbacks.ReduceLROnPlateau | None = None,
        workers: Cluster = ALONE,
    ):
        super().__init__()
        self.path = folder / checkpoints.NAME
        self.facts, self.steps, self.epochs, self.max_time, self.every = dict(facts), steps, epochs, max_time, every
        self.plateau, self.workers = plateau, workers
        self.step, self.before = 0, 0.0
        self.out_of_time = False
        self.diverged: tuple[int, int] | None = None
        self._state: dict[str, Any] | None = None
        self._memory: dict[str, Any] = {}
        self._started = self._saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the folder's checkpoint."""
        state = checkpoints.read_state(self.path)
        self.step, self.before, self._state = state["step"], state["seconds"], state

    @property
    def seconds(self) -> float:
        """How long the run has taken so far, with the earlier parts of it."""
        return self.before + time.monotonic() - self._started

    def on_train_begin(self, logs: Any = None) -> None:
        self._remember(self._memory)  # which Keras has just reset

    def on_train_end(self, logs: Any = None) -> None:
        self._memory = self._plateau_memory()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._state is None:
            return
        checkpoints.restore(self.path, self.model)  # here, because Keras resets the metrics before an epoch
        if self.step % self.steps == 0:
            self.model.reset_metrics()  # those of a checkpoint after an epoch are of its validation
        self._remember(self._state["plateau"])
        self._state = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.diverged = divmod(self.step - 1, self.steps)
            self.model.stop_training = True
        elif self._time_is_over():
            if self.step % self.steps:
                self.out_of_time = self.model.stop_training = True
                self.save()
        elif time.monotonic() - self._saved > self.every and self.step % self.steps:
            self.save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.diverged or self.out_of_time:
            return
        self.save()
        if epoch + 1 < self.epochs and self._time_is_over():
            self.out_of_time = self.model.stop_training = True

    def _time_is_over(self) -> bool:
        if self.max_time is None:
            return False
        return distribution.chiefs(self.workers, time.monotonic() - self._started > self.max_time)

    def save(self) -> None:
        """Write a checkpoint, if this is the chief.

        Raises:
            OSError: it could not be written; the last one is still there.
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
        return {name: getattr(self.plateau, name) for name in PLATEAU} if self.plateau else {}

    def _remember(self, memory: Mapping[str, Any]) -> None:
        for name, value in memory.items():
            setattr(self.plateau, name, value)


class Row(keras.callbacks.Callback):
    """Adds what a row of the history has beside Keras's numbers: the learning rate and the time."""

    def __init__(self, keeper: Keeper):
        super().__init__()
        self.keeper = keeper

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            logs["seconds"] = round(self.keeper.seconds, 1)


class History(keras.callbacks.CSVLogger):
    """Keras's CSVLogger for a run that may go on: rows of epochs that will be trained again are taken out first."""

    def __init__(self, path: Path, keeper: Keeper):
        self.keeper, self._first = keeper, keeper.step // keeper.steps
        if self._first and path.exists():
            rows = [row for row in read_history(path) if row["epoch"] < self._first]
            partial = path.with_name(f".{path.name}")
            with partial.open("w", newline="") as file:
                if rows:
                    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
            partial.replace(path)
        super().__init__(str(path), append=self._first > 0)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.keeper.out_of_time or self.keeper.diverged:
            return
        try:
            super().on_epoch_end(epoch, logs)
        except OSError as error:
            raise OSError(
                f"{self.filename} could not be written ({error.strerror or error}). Make room and run the same command "
                "again: it goes on from the last checkpoint."
            ) from error

    def on_train_end(self, logs: Any = None) -> None:
        super().on_train_end(logs)
        self.append = True


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a `history.csv`; epochs count from 0."""
    with path.open(newline="") as file:
        return [
            {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
