"""Train a network by a recipe. The same call in the same folder continues a run that was stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerascnn import registry
from kerascnn.build_info import carry_over
from kerascnn.files import alone_in
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
from kerascnn.training.runs import Result, Run

HISTORY = "history.csv"


@dataclass(frozen=True)
class _Job:
    """A run with its workers found and its images opened."""

    run: Run
    workers: Cluster
    preprocessing: Preprocessing
    images: AnyImages
    validation: AnyImages

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.images) // self.run.recipe.batch


def train(run: Run, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Result:
    """Train, or continue what an earlier call in the same folder began.

    Over several workers (see `kerascnn.training.distribution`), each makes the same call.

    Args:
        run: What is trained, on what and how.
        callbacks: More of Keras's callbacks, such as a progress bar.

    Returns:
        The finished network and its history.

    Raises:
        ValueError: The recipe, the network and the data do not fit each other, or the folder holds another run or is
            used by one.
        FloatingPointError: The loss became infinite or NaN.
        OSError: A checkpoint could not be written, and the one before it is untouched; or another worker is gone.
    """
    job = _prepare(run)
    with alone_in(run.output) if job.workers.chief else nullcontext():
        return _train(job, callbacks)


def _train(job: _Job, callbacks: Sequence[keras.callbacks.Callback]) -> Result:
    run, classes = job.run, len(job.images.classes)
    with distribution.distributed(job.workers):
        with _computing_in(run.precision):
            keras.utils.set_random_seed(run.seed)
            model = build(run, job.preprocessing, classes)
            compile_model(model, run, job.steps)
        keeper = _fit(model, job, callbacks)
    network = finished_model(model, run, classes)
    carry_over(network, network, preprocessing=job.preprocessing, labels=tuple(job.images.classes))
    history = run.output / HISTORY
    return Result(
        network,
        job.preprocessing,
        job.images.classes,
        read_history(history) if job.workers.chief and history.exists() else [],
        keeper.seconds,
        not keeper.out_of_time,
        accuracy_of(network, job.validation, job.preprocessing),
        [*job.images.skipped, *job.validation.skipped],
        (len(job.images), len(job.validation)),
    )


def check(run: Run) -> Cluster:
    """Refuse what can be refused without looking at the data.

    Returns:
        The workers that train.

    Raises:
        ValueError: There is no such network or no such weights, the recipe is for another input size, or the workers
            are not described correctly.
    """
    row, recipe, side = registry.variant(run.model), run.recipe, run.side
    if side != recipe.input_size and not recipe.any_size:
        raise ValueError(
            f"The recipe {recipe.name} is for images of {recipe.input_size}x{recipe.input_size} pixels, {run.model} "
            f"takes {side}x{side}. Take another recipe, or --input-size {recipe.input_size} where the network can take "
            f"it (from {row.min_size} on)."
        )
    if side < row.min_size:
        raise ValueError(f"{run.model} takes images of {row.min_size} pixels a side at least; the size is {side}.")
    first_weights(run.model, run.weights)
    workers = distribution.cluster()
    distribution.check(workers)
    return workers


def _prepare(run: Run) -> _Job:
    """Open the data, refuse what does not fit it, and connect the workers."""
    workers = check(run)
    preprocessing = preprocessing_of(run.model, run.side, run.weights)
    images, validation = open_data(run.data, run.validation, preprocessing, run.recipe.augmentation)
    if len(images) < run.recipe.batch:
        raise ValueError(
            f"A batch of {run.recipe.batch} is larger than the training set of {len(images):,} images. Give a smaller "
            f"one, such as --batch {max(1, len(images) // 4)}."
        )
    record = first_weights(run.model, run.weights)
    if record is not None and record.classes != len(images.classes):
        raise ValueError(
            f"The weights {run.weights} are for {record.classes:,} classes, and {run.data} has "
            f"{len(images.classes):,}. Leave --weights out, or give such a network a new last layer with "
            "kerascnn.training.finetuning."
        )
    distribution.connect(workers)
    distribution.check_replicas(distribution.replicas(), run.recipe.batch, len(validation))
    run.output.mkdir(parents=True, exist_ok=True)
    return _Job(run, workers, preprocessing, images, validation)


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Let layers that are built here compute in a precision and keep their weights in float32."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _fit(model: keras.Model, job: _Job, callbacks: Sequence[keras.callbacks.Callback]) -> Keeper:
    run, workers, steps = job.run, job.workers, job.steps
    facts = run.facts(len(job.images), job.images.classes)
    plateau = schedules.plateau(run.recipe)
    keeper = Keeper(run, facts, steps, plateau, workers)
    if keeper.path.exists():
        check_same(keeper.path, facts, steps)
        keeper.resume()
    distribution.check_same(workers, {**facts, "ends": run.max_time is not None}, keeper.step)
    if keeper.step:
        checkpoints.restore(keeper.path, model)
    logs = [keras.callbacks.TensorBoard(str(run.output / "tensorboard"))] if run.tensorboard else []
    history = History(run.output / HISTORY, keeper) if workers.chief else None
    every: list[keras.callbacks.Callback] = [
        *([plateau] if plateau else []),
        Row(keeper),
        *callbacks,
        *([*logs, history] if history else []),
        keeper,
    ]
    with closing(history) if history else nullcontext():
        _run_epochs(model, job, keeper, every)
    return keeper


def _run_epochs(model: keras.Model, job: _Job, keeper: Keeper, every: Sequence[keras.callbacks.Callback]) -> None:
    run, workers, steps = job.run, job.workers, job.steps
    part = {"worker": workers.index, "workers": workers.count}
    epoch, step = divmod(keeper.step, steps)
    # An epoch that was interrupted is finished by a call of its own, which has fewer steps.
    calls = [(epoch, epoch + 1, steps - step)] if step else []
    for begin, end, length in [*calls, (epoch + len(calls), run.recipe.epochs, steps)]:
        if begin >= end or keeper.out_of_time:
            continue
        model.fit(
            Batches(job.images, run.recipe.batch, run.seed, keeper.step, **part),
            epochs=end,
            initial_epoch=begin,
            steps_per_epoch=length,
            validation_data=Validation(job.validation, distribution.replicas(), **part),
            callbacks=every,
            verbose=0,
            shuffle=False,
        )
        keeper.check_loss()


def check_same(path: Path, facts: Mapping[str, Any], steps: int) -> None:
    """Refuse a checkpoint of another run. It may be of the same run with fewer epochs, or with more of which few began.

    Raises:
        ValueError: It is of another run, or has more epochs behind it than are asked for now.
    """
    state = checkpoints.read_state(path)
    epochs = facts["recipe"]["epochs"]
    done = -(-state["step"] // steps)
    if isinstance(state.get("recipe"), dict) and done <= epochs:
        state["recipe"]["epochs"] = epochs
    for name, now in facts.items():
        was = state.get(name)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            name, was, now = next((f"{name}'s {k}", was.get(k), v) for k, v in now.items() if was.get(k) != v)
            if name == "recipe's epochs":
                raise ValueError(f"{path} has {done} epochs behind it, and {now} are asked for. Give {done} or more.")
        raise ValueError(
            f"{path} is of another run: {name} was {_short(was)} and is now {_short(now)}. Give the same to continue "
            "it, or another --output."
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
