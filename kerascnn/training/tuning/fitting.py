"""Fine-tune a network in stages. The same call in the same folder continues a run that was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerascnn import registry
from kerascnn.build_info import carry_over
from kerascnn.files import alone_in, replacing
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training import augmentation, checkpoints
from kerascnn.training.batches import Batches, Validation
from kerascnn.training.callbacks import History, Keeper, Row, read_history
from kerascnn.training.data import AnyImages, HoldOut, open_data
from kerascnn.training.finetuning import head_of, replace_head, unfreeze
from kerascnn.training.fitting import HISTORY, check, check_same
from kerascnn.training.networks import compile_model, finished_model, first_weights, preprocessing_of
from kerascnn.training.recipes import changed
from kerascnn.training.runs import Run
from kerascnn.training.tuning.stages import PATIENCE, STAGES, Stage, Tuning
from kerascnn.weights import resolve

BEST = "best.npz"
_KEPT = HoldOut(every=5, least=2)


@dataclass(frozen=True)
class Tuned:
    """What came of a run.

    Attributes:
        model: The network that named held-out photos best.
        preprocessing: How photos are prepared for it.
        images: The photos that it was trained on.
        validation: The photos that were held out.
        confusion: How often photos of a class (row) were taken for a class (column), of those held out.
        history: A row for each epoch.
        seconds: How long the run took, with its earlier parts.
        finished: False if its time was over first.
        stopped_early: Whether it ended because held-out photos were named no better.
    """

    model: keras.Model
    preprocessing: Preprocessing
    images: AnyImages
    validation: AnyImages
    confusion: np.ndarray
    history: Sequence[dict[str, float]]
    seconds: float
    finished: bool
    stopped_early: bool

    @property
    def accuracy(self) -> float:
        """Share of the held-out photos that are named correctly."""
        return float(np.trace(self.confusion) / self.confusion.sum())


class Best(keras.callbacks.Callback):
    """Keeps the best weights in a file, and ends a stage that no longer helps or is over.

    Attributes:
        remembered: What belongs to a checkpoint.
        stage: Number of the stage.
        begun: Its first epoch.
        best: The lowest loss on held-out photos so far.
        wait: Epochs of this stage since.
        over: Whether the stage has ended.
        early: Whether it ended because it no longer helped.
    """

    remembered = ("stage", "begun", "best", "wait", "over", "early")

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.stage = self.begun = self.wait = 0
        self.best = float(np.finfo(np.float32).max)  # JSON has no infinity
        self.over = self.early = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights if they are the best so far; stop where the stage is over."""
        loss = (logs or {}).get("val_loss", self.best)
        if loss < self.best:
            self.best, self.wait = float(loss), 0
            arrays = {f"w{i}": keras.ops.convert_to_numpy(weight) for i, weight in enumerate(self.model.weights)}
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        else:
            self.wait += 1
        last = STAGES[self.stage].epochs
        self.early = self.wait >= PATIENCE
        self.over = self.early or (last is not None and epoch + 1 - self.begun >= last)
        if self.over:
            self.model.stop_training = True

    def next_stage(self, epoch: int) -> None:
        """Begin the next stage at an epoch."""
        self.stage, self.begun, self.wait, self.over, self.early = self.stage + 1, epoch, 0, False, False

    def restore(self, model: keras.Model) -> None:
        """Give a model the best weights so far."""
        if self.path.exists():
            with np.load(self.path) as file:
                for i, weight in enumerate(model.weights):
                    weight.assign(file[f"w{i}"])


def tune(
    tuning: Tuning,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    opened: Callable[[AnyImages, AnyImages], None] = lambda images, validation: None,
    begins: Callable[[int, Stage, list[str]], None] = lambda number, stage, layers: None,
) -> Tuned:
    """Fine-tune, or continue what an earlier call in the same folder began.

    Args:
        tuning: What is fine-tuned, on what and how.
        callbacks: More of Keras's callbacks, such as a progress bar.
        opened: Told the photos to train on and those held out.
        begins: Told the number of each stage, the stage, and the names of its layers.

    Raises:
        ValueError: The network, the weights and the photos do not fit each other, or the folder holds another run or
            is used by one.
        FloatingPointError: The loss became infinite or NaN.
        OSError: The weights could not be fetched; or a checkpoint could not be written, and the one before it is
            untouched.
    """
    run = tuning.run()
    if check(run).count > 1:
        raise ValueError("Fine-tuning runs on one machine: unset TF_CONFIG and KERAS_DISTRIBUTION_JOB_ADDRESSES.")
    resolve(run.model, str(run.weights)).fetched()  # before there is a folder
    preprocessing = preprocessing_of(run.model, run.side, run.weights)
    images, validation = open_data(run.data, run.validation, preprocessing, run.recipe.augmentation, _KEPT)
    if len(images) < run.recipe.batch:
        run = replace(run, recipe=changed(run.recipe, batch=len(images)))
    opened(images, validation)
    run.output.mkdir(parents=True, exist_ok=True)
    with alone_in(run.output):
        keras.utils.set_random_seed(run.seed)
        model = _build(run, preprocessing, len(images.classes))
        best = Best(run.output / BEST)
        keeper = _stages(model, run, (images, validation), best, (callbacks, begins))
        best.restore(model)
        network = finished_model(model, run, len(images.classes))
    carry_over(
        network,
        network,
        preprocessing=preprocessing,
        labels=tuple(images.classes),
        weights=first_weights(run.model, run.weights),
    )
    history = run.output / HISTORY
    return Tuned(
        network,
        preprocessing,
        images,
        validation,
        confusion_of(network, validation, preprocessing),
        read_history(history) if history.exists() else [],
        keeper.seconds,
        not keeper.out_of_time,
        best.early and best.stage == len(STAGES) - 1,
    )


