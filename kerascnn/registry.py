"""The variants: a frozen record of each.

Each family has a file of records, `applications/FAMILY.toml`, with these tables:

    [page]                   words of the family's page in docs/architectures (docs/generate.py explains them)
    [defaults]               fields of `Variant` that its variants share, unless they have their own
    [variants.NAME]          fields of `Variant`
    [weights.VARIANT.NAME]   fields of `WeightsRecord`
    [recipes.NAME]           fields of `kerascnn.training.recipes.Recipe`

The files are read once and without importing Keras.
"""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PublishedError:
    """Errors in percent on the ImageNet validation set, or on the test set of what a small network was made for.

    Attributes:
        top1: How often the most likely class is wrong.
        source: Who published them.
        top5: How often the right class is not among the five most likely; None where that was not published.
    """

    top1: float
    source: str
    top5: float | None = None


@dataclass(frozen=True)
class WeightsRecord:
    """One set of trained weights: where it comes from, what it needs, what it must hash to.

    Attributes:
        variant: The network that they are for.
        name: Their name among the weights of that network.
        url: Where they are; "" for packaged ones.
        mirrors: Other addresses of the same file, which are tried in this order where the first fails.
        source: Where these facts were read.
        licence: The license of the weights, where their publisher states it.
        preprocessing: The fields of `kerascnn.photos.preprocessing.Preprocessing`. A record may name a profile of
            photos/profiles.toml instead. None where a file does not know it.
        file: Its name in the cache; the last part of the URL where a record leaves it out.
        format: How the file is read, which its ending tells.
        aliases: Other names; "imagenet" marks the weights of the paper's own authors, also where somebody else
            converted them.
        sha256: In full, or as many of its first digits as the publisher prints, as torch's file names do; "" where
            nobody publishes it, as for timm's files on the Hugging Face hub.
        sha1: Where the publisher gives that instead, of the file in a .zip; "" otherwise.
        md5: Where the publisher gives that instead; "" otherwise.
        bytes: Size of the file; None where the publisher does not say.
        classes: Number of classes.
        labels: The name of a set of classes, or the classes' names.
        options: The builder options that these weights were trained with, where they differ from the paper's.
        errors: As their publisher measured them, for one crop, or None.
        input_shape: The input shape of the network, where a file says it.
        trained: False for random weights that were put into a file, None where nobody knows.
        packaged: The file comes with kerascnn, in `kerascnn/data/weights`, with a manifest of the same name beside it
            that says how they were trained.
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
    mirrors: tuple[str, ...] = ()
    sha256: str = ""
    sha1: str = ""
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
    def addresses(self) -> tuple[str, ...]:
        """Return every address of the file, the first to be tried first."""
        return (self.url, *self.mirrors)

    @property
    def full_name(self) -> str:
        """Return the name that is unique over all variants, such as `squeezenet/imagenet`."""
        return f"{self.variant}/{self.name}"


@dataclass(frozen=True)
class OptionCounts:
    """Counts of a variant built with other options than the paper's.

    Attributes:
        options: The options.
        parameters: Trainable weights.
        gmacs: Multiply-accumulates in units of 1e9, rounded to four decimals; None where they were not counted.
    """

    options: Mapping[str, Any]
    parameters: int
    gmacs: float | None = None


@dataclass(frozen=True)
class Variant:
    """What is known of one network. Tests hold the code against it.

    Attributes:
        name: The builder's name.
        title: What people call it.
        family: The name of the pair of files that it is from.
        paper: Where it was published.
        year: When it was published.
        input_shape: (height, width, channels) of the paper's images.
        min_size: The smallest side that the architecture can take.
        parameters: Trainable weights, as the builder makes them with its default options.
        macs: Multiply-accumulates of convolutions and dense layers for one image, by the side of the square input.
        counts_from: Where parameters, statistics and macs were checked: an independent implementation, or arithmetic.
        stages: Channels and stride of each stage that `features=True` returns.
        statistics: Moving means and variances of batch normalization, which are not trained.
        also: Counts under other options.
        errors: As published.
        weights: Trained weights that `weights=` can name.
        classes: How many the network has by default.
        preprocessing: What the paper does to an image, as the fields of
            `kerascnn.photos.preprocessing.Preprocessing`. Where it is left out, an untrained network takes ImageNet's
            mean and scale, or 0 to 1 for one channel.
    """

    name: str
    title: str
    family: str
    paper: str
    year: int
    input_shape: tuple[int, int, int]
    min_size: int
    parameters: int
    macs: Mapping[int, int]
    counts_from: str
    stages: Mapping[str, tuple[int, int]]
    statistics: int = 0
    also: tuple[OptionCounts, ...] = ()
    errors: tuple[PublishedError, ...] = ()
    weights: tuple[WeightsRecord, ...] = ()
    classes: int = 1000
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


HOME = Path(__file__).parent
Table = Mapping[str, Any]  # of a TOML file


@cache
def read_families() -> Mapping[str, Table]:
    """Read the file of records of every family, by the family's name in alphabetical order."""
    return {path.stem: read_toml(path) for path in sorted((HOME / "applications").glob("*.toml"))}


