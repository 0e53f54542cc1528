"""Train a network by a recipe, in a folder that another call goes on in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras

from kerascnn import registry
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training import checkpoints, distribution, schedules
from kerascnn.training.batches import Batches, Validation
from kerascnn.training.callbacks import History, Keeper, Row, read_history
from kerascnn.training.data import AnyImages, open_data
from kerascnn.training.distribution import Cluster
from kerascnn.training.networks import (
    accuracy_of,
    build,
    compile_model,
    finished_model,
    first_weights,
    preprocessing_of,
)
from kerascnn.training.recipes import Recipe

HISTORY = "history.csv"


@dataclass(frozen=True)
class Run:
    """What is trained, on what and how.

    model: name of the variant.
    data, validation: see `kerascnn.training.data.open_data`.
    output: folder of the checkpoint, the history and the results; made where it does not exist.
    input_size: side of the input in pixels, the recipe's by default.
    weights: that the network begins with: a name known to it, or the path of a file; random ones by default.
    seed: of the first weights, the order of the images and the augmentation.
    precision: of what is computed; weights are kept in float32.
    jit: compile the step with XLA; by default on JAX alone, because TensorFlow's own kernels are faster on the CPU and
        its XLA has none for the layers that move pixels.
    tensorboard: write logs for TensorBoard to the folder too.
    half: round the finished weights to float16, which halves their file.
    every: seconds between two checkpoints within an epoch; there is one after each epoch anyway.
    """

    model: str
    recipe: Recipe
    data: Path
    output: Path
    validation: Path | None = None
    input_size: int | None = None
    weights: str | None = None
    seed: int = 0
    max_time: float | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    jit: bool | None = None
    tensorboard: bool = False
    half: bool = False
    every: float = 300.0

    def facts(self, train: AnyImages) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {
            "model": self.model,
            "recipe": _plain(asdict(self.recipe)),
            "data": self.data.name,
            "images": len(train),
            "classes": list(train.classes),
            "input_size": self.input_size,
            "weights": self.weights and Path(self.weights).name,
            "seed": self.seed,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Result:
    """What came of a run.

    model: the network as it is used: without augmentation, auxiliary classifiers and dropped paths.
    preprocessing: how photos are prepared for it.
    history: a row an epoch; empty on other workers than the first.
    finished: False where its time was over first.
    skipped: (name, reason) of files that were no readable images.
    """

    model: keras.Model
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    history: Sequence[Mapping[str, float]]
    seconds: float
    finished: bool
    accuracy: float
    skipped: Sequence[tuple[str, str]]
    images: tuple[int, int]


def train(run: Run, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Result:
    """Train, or go on where an earlier call in the same folder ended.

    Over several workers (see `kerascnn.training.distribution`), each makes the same call.

    Args:
        run: what and how.
        callbacks: more of Keras's callbacks, for one's own progress bar, say.

    Raises:
        ValueError: the recipe, the network and the data do not fit each other, or the folder holds another run.
        FloatingPointError: the loss is no number any more.
        OSError: a checkpoint could not be written, and the one before it is untouched; or another worker is gone.
    """
    workers = check(run)
    size = side(run)
    preprocessing = preprocessing_of(run.model, size, run.weights)
    train_images, test = open_data(run.data, run.validation, preprocessing, run.recipe.augmentation)
    if len(train_images) < run.recipe.batch:
        raise ValueError(
            f"A batch of {run.recipe.batch} is larger than the training set of {len(train_images):,} images. Give "
            f"--batch {max(1, len(train_images) // 4)}, say."
        )
    _check_weights(run, train_images.classes)
    distribution.connect(workers)
    distribution.check_replicas(distribution.replicas(), run.recipe.batch, len(test))
    run.output.mkdir(parents=True, exist_ok=True)
    facts = run.facts(train_images)
    steps = len(train_images) // run.recipe.batch
    with distribution.distributed(workers):
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(run.precision if run.precision == "float32" else f"mixed_{run.precision}")
        try:
            keras.utils.set_random_seed(run.seed)
            model = build(run, preprocessing, len(train_images.classes), size)
            compile_model(model, run, steps)
        finally:
            keras.config.set_dtype_policy(policy)
        keeper = _fit(model, run, train_images, test, facts, callbacks, workers)
    final = finished_model(model, run, len(train_images.classes), size)
    history = read_history(run.output / HISTORY) if workers.chief and (run.output / HISTORY).exists() else []
    return Result(
        final,
        preprocessing,
        train_images.classes,
        history,
        keeper.seconds,
        not keeper.out_of_time,
        accuracy_of(final, test, preprocessing),
        [*train_images.skipped, *test.skipped],
        (len(train_images), len(test)),
    )


def check(run: Run) -> Cluster:
    """Refuse what can be refused without looking at the data; the workers that train.

    Raises:
        ValueError: there is no such network or no such weights, the recipe is for another input size, or the workers
            are not as they must be.
    """
    row = registry.variant(run.model)
    size = side(run)
    if size != run.recipe.input_size and not run.recipe.any_size:
        raise ValueError(
            f"The recipe {run.recipe.name} is for images of {run.recipe.input_size}x{run.recipe.input_size} pixels, "
            f"{run.model} takes {size}x{size}. Take another recipe, or --input-size {run.recipe.input_size} where the "
            f"network can take it (from {row.min_size} on)."
        )
    if size < row.min_size:
        raise ValueError(f"{run.model} takes images of {row.min_size} pixels a side at least; the size is {size}.")
    first_weights(run.model, run.weights)
    workers = distribution.cluster()
    distribution.check(workers)
    return workers


def side(run: Run) -> int:
    """Side of the network's input in pixels."""
    return run.input_size or registry.variant(run.model).input_shape[0]


