"""The page of `kerascnn compare --html`: networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import kerascnn
from kerascnn.analysis.comparing import Compared, data_sets, family_numbers
from kerascnn.analysis.measuring import NO_METERS, machine, versions
from kerascnn.analysis.pages import charts
from kerascnn.analysis.pages.blocks import Chart, Charts, Column, Notes, Page, Section, Table, count, decimals
from kerascnn.analysis.pages.rendering import render
from kerascnn.analysis.pages.vega import Measure

NETWORKS = (
    Column("name", "network"),
    Column("family", "family"),
    Column("year", "year", numeric=True),
    Column("data", "data"),
    Column("side", "input", numeric=True),
    Column("parameters", "parameters", count, numeric=True),
    Column("macs", "multiply-accumulates", count, numeric=True),
    Column("accuracy", "top-1, %", decimals(2), numeric=True),
    Column("error5", "top-5 error, %", decimals(2), numeric=True),
    Column("accuracy_per_million", "% per M parameters", decimals(2), numeric=True),
    Column("source", "published by"),
)
SOURCES = (
    "The errors come from different people and evaluations, which the table names. Compare only those of one kind. "
    "Multiply-accumulates are those of convolutions and dense layers for one image of the given size."
)


def networks(rows: Sequence[Compared], title: str = "Networks", *, folded: bool = False) -> Table:
    """Make the table that the charts of published figures read."""
    return Table("networks", title, NETWORKS, [row.row() for row in rows], folded=folded)


def bubbles(rows: Sequence[Compared], data: str, highlight: str | None = None) -> Chart:
    """Chart accuracy against work for the networks that were measured on `data`, from the table of `networks`."""
    shown = [row for row in rows if row.data == data and row.accuracy is not None]
    hint = f" A ring is around {highlight}." if highlight else " Click a family below to single it out."
    numbers, work = family_numbers(row.family for row in rows), [row.macs for row in shown]
    specification = charts.bubbles(
        data,
        {row.family: numbers[row.family] for row in shown},
        span=(min(work), max(work)),
        highlight=next(((row.name, row.parameters) for row in shown if row.name == highlight), None),
        largest=max(row.parameters for row in shown),
    )
    return Chart(
        "networks",
        f"{data}: accuracy against work; the area of a circle is the number of parameters"
        + (f"; the ring is {highlight}" if highlight else ""),
        f"{len(shown)} networks as circles by multiply-accumulates and published top-1 accuracy on {data}.{hint}",
        specification,
        labels="name",
    )


def density(rows: Sequence[Compared], data: str) -> Chart:
    """Chart accuracy for each million of parameters."""
    shown = [row for row in rows if row.data == data and row.accuracy_per_million is not None]
    shown.sort(key=lambda row: -(row.accuracy_per_million or 0))
    measure = Measure("accuracy_per_million", "% of top-1 for a million parameters", ".2f")
    specification = charts.bars(measure, [row.name for row in shown])
    return Chart(
        "networks",
        f"{data}: accuracy for each million of parameters",
        f"A bar for each of {len(shown)} networks on {data}.",
        specification,
    )


MEASURED = (
    Column("name", "network"),
    Column("batch", "batch", numeric=True),
    Column("milliseconds", "ms a batch", decimals(1), numeric=True),
    Column("each", "ms an image", decimals(2), numeric=True),
    Column("memory_mib", "memory, MiB", decimals(1), numeric=True),
    Column("joules", "joules a batch", decimals(2), numeric=True),
    Column("day", "measured"),
)


def measured_section(rows: Sequence[Compared]) -> Section:
    """Make the section about forward passes on this machine."""
    measurements = [
        {"name": row.name, **asdict(one), "each": one.milliseconds / one.batch} for row in rows for one in row.measured
    ]
    columns = [column for column in MEASURED if any(row[column.key] is not None for row in measurements)]
    names = list(dict.fromkeys(row["name"] for row in measurements))
    batch = Measure("batch", "batch size")
    titles = {
        "Time of a forward pass for each image": Measure("each", "ms an image", ",.2f"),
        "Memory of a forward pass, above the weights": Measure("memory_mib", "MiB", ",.1f"),
        "Energy of a forward pass": Measure("joules", "joules a batch", ",.2f"),
    }
    drawn = [
        Chart(
            "measured",
            title,
            f"A line for each of {len(names)} networks over the batch size.",
            charts.lines(batch, measure, names),
        )
        for title, measure in titles.items()
        if any(row[measure.key] is not None for row in measurements)
    ]
    notes = [
        f"Measured on {machine()}, with {versions()}: the median of Keras's predict_on_batch with random weights. "
        "Memory is what the process had above what it had with the weights, before its first pass."
    ]
    if all(row["joules"] is None for row in measurements):
        notes.append(NO_METERS)
    return Section(
        "measured",
        "Measured here",
        [Notes(notes), Charts(drawn), Table("measured", "Forward passes", columns, measurements)],
    )


def comparison(rows: Sequence[Compared]) -> Page:
    """Make the page of all that is known of these networks."""
    data = data_sets(rows)
    several = [name for name in data if sum(row.data == name and row.error is not None for row in rows) > 1]
    bubbled = [bubbles(rows, name) for name in several]
    sections = [Section("accuracy", "Accuracy, work and size", [Notes([SOURCES]), *bubbled, networks(rows)])]
    if data:
        parts = Charts([density(rows, name) for name in data])
        sections.append(Section("density", "Accuracy for each parameter", [parts]))
    if any(row.measured for row in rows):
        sections.append(measured_section(rows))
    names = ", ".join(row.name for row in rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
    title = "Networks compared" if len(rows) > 1 else rows[0].title
    return Page(title, names, sections, footer=f"Written by kerascnn {kerascnn.__version__}.")


def html(rows: Sequence[Compared]) -> str:
    """Write the page as the text of one HTML file."""
    return render(comparison(rows))
