"""What training must not undo: zeros stay zeros, and weights that share a value go on sharing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from export.compression.networks import kernels, members
from export.compression.pruning import Pattern, check, gradually, prune

if TYPE_CHECKING:
    from export.compression.pruning import Sparsity


class KeepStructure(keras.callbacks.Callback):
    """For `model.fit`: after each batch, zeros are zeros again, and shared weights have the mean of their members.

    Works with every optimiser, loss and data set. The mean of the members' steps is the step that their summed gradient
    would make, over their number.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        self._kept = [
            (variable, members(np.asarray(variable, np.float32))) for variable in kernels(self.model).values()
        ]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for variable, (book, indices) in self._kept:
            kernel = np.asarray(variable, np.float32)
            if book is None:
                variable.assign(np.where(indices == 0, 0, kernel))
                continue
            means = np.bincount(indices.ravel(), kernel.ravel(), len(book)) / np.bincount(indices.ravel())
            variable.assign(np.where(book == 0, 0, means).astype(np.float32)[indices])


class PruningSchedule(keras.callbacks.Callback):
    """For `model.fit`: prunes more and more from batch `begin` to batch `end`; what is zero then stays so.

    Args:
        sparsity, pattern, whole: as for `prune`, at the end. The pattern 2:4 is there from batch `begin` on.
        begin, end: numbers of batches, over all epochs.
        every: batches between two steps of the schedule.
    """

    def __init__(
        self,
        sparsity: Sparsity,
        *,
        begin: int,
        end: int,
        every: int = 50,
        pattern: Pattern = "unstructured",
        whole: bool = False,
    ):
        super().__init__()
        self._sparsity, self._pattern, self._whole = sparsity, pattern, whole
        self._begin, self._end, self._every = begin, end, every
        self._batch = 0
        self._masks: list[tuple[Any, np.ndarray]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self._wanted = {
            path.removesuffix("/kernel"): share
            for path, share in check(self.model, self._sparsity, self._pattern).items()
        }
        self._batch = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for variable, mask in self._masks:
            variable.assign(np.asarray(variable) * mask)
        done = min(self._batch, self._end)
        if self._begin <= self._batch <= self._end and (not (done - self._begin) % self._every or done == self._end):
            self._prune(done)
        self._batch += 1

    def on_train_end(self, logs: Any = None) -> None:
        if self._batch <= self._end:  # training was shorter than the schedule
            self._prune(self._end)

    def _prune(self, done: int) -> None:
        now = {name: gradually(share, self._begin, self._end, done) for name, share in self._wanted.items()}
        prune(self.model, now, pattern=self._pattern, whole=self._whole)
        known = kernels(self.model)
        self._masks = [(known[f"{name}/kernel"], np.asarray(known[f"{name}/kernel"]) != 0) for name in now]
