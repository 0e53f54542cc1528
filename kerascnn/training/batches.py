"""Images in batches, for Keras's `fit`."""

from __future__ import annotations

import keras
import numpy as np

from kerascnn.training.data import AnyImages, Images


class Batches(keras.utils.PyDataset):
    """An endless sequence of batches. Each depends on the seed and its number alone, so a run can begin at any of them.

    An epoch takes every image once, in an order of its own, except those that do not fill a batch.

    Args:
        images: The images to train on.
        batch: Images in a step.
        seed: The seed of the order, and of what a recipe cuts.
        first: Number of the first step, counted from the beginning of the run.
        worker: Number of this worker, which takes its part of each batch. What a recipe cuts from larger photos is
            drawn by each worker for itself.
        workers: How many workers there are; they divide `batch` without remainder.
    """

    def __init__(self, images: AnyImages, batch: int, seed: int, first: int = 0, worker: int = 0, workers: int = 1):
        super().__init__(workers=_threads(images))
        self.images, self.batch, self.seed, self.first = images, batch, seed, first
        self.worker, self.parts = worker, workers
        self.steps = len(images) // batch
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    @property
    def num_batches(self) -> None:
        """Tell Keras that there is no end."""
        return None

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, step = divmod(self.first + index, self.steps)
        known, order = self._order
        if known != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
            self._order = (epoch, order)
        chosen = _part(order[step * self.batch : (step + 1) * self.batch], self.worker, self.parts)
        own = (self.worker,) if self.worker else ()
        return self.images.batch(chosen, np.random.default_rng((self.seed, epoch, step, *own)))


class Validation(keras.utils.PyDataset):
    """Every image once, in order; the last batch may be smaller.

    Args:
        images: The images to validate with.
        replicas: Devices that each batch is divided among; the last few images that do not fill them are left out.
        worker: As for `Batches`.
        workers: As for `Batches`.
        batch: Images in a step, at most; rounded up to fill the devices.
    """

    def __init__(self, images: AnyImages, replicas: int = 1, worker: int = 0, workers: int = 1, batch: int = 250):
        super().__init__(workers=_threads(images))
        self.images, self.worker, self.parts = images, worker, workers
        self.batch = -(-batch // replicas) * replicas
        self.count = len(images) // replicas * replicas

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.arange(index * self.batch, min((index + 1) * self.batch, self.count))
        return self.images.batch(_part(chosen, self.worker, self.parts))


def _threads(images: AnyImages) -> int:
    return 1 if isinstance(images, Images) else 4


def _part(chosen: np.ndarray, worker: int, workers: int) -> np.ndarray:
    each = len(chosen) // workers
    return chosen[worker * each : (worker + 1) * each]
