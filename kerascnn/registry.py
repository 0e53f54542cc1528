"""The variants: a frozen record of each, and the builders that make them.

The records come from `variants.toml` and are read without importing Keras; a builder joins them with `@register`.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class PublishedError:
    """Errors in percent on the ImageNet validation set, and who published them."""

    top1: float
    top5: float
    source: str


@dataclass(frozen=True)
class WeightsRecord:
    """One set of trained weights: where it comes from, what it needs, what it must hash to.

    `options` are the builder options that these weights were trained with, where they differ from the paper's.
    `preprocessing` holds the fields of `kerascnn.preprocessing.Preprocessing`.
    """

    variant: str
    name: str
    file: str
    format: str
    url: str
    sha256: str
    bytes: int
    licence: str
    source: str
    classes: int
    labels: str
    options: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        """The name that is unique over all variants, such as `squeezenet/imagenet`."""
        return f"{self.variant}/{self.name}"


@dataclass(frozen=True)
class OptionCounts:
    """Counts of a variant built with other options than the paper's; `gmacs` is rounded to four decimals."""

    options: Mapping[str, Any]
    parameters: int
    gmacs: float | None = None


@dataclass(frozen=True)
class Variant:
    """What is known of one network; `variants.toml` explains the fields."""

    name: str
    title: str
    family: str
    paper: str
    year: int
    input_shape: tuple[int, int, int]
    min_size: int
    parameters: int
    statistics: int
    macs: Mapping[int, int]
    also: tuple[OptionCounts, ...]
    counts_from: str
    stages: Mapping[str, tuple[int, int]]
    errors: tuple[PublishedError, ...]
    weights: tuple[WeightsRecord, ...]


@cache
def variants() -> Mapping[str, Variant]:
    """Every variant by name, in the order of `variants.toml`."""
    text = resources.files("kerascnn").joinpath("variants.toml").read_text(encoding="utf-8")
    return {name: _record(name, row) for name, row in tomllib.loads(text).items()}


def _record(name: str, row: dict[str, Any]) -> Variant:
    row = dict(row)
    row["input_shape"] = tuple(row["input_shape"])
    row["macs"] = {int(side): count for side, count in row["macs"].items()}
    row["stages"] = {stage: tuple(pair) for stage, pair in row["stages"].items()}
    row["also"] = tuple(OptionCounts(**counts) for counts in row.get("also", ()))
    row["errors"] = tuple(PublishedError(**error) for error in row["errors"])
    row["weights"] = tuple(
        WeightsRecord(**{"variant": name, "options": {}, **weights}) for weights in row.get("weights", ())
    )
    return Variant(name=name, **row)


def variant(name: str) -> Variant:
    """The record of one variant.

    Raises:
        ValueError: no variant has that name; the message lists the nearest ones.
    """
    try:
        return variants()[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(str(name).lower(), variants(), n=3, cutoff=0.5)
        hint = f"The nearest names are: {', '.join(near)}." if near else "list_models() gives every name."
        raise ValueError(f"There is no model named {name!r}. {hint}") from None


def list_models(pattern: str = "*") -> list[str]:
    """Names of the variants that match a shell pattern such as `resnet*`, in alphabetical order."""
    return sorted(name for name in variants() if fnmatch.fnmatchcase(name, pattern))


Builder = TypeVar("Builder", bound=Callable[..., Any])
_builders: dict[str, Callable[..., keras.Model]] = {}


def register(builder: Builder) -> Builder:
    """Make a public builder known under its own name, which must have a row in `variants.toml`."""
    name = builder.__name__
    if name not in variants():
        raise LookupError(f"The builder {name!r} has no row in variants.toml.")
    _builders[name] = builder
    return builder


def builders() -> Mapping[str, Callable[..., keras.Model]]:
    """Every builder by name (imports Keras)."""
    importlib.import_module("kerascnn.applications")
    return _builders


def create_model(name: str, **options: Any) -> keras.Model:
    """Build a variant by name: `create_model("resnet50", classes=10)` is `applications.resnet50(classes=10)`.

    Raises:
        ValueError: no variant has that name, or an option has a value that the builder does not take.
        TypeError: the builder has no option of that name; the message lists those that it has.
    """
    variant(name)
    return builders()[name](**options)
