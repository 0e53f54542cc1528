"""The options of every builder: their names, their checks, and what makes a function a builder."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack, cast, get_type_hints

import keras
from keras import KerasTensor

from kerascnn.keras_graph import drop_postponed
from kerascnn.layers.stochastic_depth import Mode, Scaling, Survival
from kerascnn.registry import Variant, WeightsRecord, variants
from kerascnn.weights import WeightsError

Build = TypeVar("Build", bound=Callable[..., keras.Model])
Shape = tuple[int | None, int | None, int]


class ModelOptions(TypedDict, total=False):
    """The options of every builder; names and meaning are those of keras.applications.

    Attributes:
        include_top: With the classifier (default) or without.
        weights: None (random, the default), the name of published weights such as "imagenet", or the path of a file.
        input_tensor: A Keras tensor to build on, possibly the output of other layers, which stay in the model.
        input_shape: (height, width, channels); the sides may be None where the architecture allows it.
        pooling: Without the top: None for the last feature map, "avg" or "max" for one vector an image.
        classes: Number of classes, the variant's own by default: ImageNet's 1,000, or CIFAR-10's 10.
        classifier_activation: Activation of the last layer, "softmax" by default, None for logits.
        name: Name of the model.
        features: True, or names of stages: the model returns a dict of feature maps instead (no top).
        head: "new" takes weights with another number of classes, and leaves the last layer untrained.
        input_channels: "adapt" takes RGB weights for one, four or more input channels (see `kerascnn.weights.load`).
    """

    include_top: bool
    weights: str | None
    input_tensor: KerasTensor | None
    input_shape: Shape | None
    pooling: Literal["avg", "max"] | None
    classes: int
    classifier_activation: str | None
    name: str
    features: bool | Sequence[str]
    head: Literal["new"] | None
    input_channels: Literal["adapt"] | None


class ResidualOptions(ModelOptions, total=False):
    """The options of every residual network: `ModelOptions`, and stochastic depth (Huang et al., arXiv:1603.09382).

    Attributes:
        survival_probability: That of the last residual unit in a training step, above 0 and at most 1; it falls to it
            linearly from 1 at the input. None (the default) for constant depth. No weights and no names depend on it.
        survival_mode: "batch" (the default) drops a unit for a whole batch, as the paper does, and does not compute it;
            "row" for each image, which saves no time.
        survival_scaling: "training" (the default) divides a branch that survives by its probability, so that inference
            is the plain network, whatever weights it has; "inference" multiplies it there, as the paper does.
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
        try:
            with _no_collection():
                return function(*arguments, **options)
        except Exception as error:
            if not drop_postponed() or isinstance(error, ValueError):
                raise
            raise WeightsError(f"{options['weights']}: {name} cannot be built as the file says: {error}") from error
        finally:
            drop_postponed()  # Ctrl-C must not leave the next model without values

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


