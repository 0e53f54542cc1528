"""The papers' training settings as records, read without importing Keras.

A paper's recipe is in its family's file, as `kerascnn.registry` says. Recipes of no paper, for any network of a kind,
are in `recipes.toml` beside this module.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from kerascnn.registry import HOME, read_families, read_toml

Kind = Literal["constant", "step", "plateau", "exponential", "polynomial", "cosine", "one_cycle", "inverse"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes. All moments are shares of the run, so that a shorter run keeps its shape.

    Attributes:
        kind: "constant"; "step" multiplies it by `factor` at each of `drops`; "plateau" does so after `patience` epochs
            without a better validation accuracy, as papers do by hand; "exponential" multiplies it by `factor` every
            1 / `steps` of the run; "polynomial" takes it to zero with `power`; "cosine" along half a cosine;
            "one_cycle" likewise after a rise; "inverse" divides it by (1 + `growth` * share of the run) to the `power`.
        drops: Moments of the steps.
        factor: What a step multiplies the rate by.
        patience: Epochs without improvement before a step.
        steps: Steps of an exponential schedule in the whole run.
        power: The power of a polynomial or an inverse schedule.
        growth: How fast the divisor of an inverse schedule grows.
        warmup: Share of the run in which the rate rises in a line from `warmup_from` times itself.
        warmup_from: Where the rise begins, as a share of the rate.
    """

    kind: Kind = "constant"
    drops: tuple[float, ...] = ()
    factor: float = 0.1
    patience: int = 10
    steps: int = 1
    power: float = 1.0
    growth: float = 0.0
    warmup: float = 0.0
    warmup_from: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """What happens to an image of the training set. Everything is off by default.

    Attributes:
        flip: Swap left and right in half of the cases.
        crop_padding: Pixels of zeros (the mean color) around the image, from which a window of its size is cut.
        resize: (least, greatest) length in pixels of the shorter side, drawn for each image before a crop of the
            input's size is cut from it at random.
        crop_area: (least, greatest) share of the image that a crop of random shape covers, in place of `resize`.
        aspect: (narrowest, widest) shape of that crop, width by height.
        pca_colour: Standard deviation of AlexNet's color shift along the principal components of ImageNet's pixels.
        colour_jitter: Greatest change of brightness, contrast and saturation, as a share.
        brightness: Greatest change of brightness where it is another one, as a share of white.
        hue: Greatest turn of the hue, as a share of the color circle.
        elastic: Greatest `scale` of Keras's RandomElasticTransform, from 0 to 1.
        rotation: Greatest angle, in degrees, to both sides.
        zoom: Greatest change of size, as a share.
    """

    flip: bool = False
    crop_padding: int = 0
    resize: tuple[int, int] | None = None
    crop_area: tuple[float, float] | None = None
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    pca_colour: float = 0.0
    colour_jitter: float = 0.0
    brightness: float | None = None
    hue: float = 0.0
    elastic: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0


@dataclass(frozen=True)
class Initial:
    """How the weights of a network begin, where the paper or its code does not leave that to a library.

    Attributes:
        kind: "fan_in" and "fan_out" for normal values of variance 2 / fan, in convolutions alone, the classifier as the
            builder has it; "xavier" for Caffe's, uniform with variance 1 / fan-in; "glorot" for Keras's and slim's,
            uniform with variance 2 / (fan-in + fan-out); "normal" for normal values of `deviation`.
        deviation: The standard deviation of "normal".
        bias: The value of the biases.
        layers: By patterns of layers' names, a `deviation` or `bias` of their own.
    """

    kind: Literal["fan_in", "fan_out", "xavier", "glorot", "normal"]
    deviation: float = 0.01
    bias: float = 0.0
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a paper trains its network.

    Attributes:
        name: Its name among all recipes.
        title: What people call it.
        source: The paper and the section.
        models: Patterns of the names of the networks that it is meant for.
        input_size: Side of the input in pixels.
        batch: Images in a step.
        epochs: Passes over the training set.
        rate: The learning rate at the start, or the highest one of a schedule that rises.
        optimizer: "sgd", "rmsprop" or "adam".
        momentum: The momentum of the optimizer.
        nesterov: Whether the momentum is Nesterov's.
        schedule: How the learning rate changes.
        weight_decay: This times each weight is added to its gradient before momentum. It is the papers' L2: half of it
            times the squared weights in the loss.
        decay_kernels_only: Leave out biases and what belongs to normalization.
        bias_rate: Rate of the biases, in rates of the kernels; for "sgd" alone.
        label_smoothing: Share of the target that goes to all classes alike.
        clip_norm: Greatest norm of the gradients; None for any.
        augmentation: What happens to the images.
        options: Those of the network's builder, such as dropout.
        auxiliary_weight: That of the loss of each auxiliary classifier.
        any_size: Whether nothing in it depends on the size of the input.
        initial: How the weights begin; None for the builder's own, He et al.'s variance in a uniform distribution.
        initialization: What the paper says of it, or where its code does.
        settled: False where a number is not printed in the paper or was not looked up there again; `notes` say which.
        notes: What else there is to know, such as what the lectures print.
    """

    name: str
    title: str
    source: str
    models: tuple[str, ...]
    input_size: int
    batch: int
    epochs: int
    rate: float
    optimizer: Literal["sgd", "rmsprop", "adam"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    schedule: Schedule = Schedule()
    weight_decay: float = 0.0
    decay_kernels_only: bool = False
    bias_rate: float = 1.0
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    augmentation: Augmentation = Augmentation()
    options: Mapping[str, Any] = field(default_factory=dict)
    auxiliary_weight: float | None = None
    any_size: bool = False
    initial: Initial | None = None
    initialization: str = "the builder's own"
    settled: bool = True
    notes: tuple[str, ...] = ()

    def fits(self, model: str) -> bool:
        """Return whether it is meant for the network of that name."""
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.models)


@cache
def list_recipes() -> Mapping[str, Recipe]:
    """Return every recipe by name: those of the families, then those of no paper."""
    tables = [*read_families().values(), read_toml(HOME / "training" / "recipes.toml")]
    return {name: _recipe(name, row) for table in tables for name, row in table.get("recipes", {}).items()}


def _recipe(name: str, row: Mapping[str, Any]) -> Recipe:
    own = {
        "schedule": Schedule(**_tuples(row.get("schedule", {}))),
        "augmentation": Augmentation(**_tuples(row.get("augmentation", {}))),
        "initial": Initial(**row["initial"]) if "initial" in row else None,
    }
    return Recipe(name=name, **{**_tuples(row), **own})


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        ValueError: No recipe has that name; the message lists the nearest ones.
    """
    try:
        return list_recipes()[name]
    except KeyError:
        near = difflib.get_close_matches(name, list_recipes(), n=3, cutoff=0.4)
        hint = f"The nearest are: {', '.join(near)}." if near else f"There are: {', '.join(list_recipes())}."
        raise ValueError(f"There is no recipe named {name!r}. {hint}") from None


def recipe_for(model: str) -> Recipe:
    """Return the recipe of the paper that the network of that name is from, or the first one that fits it.

    Raises:
        ValueError: No recipe is meant for it.
    """
    for known in list_recipes().values():
        if known.fits(model):
            return known
    raise ValueError(f"No recipe is meant for {model}. Give one: {', '.join(list_recipes())}.")


def changed(base: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with other values, such as `epochs=30`, for those that are not None."""
    return replace(base, **{key: value for key, value in changes.items() if value is not None})