def _build(run: Run, preprocessing: Preprocessing, classes: int) -> keras.Model:
    """Build the network with its new head, from bytes to logits, with augmentation in front."""
    channels = registry.variant(run.model).input_shape[2]
    photos = keras.Input((run.side, run.side, channels), dtype="uint8", name="images")
    return replace_head(
        run.model,
        str(run.weights),
        classes,
        input_tensor=augmentation.prepare(photos, preprocessing, run.recipe.augmentation),
        classifier_activation=None,
    )


def _stages(
    model: keras.Model, run: Run, data: tuple[AnyImages, AnyImages], best: Best, watching: tuple[Any, Any]
) -> Keeper:
    """Train stage after stage, from the checkpoint on if there is one."""
    (images, validation), (callbacks, begins) = data, watching
    steps = len(images) // run.recipe.batch
    facts = run.facts(len(images), images.classes)
    keeper = Keeper(run, facts, steps, best)
    prepared = -1  # the stage that the model is compiled for
    if keeper.path.exists():
        check_same(keeper.path, facts, steps)
        keeper.resume()
        for name, value in checkpoints.read_state(keeper.path)["plateau"].items():
            setattr(best, name, value)
        prepared = best.stage
        layers = _prepare(model, run, STAGES[prepared], steps)
        checkpoints.restore(keeper.path, model)
        if not best.over and keeper.step < run.recipe.epochs * steps:
            begins(prepared, STAGES[prepared], layers)
    history = History(run.output / HISTORY, keeper)
    with closing(history):
        while not keeper.out_of_time and keeper.step < run.recipe.epochs * steps:
            epoch, step = divmod(keeper.step, steps)
            if best.over and best.stage == len(STAGES) - 1:
                break
            if best.over:
                best.next_stage(epoch)
                keeper.forget()
            if prepared != best.stage:
                prepared = best.stage
                layers = _prepare(model, run, STAGES[prepared], steps)
                if prepared:
                    best.restore(model)
                begins(prepared, STAGES[prepared], layers)
            last = STAGES[prepared].epochs
            end = run.recipe.epochs if last is None else min(run.recipe.epochs, best.begun + last)
            model.fit(
                Batches(images, run.recipe.batch, run.seed, keeper.step),
                epochs=epoch + 1 if step else end,  # an epoch that was interrupted is finished by a call of its own
                initial_epoch=epoch,
                steps_per_epoch=steps - step,
                validation_data=Validation(validation),
                callbacks=[Row(keeper), *callbacks, history, best, keeper],
                verbose=0,
                shuffle=False,
            )
            keeper.check_loss()
    return keeper


def _prepare(model: keras.Model, run: Run, stage: Stage, steps: int) -> list[str]:
    """Release the layers of a stage, and compile the model for it; return the layers' names."""
    layers = release(model, stage)
    compile_model(model, replace(run, recipe=changed(run.recipe, rate=run.recipe.rate * stage.rate)), steps)
    return layers


def release(model: keras.Model, stage: Stage) -> list[str]:
    """Let the layers of a stage be trained, all others not; return their names. Normalization stays frozen."""
    if not stage.share:
        head = {id(layer) for layer in head_of(model)}
        for layer in model.layers:
            layer.trainable = id(layer) in head
        return [layer.name for layer in model.layers if layer.trainable]
    weighted = sum(bool(layer.weights) for layer in model.layers)
    unfreeze(model, math.ceil(stage.share * weighted))
    return [layer.name for layer in model.layers if layer.trainable_weights]


def confusion_of(model: keras.Model, images: AnyImages, preprocessing: Preprocessing, batch: int = 64) -> np.ndarray:
    """Count how often images of each class (row) are taken for each class (column)."""
    counts = np.zeros((len(images.classes), len(images.classes)), int)
    for begin in range(0, len(images), batch):
        pixels, labels = images.batch(np.arange(begin, min(begin + batch, len(images))))
        answers = model.predict_on_batch(preprocessing.normalize(pixels))
        np.add.at(counts, (labels, np.asarray(answers).argmax(axis=-1)), 1)
    return counts
