"""Recipes as Keras objects: optimizer, learning-rate schedule, weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.optimizers import schedules

from kerascnn.training.recipes import Recipe


def learning_rate(recipe: Recipe, steps: int) -> float | schedules.LearningRateSchedule:
    """Make the learning rate over a run of `steps` steps; a number if it is constant or falls at plateaus."""
    plan = recipe.schedule
    warmup = round(plan.warmup * steps)
    if plan.kind in ("cosine", "one_cycle"):
        if not warmup:
            return schedules.CosineDecay(recipe.rate, steps)
        return schedules.CosineDecay(
            plan.warmup_from * recipe.rate, max(1, steps - warmup), warmup_target=recipe.rate, warmup_steps=warmup
        )
    if plan.kind == "step":
        drops = [(max(1, round(drop * steps)), plan.factor ** (i + 1)) for i, drop in enumerate(plan.drops)]
        # A warm-up before steps is one step of a lower rate, as ResNet-110's.
        begin, moments = (plan.warmup_from, [(warmup, 1.0), *drops]) if warmup else (1.0, drops)
        values = [recipe.rate * factor for factor in (begin, *(factor for _, factor in moments))]
        return schedules.PiecewiseConstantDecay([moment for moment, _ in moments], values)
    if plan.kind == "exponential":
        return schedules.ExponentialDecay(recipe.rate, max(1, round(steps / plan.steps)), plan.factor, staircase=True)
    if plan.kind == "polynomial":
        return schedules.PolynomialDecay(recipe.rate, steps, end_learning_rate=0.0, power=plan.power)
    if plan.kind == "inverse":
        return InverseDecay(recipe.rate, plan.growth / steps, plan.power)
    return recipe.rate


@keras.saving.register_keras_serializable(package="kerascnn")
class InverseDecay(schedules.LearningRateSchedule):
    """Caffe's policy "inv": the first rate divided by (1 + `growth` * step) to the power `power`."""

    def __init__(self, initial: float, growth: float, power: float):
        self.initial, self.growth, self.power = initial, growth, power

    def __call__(self, step: Any) -> Any:
        """Compute the rate at a step."""
        return self.initial / keras.ops.power(1.0 + self.growth * keras.ops.cast(step, "float32"), self.power)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the schedule."""
        return {"initial": self.initial, "growth": self.growth, "power": self.power}


@keras.saving.register_keras_serializable(package="kerascnn")
class BiasRateSGD(keras.optimizers.SGD):
    """SGD with another learning rate for biases: `bias_rate` times that of all other weights.

    Caffe has it as `lr_mult`, cuda-convnet as `epsB`.
    """

    def __init__(self, *args: Any, bias_rate: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.bias_rate = bias_rate
        self.factors: list[float] = []

    def build(self, variables: Sequence[Any]) -> None:
        """Make the momenta of the weights."""
        super().build(variables)
        self.factors = self._factors_of(variables)

    def _factors_of(self, variables: Sequence[Any]) -> list[float]:
        return [self.bias_rate if variable.name == "bias" else 1.0 for variable in variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update the weights."""
        factors = self.factors if trainable_variables is None else self._factors_of(trainable_variables)
        # A gradient times a factor is what a rate times it would be: the momentum is linear in both.
        scaled = [
            grad * factor if grad is not None and factor != 1 else grad
            for grad, factor in zip(grads, factors, strict=True)
        ]
        super().apply(scaled, trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the optimizer."""
        return {**super().get_config(), "bias_rate": self.bias_rate}


def optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """Make the recipe's optimizer for a run of `steps` steps."""
    shared: dict[str, Any] = {"learning_rate": learning_rate(recipe, steps), "global_clipnorm": recipe.clip_norm}
    if recipe.optimizer == "sgd" and recipe.bias_rate != 1:
        return BiasRateSGD(momentum=recipe.momentum, nesterov=recipe.nesterov, bias_rate=recipe.bias_rate, **shared)
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=recipe.momentum, nesterov=recipe.nesterov, **shared)
    if recipe.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rho=0.9, momentum=recipe.momentum, epsilon=1.0, **shared)
    return keras.optimizers.Adam(**shared)


def loss(recipe: Recipe) -> keras.losses.Loss:
    """Make the loss of logits and class numbers."""
    if not recipe.label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return SmoothedCrossentropy(recipe.label_smoothing)


@keras.saving.register_keras_serializable(package="kerascnn")
class SmoothedCrossentropy(keras.losses.Loss):
    """Keras's categorical cross-entropy of logits with label smoothing, for class numbers instead of vectors."""

    def __init__(self, label_smoothing: float, name: str = "smoothed_crossentropy", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """Compute the loss of each image."""
        vectors = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(
            vectors, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the loss."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def plateau(recipe: Recipe) -> keras.callbacks.ReduceLROnPlateau | None:
    """Make the callback that lowers the learning rate when the validation accuracy no longer rises.

    Returns:
        None for a recipe that does not do that.
    """
    if recipe.schedule.kind != "plateau":
        return None
    return keras.callbacks.ReduceLROnPlateau(
        "val_accuracy", recipe.schedule.factor, recipe.schedule.patience, mode="max", min_delta=1e-3
    )


def add_weight_decay(model: keras.Model, recipe: Recipe) -> None:
    """Give the trained weights the recipe's L2 penalty.

    Keras's `weight_decay` of optimizers is something else: it is not part of the gradient, so momentum does not
    accumulate it, and with momentum 0.9 it has a tenth of the effect of the papers' number.
    """
    if not recipe.weight_decay:
        return
    penalty = keras.regularizers.L2(recipe.weight_decay / 2)
    for weight in model.trainable_variables:
        if len(weight.shape) > 1 or not recipe.decay_kernels_only:
            weight.regularizer = penalty
