"""Drop-path: the joins of a fractal network, and which inputs take part (Larsson et al. 2016, arXiv:1605.07648).

At inference every join is the mean of all its inputs, so that exported files hold the full network.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

Mode = Literal["batch", "row"]


@keras.saving.register_keras_serializable(package="kerascnn")
class GlobalDropPath(keras.layers.Layer):
    """Which column is alone in this training step, the same for all joins of a network.

    Input: the images, of which only the number counts; output: (batch, columns), or (1, columns) where all images
    share it. A row has a one at its column, or zeros alone where the joins draw by themselves, as always at inference.

    Args:
        columns: of the network, the shallowest first.
        rate: share of the steps (or images) with one column, from 0 to 1.
        mode: "batch" draws once a step for all images, "row" for each.
        seed: of the draws; None takes one from `keras.utils.set_random_seed`.

    Raises:
        ValueError: an argument is not as said.
    """

    def __init__(self, columns: int, rate: float = 0.5, mode: Mode = "batch", seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        check(rate, mode, "global_drop_path", 1)
        self.columns, self.rate, self.mode, self.seed = columns, rate, mode, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply it."""
        if not training:
            return ops.zeros((1, self.columns))
        # one number says both whether there is a single column, and which
        rows = ops.shape(inputs)[0] if self.mode == "row" else 1
        draw = keras.random.uniform((rows, 1), dtype="float32", seed=self.seed_generator)
        column = ops.floor(draw * (self.columns / self.rate)) if self.rate else draw + self.columns
        return ops.cast(ops.equal(column, ops.arange(self.columns, dtype="float32")), "float32")

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        """Return the shape and type of the output."""
        return keras.KerasTensor((None, self.columns), "float32")

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        own = {"columns": self.columns, "rate": self.rate, "mode": self.mode, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kerascnn")
class FractalJoin(keras.layers.Layer):
    """The mean of the columns that meet here; in training, of those that survive.

    Input: [map, ..., choice]: maps of the same shape (batch, height, width, channels), that of the deepest column last,
    and a `GlobalDropPath`'s output. Output: the maps' shape.

    Where the choice is one column, the output is that column's map; a join that this column does not reach, and whose
    output is then used by none, keeps all its inputs. Elsewhere each input is dropped with probability `rate`, but for
    one if all would be.

    Args:
        rate: from 0 (nothing is dropped) to less than 1.
        mode: "batch" draws once a step for all images, "row" for each.
        seed: of the draws; None takes one from `keras.utils.set_random_seed`.

    Raises:
        ValueError: an argument is not as said.
    """

    def __init__(self, rate: float = 0.15, mode: Mode = "batch", seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        check(rate, mode, "drop_path")
        self.rate, self.mode, self.seed = rate, mode, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply it."""
        *maps, choice = inputs
        if not training:
            return _sum(maps) / len(maps)
        survivors = self.survivors(choice, len(maps))
        weights = ops.cast(survivors / ops.sum(survivors, axis=1, keepdims=True), maps[0].dtype)
        return _sum([x * weights[:, i, None, None, None] for i, x in enumerate(maps)])

    def survivors(self, choice: Any, count: int) -> Any:
        """(rows, count), 1 for the inputs that take part in this training step and 0 for the others."""
        rows = ops.shape(choice)[0]
        draw = keras.random.uniform(
            (rows if self.mode == "row" else 1, count), dtype="float32", seed=self.seed_generator
        )
        # All below `rate` is dropped, but for the highest: where all would be, each is the highest equally often.
        local = draw >= ops.minimum(self.rate, ops.max(draw, axis=1, keepdims=True))
        choice = ops.cast(choice, "float32")  # mixed precision
        single = ops.sum(choice, axis=1, keepdims=True) > 0
        here = choice[:, -count:]
        reached = ops.sum(here, axis=1, keepdims=True) > 0
        return ops.where(single, ops.where(reached, here, 1.0), ops.cast(local, "float32"))

    def compute_output_spec(self, inputs: Any, training: bool = False) -> keras.KerasTensor:
        """Return the shape and type of the output."""
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "rate": self.rate, "mode": self.mode, "seed": self.seed}


def _sum(maps: list[Any]) -> Any:
    total = maps[0]
    for x in maps[1:]:
        total = total + x
    return total


def check(rate: Any, mode: Any, name: str, most: float | None = None) -> None:
    """Refuse a rate outside [0, 1), or [0, most], and a mode that there is not."""
    number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
    if not number or rate < 0 or (rate >= 1 if most is None else rate > most):
        upper = "less than 1" if most is None else f"at most {most}"
        raise ValueError(f"{name} is a share, from 0 to {upper}; it is {rate!r}.")
    if mode not in ("batch", "row"):
        raise ValueError(
            f'Paths are dropped for a whole batch ("batch") or for each image of it ("row"); the mode is {mode!r}.'
        )
