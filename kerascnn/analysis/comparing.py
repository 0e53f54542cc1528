"""Networks side by side: published accuracy, work and weights, from the table of facts, without building any.

On request forward passes are measured on this machine, each network in a process of its own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kerascnn.analysis.measuring import BATCH_SIZES, Measured, check_batch_sizes
from kerascnn.analysis.measuring import measure as measured
from kerascnn.registry import Variant, list_models, variant, variants


@dataclass(frozen=True)
class Compared:
    """The facts of one network.

    Attributes:
        name: The name of the variant.
        title: Its full name.
        family: The family it belongs to.
        year: The year of the paper.
        data: The test data of the errors.
        side: Side of the input in pixels.
        parameters: Trained weights.
        macs: Multiply-accumulates at `side` pixels.
        error: Published top-1 error in percent, or None.
        error5: Published top-5 error in percent, or None.
        source: Who published the error, and how it was measured. Compare only errors of one kind.
        measured: Forward passes on this machine, one for each batch size, if they were asked for.
    """

    name: str
    title: str
    family: str
    year: int
    data: str
    side: int
    parameters: int
    macs: int
    error: float | None
    error5: float | None
    source: str
    measured: tuple[Measured, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """Top-1, in percent."""
        return None if self.error is None else round(100 - self.error, 2)

    @property
    def accuracy_per_million(self) -> float | None:
        """Percent of accuracy for each million of parameters (the density of Canziani et al.)."""
        return None if self.accuracy is None else self.accuracy / (self.parameters / 1e6)

    def row(self) -> dict[str, Any]:
        """Return the facts as plain values, for JSON and CSV."""
        row = {**asdict(self), "accuracy": self.accuracy, "accuracy_per_million": self.accuracy_per_million}
        if not self.measured:
            del row["measured"]
        return row


def compare(
    names: Sequence[str],
    *,
    measure: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    step: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Compared]:
    """Look up networks, and measure them on request.

    Args:
        names: Names or shell patterns, such as `resnet*`.
        measure: Also run them on this machine, except for what is on record: see `kerascnn.analysis.measuring`.
        batch_sizes: The batch sizes to measure.
        step: Called before each network is measured, with its name, how many are done, and how many there are.

    Returns:
        The networks by test data; the most accurate first, those without a published error last.

    Raises:
        ValueError: The list is empty, a name is not known, a pattern matches nothing, or a batch size is not positive.
        TypeError: `names` is a single string.
        RuntimeError: A network could not be run.
    """
    if isinstance(names, str):
        raise TypeError(f"compare takes a list of names or patterns; give [{names!r}].")
    if not names:
        raise ValueError('There is nothing to compare: name at least one model or pattern, such as "resnet*".')
    check_batch_sizes(batch_sizes)
    rows = [_compared(variants()[name]) for name in find_models(names)]
    if measure:
        for i, row in enumerate(rows):
            step(row.name, i, len(rows))
            rows[i] = replace(row, measured=measured(row.name, batch_sizes))
    return sorted(rows, key=lambda row: (row.data, row.error is None, row.error or 0.0, row.parameters))


def find_models(names: Sequence[str]) -> list[str]:
    """Return the names that match any of the names and patterns, each once, in the order of these.

    Raises:
        ValueError: A name is not known, or a pattern matches nothing.
    """
    chosen: dict[str, None] = {}
    for name in names:
        if not set(name) & set("*?["):
            chosen[variant(name).name] = None
            continue
        matching = list_models(name)
        if not matching:
            families = sorted({row.family for row in variants().values() if fnmatch.fnmatchcase(row.family, name)})
            hint = f"There is a family of that name: {', '.join(families)}." if families else "`list` shows them all."
            raise ValueError(f"No model matches {name!r}. {hint}")
        chosen.update(dict.fromkeys(matching))
    return list(chosen)


def _compared(row: Variant) -> Compared:
    side = row.input_shape[0]
    published = row.errors[0] if row.errors else None
    return Compared(
        name=row.name,
        title=row.title,
        family=row.family,
        year=row.year,
        data=data_set(row),
        side=side,
        parameters=row.parameters,
        macs=row.macs[side],
        error=published.top1 if published else None,
        error5=published.top5 if published else None,
        source=published.source if published else "",
    )


def data_sets(rows: Sequence[Compared]) -> list[str]:
    """List the test data with published errors of two networks or more, ImageNet first; else the one that has any."""
    published = [row.data for row in rows if row.error is not None]
    names = sorted(set(published), key=lambda name: (name != "ImageNet", name))
    return [name for name in names if published.count(name) > 1] or names[:1]


def family_numbers(families: Iterable[str]) -> dict[str, int]:
    """Number families for their colors, from 0; a family's networks for CIFAR have the number of those for ImageNet."""
    roots: dict[str, int] = {}
    return {family: roots.setdefault(family.removesuffix("_cifar"), len(roots)) for family in families}


def data_set(row: Variant) -> str:
    """Name the data that a variant's published errors were measured on."""
    if row.classes == 1000:
        return "ImageNet"
    return {(1, 10): "MNIST", (3, 10): "CIFAR-10", (3, 43): "GTSRB"}.get((row.input_shape[2], row.classes), "other")
