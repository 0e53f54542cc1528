"""The options that all builders take, and what makes a function a builder."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast, get_type_hints

import keras
from keras import KerasTensor

from kerascnn.layers.stochastic_depth import Mode, Scaling
from kerascnn.registry import variants

Build = TypeVar("Build", bound=Callable[..., keras.Model])


class ModelOptions(TypedDict, total=False):
    """The options of every builder; names and meaning are those of keras.applications.

    include_top: with the classifier (default) or without.
    weights: None (random, the default), the name of published weights such as "imagenet", or the path of a file.
    input_tensor: a Keras tensor to build on, possibly the output of other layers, which stay in the model.
    input_shape: (height, width, channels); the sides may be None where the architecture allows it.
    pooling: without the top: None for the last feature map, "avg" or "max" for one vector an image.
    classes: number of classes, the variant's own by default: ImageNet's 1,000, or CIFAR-10's 10.
    classifier_activation: activation of the last layer, "softmax" by default, None for logits.
    name: name of the model.
    features: True, or names of stages: the model returns a dict of feature maps instead (no top).
    head: "new" takes weights with another number of classes, and leaves the last layer untrained.
    input_channels: "adapt" takes RGB weights for one, four or more input channels (see `kerascnn.weights.load`).
    """

    include_top: bool
    weights: str | None
    input_tensor: KerasTensor | None
    input_shape: tuple[int | None, int | None, int] | None
    pooling: Literal["avg", "max"] | None
    classes: int
    classifier_activation: str | None
    name: str
    features: bool | Sequence[str]
    head: Literal["new"] | None
    input_channels: Literal["adapt"] | None


class ResidualOptions(ModelOptions, total=False):
    """The options of every residual network: `ModelOptions`, and stochastic depth (Huang et al., arXiv:1603.09382).

    survival_probability: that of the last residual unit in a training step, above 0 and at most 1; it falls to it
        linearly from 1 at the input. None (the default) for constant depth. No weights and no names depend on it.
    survival_mode: "batch" (the default) drops a unit for a whole batch, as the paper does, and does not compute it;
        "row" for each image, which saves no time.
    survival_scaling: "training" (the default) divides a branch that survives by its probability, so that inference is
        the plain network, whatever weights it has; "inference" multiplies it there, as the paper does.
    """

    survival_probability: float | None
    survival_mode: Mode
    survival_scaling: Scaling


def builder(function: Build) -> Build:
    """Make a function the builder of the variant of its name.

    Its keyword-only arguments are the family's own options, its `**options: Unpack[...]` the shared ones. It then
    refuses options of other names.

    Raises:
        LookupError: The variant has no record.
    """
    name = function.__name__
    if name not in variants():
        raise LookupError(f"The builder {name!r} has no table [variants.{name}] in its family's TOML file.")

    @functools.wraps(function)
    def build(*arguments: Any, **options: Any) -> keras.Model:
        valid = option_names(function)
        if unknown := [option for option in options if option not in valid]:
            raise TypeError(f"{name}() has no option {unknown[0]!r}. Its options are: {', '.join(valid)}.")
        with _no_collection():
            return function(*arguments, **options)

    return cast("Build", build)


def option_names(function: Callable[..., keras.Model]) -> list[str]:
    """Name the options that a builder takes: the shared ones, then its own."""
    own = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shared = ResidualOptions if get_type_hints(function)["options"] == Unpack[ResidualOptions] else ModelOptions
    return [*inspect.get_annotations(shared), *own]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause garbage collection: building allocates objects by the million and frees few of them.

    It takes a tenth off the time that the largest networks take to build.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
