"""Networks side by side: published accuracy against work and weights, from the table of facts, without building any.

What forward passes take on this machine is measured on request, each network in a process of its own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kerascnn.analysis.measuring import BATCH_SIZES, Measured, check_batch_sizes
from kerascnn.analysis.measuring import measure as measured
from kerascnn.registry import Variant, list_models, variant, variants


@dataclass(frozen=True)
class Compared:
    """One network's facts. macs: at `side` pixels. error: published top-1 in percent, of the test data `data`, or None.

    source: who published the error, and how it was measured: compare those of one kind alone.
    measured: forward passes on this machine, one a batch size, where they were asked for.
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
        """Percent of accuracy for each million of parameters, the density of Canziani et al."""
        return None if self.accuracy is None else self.accuracy / (self.parameters / 1e6)

    def row(self) -> dict[str, Any]:
        """As plain values, for JSON and CSV."""
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
    """The networks of these names or shell patterns, such as `resnet*`; the most accurate first, then the unpublished.

    Args:
        measure: also run them on this machine, see `kerascnn.analysis.measuring`; what is on record is not run again.
        batch_sizes: of the passes that are measured.
        step: told before each network is measured: its name, how many are done, and of how many.

    Raises:
        ValueError: the list is empty, a name is not known, a pattern matches nothing, or a batch size is not positive.
        TypeError: a single string in place of a list.
        RuntimeError: a network could not be run.
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
    """Names that match any of the names and patterns, each once, in the order in which they were asked for.

    Raises:
        ValueError: a name is not known, or a pattern matches nothing.
    """
    found: dict[str, None] = {}
    for name in names:
        if not set(name) & set("*?["):
            found[variant(name).name] = None
            continue
        matching = list_models(name)
        if not matching:
            families = sorted({row.family for row in variants().values() if fnmatch.fnmatchcase(row.family, name)})
            hint = f"There is a family of that name: {', '.join(families)}." if families else "`list` shows them all."
            raise ValueError(f"No model matches {name!r}. {hint}")
        found.update(dict.fromkeys(matching))
    return list(found)


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
    """The test data on which two networks or more have published errors, ImageNet first; else the one that has any."""
    shown = [row.data for row in rows if row.error is not None]
    found = sorted(set(shown), key=lambda name: (name != "ImageNet", name))
    return [name for name in found if shown.count(name) > 1] or found[:1]


def data_set(row: Variant) -> str:
    """What a variant's published errors were measured on."""
    if row.classes == 1000:
        return "ImageNet"
    return {(1, 10): "MNIST", (3, 10): "CIFAR-10", (3, 43): "GTSRB"}.get((row.input_shape[2], row.classes), "other")
