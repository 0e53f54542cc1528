"""Images in batches, for Keras's `fit`."""

from __future__ import annotations

import keras
import numpy as np

from kerascnn.training.data import AnyImages, Images


class Batches(keras.utils.PyDataset):
    """Batches without end, each a function of the seed and its number alone, so that a run can begin at any of them.

    An epoch takes every image once, in an order of its own, but for those that do not fill a batch.

    Args:
        images: to train on.
        batch: images in a step.
        seed: of the order, and of what a recipe cuts.
        first: number of the first step, counted from the run's beginning.
    """

    def __init__(self, images: AnyImages, batch: int, seed: int, first: int = 0):
        super().__init__(workers=1 if isinstance(images, Images) else 4)
        self.images, self.batch, self.seed, self.first = images, batch, seed, first
        self.steps = len(images) // batch
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    @property
    def num_batches(self) -> None:
        return None

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, step = divmod(self.first + index, self.steps)
        known, order = self._order
        if known != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
            self._order = (epoch, order)
        chosen = order[step * self.batch : (step + 1) * self.batch]
        return self.images.batch(chosen, np.random.default_rng((self.seed, epoch, step)))


class Validation(keras.utils.PyDataset):
    """Every image once, in order; the last batch may be smaller."""

    def __init__(self, images: AnyImages, batch: int = 250):
        super().__init__(workers=1 if isinstance(images, Images) else 4)
        self.images, self.batch = images, batch

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.arange(index * self.batch, min((index + 1) * self.batch, len(self.images)))
        return self.images.batch(chosen)