@dataclass(frozen=True)
class SharedOptions:
    """The options of `ResidualOptions` for one network, with their defaults, but for weights and input.

    Raises:
        ValueError: An option has a value that is not allowed.
    """

    name: str
    classes: int
    include_top: bool = True
    pooling: Literal["avg", "max"] | None = None
    classifier_activation: str | None = "softmax"
    features: bool | Sequence[str] = False
    head: Literal["new"] | None = None
    input_channels: Literal["adapt"] | None = None
    survival: Survival = field(default_factory=Survival)

    def __post_init__(self) -> None:
        if not isinstance(self.classes, int) or isinstance(self.classes, bool) or self.classes < 1:
            raise ValueError(f"classes must be a whole number of at least 1; it is {self.classes!r}.")
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(f'pooling must be None, "avg" or "max"; it is {self.pooling!r}.')
        if self.head not in (None, "new"):
            raise ValueError(f'head must be None or "new"; it is {self.head!r}.')
        if self.input_channels not in (None, "adapt"):
            raise ValueError(f'input_channels must be None or "adapt"; it is {self.input_channels!r}.')
        if not isinstance(self.include_top, bool):
            raise ValueError(f"include_top must be True or False; it is {self.include_top!r}.")
        if self.pooling is not None and self.features:
            raise ValueError(f"pooling={self.pooling!r} is for include_top=False; features= gives the maps themselves.")

    @classmethod
    def read(cls, variant: Variant, options: Mapping[str, Any]) -> SharedOptions:
        """Read a builder's keyword options."""
        own = {option: options[option] for option in inspect.get_annotations(cls) if option in options}
        survival = {
            "last": options.get("survival_probability"),
            "mode": options.get("survival_mode", "batch"),
            "scaling": options.get("survival_scaling", "training"),
        }
        named = {"classes": variant.classes, **own, "name": options.get("name") or variant.name}
        return cls(**named, survival=Survival(**survival))

    @property
    def features_only(self) -> bool:
        """True where the architecture's classifier is not wanted."""
        return not self.include_top or bool(self.features)

    def top(self) -> dict[str, Any]:
        """Return what shapes the network's end, where it is not the default."""
        values: dict[str, Any] = {
            "features": self.features or None,
            "include_top": None if self.include_top else False,
            "pooling": self.pooling,
            "head": self.head,
        }
        values = {option: value for option, value in values.items() if value is not None}
        if self.classifier_activation != "softmax":
            values["classifier_activation"] = self.classifier_activation
        return values


class Choice(NamedTuple):
    """One of a family's own options.

    Attributes:
        given: What the caller gave; None takes what the weights need, else the paper's value.
        papers: The paper's value.
        allowed: All values; None for any.
    """

    given: Any
    papers: Any
    allowed: Sequence[Any] | None = (True, False)


def resolve_choices(variant: Variant, choices: Mapping[str, Choice], record: WeightsRecord | None) -> dict[str, Any]:
    """Return the value of each of a family's own options.

    Raises:
        ValueError: A value is not allowed, or not the one that the weights were trained with.
    """
    resolved = {}
    for option, (given, papers, allowed) in choices.items():
        needed = record.options.get(option, papers) if record else papers
        if given is not None and allowed is not None and given not in allowed:
            raise ValueError(
                f"{variant.name}: {option} must be one of {', '.join(map(repr, allowed))}; it is {given!r}."
            )
        if record and given is not None and given != needed:
            raise ValueError(
                f"The weights {record.full_name!r} were trained with {option}={needed!r}, but {option}={given!r} was "
                f"asked for. Leave {option} out, or take weights=None."
            )
        resolved[option] = needed if given is None else given
    return resolved


def check_classes(options: SharedOptions, record: WeightsRecord | None) -> None:
    """Refuse weights of another number of classes, unless the last layer is new or left out."""
    if record and not options.features_only and options.head is None and options.classes != record.classes:
        raise ValueError(
            f"The weights {record.full_name!r} have {record.classes} classes, but classes={options.classes} was "
            'asked for. head="new" loads all but the last layer, which is then new; include_top=False leaves it out; '
            "weights=None trains from scratch."
        )


def check_shape(variant: Variant, shape: Sequence[Any]) -> None:
    """Refuse a shape of images that the variant cannot take."""
    if len(shape) != 3 or not isinstance(shape[2], int) or shape[2] < 1:
        raise ValueError(
            f"The input of {variant.name} is (height, width, channels), such as {variant.input_shape}; "
            f"input_shape is {shape}."
        )
    for side in shape[:2]:
        if side is None:
            continue
        if not isinstance(side, int):
            raise ValueError(f"Height and width must be whole numbers or None; input_shape is {shape}.")
        if side < variant.min_size:
            raise ValueError(
                f"{variant.name} cannot take an input of {shape[0]}x{shape[1]}: nothing would be left after its "
                f"strides. The smallest that works is {variant.min_size}x{variant.min_size}."
            )