def _fit(
    model: keras.Model,
    run: Run,
    images: AnyImages,
    test: AnyImages,
    facts: Mapping[str, Any],
    callbacks: Sequence[keras.callbacks.Callback],
    workers: Cluster,
) -> Keeper:
    steps, epochs = len(images) // run.recipe.batch, run.recipe.epochs
    plateau = schedules.plateau(run.recipe)
    keeper = Keeper(run.output, facts, steps, epochs, run.max_time, run.every, plateau, workers)
    if keeper.path.exists():
        _check_same(keeper.path, facts)
        keeper.resume()
    distribution.check_same(workers, {**facts, "ends": run.max_time is not None}, keeper.step)
    if keeper.step:
        checkpoints.restore(keeper.path, model)
    part = {"worker": workers.index, "workers": workers.count}
    every: list[keras.callbacks.Callback] = [
        *([plateau] if plateau else []),
        Row(keeper),
        *callbacks,
        *(_written(run, keeper) if workers.chief else []),
        keeper,
    ]
    epoch, within = divmod(keeper.step, steps)
    # an epoch that was broken off is finished in a fit of its own, which has fewer steps
    parts = [(epoch, epoch + 1, steps - within)] if within else []
    for begin, end, length in [*parts, (epoch + len(parts), epochs, steps)]:
        if begin >= end or keeper.out_of_time:
            continue
        model.fit(
            Batches(images, run.recipe.batch, run.seed, keeper.step, **part),
            epochs=end,
            initial_epoch=begin,
            steps_per_epoch=length,
            validation_data=Validation(test, distribution.replicas(), **part),
            callbacks=every,
            verbose=0,
            shuffle=False,
        )
        if keeper.diverged:
            epoch, step = keeper.diverged
            kept = "the checkpoint is of before" if keeper.path.exists() else "there is no checkpoint yet"
            raise FloatingPointError(
                f"The loss is no finite number any more, in step {step + 1} of epoch {epoch + 1}. A lower learning "
                f"rate helps most (--rate {run.recipe.rate / 10:g} instead of {run.recipe.rate:g}), in another "
                f"--output; {kept}."
            )
    return keeper


def _written(run: Run, keeper: Keeper) -> list[keras.callbacks.Callback]:
    logs = [keras.callbacks.TensorBoard(str(run.output / "tensorboard"))] if run.tensorboard else []
    return [*logs, History(run.output / HISTORY, keeper)]


def _check_weights(run: Run, classes: Sequence[str]) -> None:
    record = first_weights(run.model, run.weights)
    if record is not None and record.classes != len(classes):
        raise ValueError(
            f"The weights {run.weights} are for {record.classes:,} classes, and {run.data} has {len(classes):,}. Leave "
            "--weights out, or give such a network a new last layer with kerascnn.training.finetuning."
        )


def _check_same(path: Path, facts: Mapping[str, Any]) -> None:
    state = checkpoints.read_state(path)
    for name, value in facts.items():
        if state.get(name) != value:
            was, now = state.get(name), value
            if isinstance(was, dict) and isinstance(now, dict):
                name, was, now = next((f"{name}'s {k}", was.get(k), v) for k, v in now.items() if was.get(k) != v)
            raise ValueError(
                f"{path} is of another run: {name} was {_short(was)} and is now {_short(now)}. Give the same to go on "
                "with it, or another --output."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
