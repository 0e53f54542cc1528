"""The network as it is trained, from bytes to logits, and as it is used afterwards."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerascnn import factory, registry
from kerascnn.layers.auxiliary import AuxiliaryModel
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.registry import WeightsRecord
from kerascnn.training import augmentation, schedules
from kerascnn.training.data import AnyImages
from kerascnn.training.initialization import initialize
from kerascnn.training.normalization import fuse
from kerascnn.training.runs import Run
from kerascnn.weights import container, find

# Options that make a difference in training alone, and are left out of the finished network.
TRAINING_OPTIONS = ("aux_logits", "survival_probability", "survival_mode", "drop_path", "global_drop_path", "dropout")


def preprocessing_of(model: str, size: int, weights: str | None = None) -> Preprocessing:
    """Find how a network, or the weights that it begins with, wants images of `size` pixels a side."""
    row = registry.variant(model)
    record = first_weights(model, weights)
    for known in (record, row):
        if known is not None and known.preprocessing:
            return Preprocessing.from_record(known).for_size(size, size)
    return Preprocessing.default((size, size, row.input_shape[2]))


def first_weights(model: str, weights: str | None) -> WeightsRecord | None:
    """Find the record of the weights that a network begins with; None for random ones.

    Args:
        model: Name of the variant.
        weights: Name of published weights, or a file.

    Raises:
        ValueError: There are no such weights.
    """
    try:
        return find(model, weights) if weights is not None else None
    except FileNotFoundError as error:
        raise ValueError(str(error)) from None


def build(run: Run, preprocessing: Preprocessing, classes: int) -> keras.Model:
    """Build the network as it is trained, with the recipe's augmentation, options and weight decay."""
    channels = registry.variant(run.model).input_shape[2]
    images = keras.Input((run.side, run.side, channels), dtype="uint8", name="images")
    model = factory.create_model(
        run.model,
        input_tensor=augmentation.prepare(images, preprocessing, run.recipe.augmentation),
        classes=classes,
        classifier_activation=None,
        weights=run.weights,
        **_options(run),
    )
    if run.recipe.initial is not None and run.weights is None:
        initialize(model, run.recipe.initial)
    if run.recipe.auxiliary_weight is not None and isinstance(model, AuxiliaryModel):
        model.auxiliary_weight = run.recipe.auxiliary_weight
    schedules.add_weight_decay(model, run.recipe)
    fuse(model)
    return model


def _options(run: Run) -> dict[str, Any]:
    """Return the recipe's options, without auxiliary classifiers where training begins with weights.

    They help the first layers of an untrained network, and the files of trained ones do not have them.
    """
    options = dict(run.recipe.options)
    if run.weights is not None:
        options.pop("aux_logits", None)
    return options


def compile_model(model: keras.Model, run: Run, steps: int) -> None:
    """Compile a network by a run's recipe, for epochs of `steps` steps."""
    model.compile(
        schedules.optimizer(run.recipe, steps * run.recipe.epochs),
        schedules.loss(run.recipe),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax" if run.jit is None else run.jit,
    )
    model.optimizer.build(model.trainable_variables)
    # Build the metrics too, because their state belongs to a checkpoint.
    model.compute_metrics(None, np.zeros(1, np.int32), np.zeros((1, model.outputs[0].shape[-1]), np.float32))
    model.reset_metrics()


def finished_model(trained: keras.Model, run: Run, classes: int) -> keras.Model:
    """Build the network as it is used, with the weights of the one that was trained."""
    record = first_weights(run.model, run.weights)
    options = {**(record.options if record else {}), **run.recipe.options}
    options = {name: value for name, value in options.items() if name not in TRAINING_OPTIONS}
    shape = (run.side, run.side, registry.variant(run.model).input_shape[2])
    model = factory.create_model(run.model, classes=classes, input_shape=shape, **options)
    for layer in model.layers:
        if layer.weights:
            weights = trained.get_layer(layer.name).get_weights()
            layer.set_weights([container.half(weight) for weight in weights] if run.half else weights)
    model.jit_compile = keras.backend.backend() == "jax"  # on TensorFlow XLA's compiling takes longer than it saves
    return model


def accuracy_of(model: keras.Model, images: AnyImages, preprocessing: Preprocessing, batch: int = 250) -> float:
    """Measure the share of the images whose most probable class is their own."""
    correct = 0
    for begin in range(0, len(images), batch):
        pixels, labels = images.batch(np.arange(begin, min(begin + batch, len(images))))
        probabilities = model.predict_on_batch(preprocessing.normalize(pixels))
        correct += int((probabilities.argmax(axis=-1) == labels).sum())
    return correct / len(images)