def read_toml(path: Path) -> Table:
    """Read one TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def variants() -> Mapping[str, Variant]:
    """Return every variant by name, family by family."""
    profiles = read_toml(HOME / "photos" / "profiles.toml")
    records = {}
    for family, tables in read_families().items():
        for name, row in tables["variants"].items():
            weights = tables.get("weights", {}).get(name, {})
            records[name] = _variant(
                {"name": name, "family": family, **tables.get("defaults", {}), **row},
                tuple(_weights(name, key, facts, profiles) for key, facts in weights.items()),
            )
    return records


def _variant(row: Table, weights: tuple[WeightsRecord, ...]) -> Variant:
    read = {
        "input_shape": tuple(row["input_shape"]),
        "macs": {int(side): count for side, count in row["macs"].items()},
        "stages": {stage: tuple(pair) for stage, pair in row["stages"].items()},
        "also": tuple(OptionCounts(**counts) for counts in row.get("also", ())),
        "errors": tuple(PublishedError(**error) for error in row.get("errors", ())),
        "weights": weights,
    }
    return Variant(**{**row, **read})


_FORMATS = {
    ".h5": "keras",
    ".keras": "keras",
    ".pth": "torch",
    ".th": "torch",
    ".safetensors": "safetensors",
    ".net": "deep_compression",
    ".kdc": "kdc",
    ".zip": "torch",
    ".onnx": "onnx",
}


def _weights(variant: str, name: str, row: Table, profiles: Table) -> WeightsRecord:
    file = row.get("file", row["url"].rpartition("/")[2])
    preprocessing, labels, errors = row["preprocessing"], row.get("labels", "imagenet"), row.get("errors")
    read = {
        "file": file,
        "format": _FORMATS[file[file.rindex(".") :]],
        "preprocessing": profiles[preprocessing] if isinstance(preprocessing, str) else preprocessing,
        "aliases": tuple(row.get("aliases", ())),
        "mirrors": tuple(row.get("mirrors", ())),
        "labels": labels if isinstance(labels, str) else tuple(labels),
        "errors": PublishedError(**{"source": row["source"], **errors}) if errors else None,
    }
    return WeightsRecord(variant=variant, name=name, **{**row, **read})


def variant(name: str) -> Variant:
    """Return the record of one variant.

    Raises:
        ValueError: No variant has that name; the message lists the nearest ones.
    """
    try:
        return variants()[name]
    except (KeyError, TypeError):
        near = difflib.get_close_matches(str(name).lower(), variants(), n=3, cutoff=0.5)
        hint = f"The nearest names are: {', '.join(near)}." if near else "list_models() gives every name."
        raise ValueError(f"There is no model named {name!r}. {hint}") from None


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the variants that match a shell pattern such as `resnet*`, in alphabetical order."""
    return sorted(name for name in variants() if fnmatch.fnmatchcase(name, pattern))
