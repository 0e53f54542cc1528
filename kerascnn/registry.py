"""The variants: a frozen record of each, and the builders that make them.

The records come from `variants.toml`, their weights from `weights/sources.toml`; both are read without importing
Keras. A builder joins them with `@register`.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import gc
import importlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class PublishedError:
    """Errors in percent on the ImageNet validation set, or on the test set of what a small network was made for.

    `source` says who published them; `top5` is None where they did not.
    """

    top1: float
    source: str
    top5: float | None = None


@dataclass(frozen=True)
class WeightsRecord:
    """One set of trained weights: where it comes from, what it needs, what it must hash to.

    aliases: other names, such as "imagenet" for weights that the paper's own authors published.
    file: its name in the cache.
    sha256: in full, or as many of its first digits as the publisher prints; "" where nobody publishes it.
    md5: where the publisher gives that instead; "" otherwise.
    bytes: None where the publisher does not say.
    options: the builder options that these weights were trained with, where they differ from the paper's.
    preprocessing: the fields of `kerascnn.photos.preprocessing.Preprocessing`; None where a file does not know it.
    labels: the name of a set of classes, or the classes' names.
    input_shape: of the network, where a file says it.
    trained: False for random weights that were put into a file, None where nobody knows.
    packaged: the file comes with kerascnn, in `kerascnn/data/weights`, with a manifest of the same name beside it.
    errors: as their publisher measured them, or None.
    """

    variant: str
    name: str
    url: str
    source: str
    licence: str
    preprocessing: Mapping[str, Any] | None
    file: str
    format: str
    aliases: tuple[str, ...] = ()
    sha256: str = ""
    md5: str = ""
    bytes: int | None = None
    classes: int = 1000
    labels: str | tuple[str, ...] = "imagenet"
    options: Mapping[str, Any] = field(default_factory=dict)
    errors: PublishedError | None = None
    input_shape: tuple[int | None, int | None, int] | None = None
    trained: bool | None = True
    packaged: bool = False

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
    classes: int = 1000
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def _read_toml(path: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("kerascnn").joinpath(path).read_text(encoding="utf-8"))


@cache
def variants() -> Mapping[str, Variant]:
    """Every variant by name, in the order of `variants.toml`."""
    sources = _read_toml("weights/sources.toml")
    profiles = sources.pop("preprocessing")
    found = {}
    for name, row in _read_toml("variants.toml").items():
        weights = [_weights(name, key, facts, profiles) for key, facts in sources.get(name, {}).items()]
        found[name] = _record(name, row, weights)
    return found


def _record(name: str, row: dict[str, Any], weights: list[WeightsRecord]) -> Variant:
    row["input_shape"] = tuple(row["input_shape"])
    row["macs"] = {int(side): count for side, count in row["macs"].items()}
    row["stages"] = {stage: tuple(pair) for stage, pair in row["stages"].items()}
    row["also"] = tuple(OptionCounts(**counts) for counts in row.get("also", ()))
    row["errors"] = tuple(PublishedError(**error) for error in row["errors"])
    return Variant(name=name, weights=tuple(weights), **row)


_FORMATS = {
    ".h5": "keras",
    ".keras": "keras",
    ".pth": "torch",
    ".th": "torch",
    ".safetensors": "safetensors",
    ".net": "deep_compression",
    ".kdc": "kdc",
}


def _weights(variant: str, name: str, row: dict[str, Any], profiles: Mapping[str, Any]) -> WeightsRecord:
    file = row.setdefault("file", row["url"].rpartition("/")[2])
    row["format"] = _FORMATS[file[file.rindex(".") :]]
    row["preprocessing"] = profiles[row["preprocessing"]]
    row["aliases"] = tuple(row.get("aliases", ()))
    if isinstance(row.get("labels"), list):
        row["labels"] = tuple(row["labels"])
    if "errors" in row:
        row["errors"] = PublishedError(**{"source": row["source"], **row["errors"]})
    return WeightsRecord(variant=variant, name=name, **row)


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

    @functools.wraps(builder)
    def build(*arguments: Any, **options: Any) -> keras.Model:
        with _no_collection():
            return builder(*arguments, **options)

    _builders[name] = build
    return cast("Builder", build)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: building allocates objects by the million and frees few of them.

    It takes a tenth off the time that the largest networks take to build.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
