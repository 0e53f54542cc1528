"""What each layer of one network costs, as bars over its table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kerascnn
from kerascnn.analysis.pages import charts
from kerascnn.analysis.pages.blocks import Block, Chart, Column, Facts, Notes, Page, Section, Table, count
from kerascnn.analysis.pages.rendering import render
from kerascnn.analysis.pages.vega import Measure

if TYPE_CHECKING:
    from kerascnn.analysis.profiling import Profile

COLUMNS = (
    Column("name", "layer"),
    Column("layer", "class"),
    Column("group", "kind"),
    Column("output", "output"),
    Column("parameters", "parameters", count, numeric=True),
    Column("macs", "multiply-accumulates", count, numeric=True),
    Column("memory", "output, bytes", count, numeric=True),
)
_GROUPS = {
    "Conv": "convolution",
    "Dense": "dense",
    "Normalization": "normalization",
    "Pooling": "pooling",
}


def layer_section(costs: Profile) -> Section:
    """Make a section of totals, three charts and the table behind them."""
    rows = [_row(row) for row in costs.rows()]
    table = Table("layers", "Layers", COLUMNS, rows, folded=True)
    blocks: list[Block] = [Facts(facts(costs))]
    if costs.unknown:
        unknown = ", ".join(costs.unknown)
        blocks.append(Notes([f"NOT COUNTED: {unknown}: layers of kinds that are not known."], warning=True))
    names = list(dict.fromkeys(row["name"] for row in rows))
    summary = f"A bar for each of the {len(names)} layers, in the order of the network."
    for title, measure in (
        ("Multiply-accumulates of each layer", Measure("macs", "10⁶", ",.3~f", 1e-6)),
        ("Parameters of each layer", Measure("parameters", "10³", ",.3~f", 1e-3)),
        (f"Memory of each layer's output ({costs.dtype})", Measure("memory", "KiB", ",.1~f", 1 / 1024)),
    ):
        kinds = {row["group"] for row in rows if row[measure.key]}
        blocks.append(Chart("layers", f"{title}, {measure.title}", summary, charts.layer_bars(measure, names, kinds)))
    return Section("layers", "Layer by layer", [*blocks, table])


def html(costs: Profile) -> str:
    """Write the page of one network, that of `kerascnn summary --html`, as the text of an HTML file."""
    title = f"{costs.name}: what each layer costs"
    footer = f"Written by kerascnn {kerascnn.__version__}."
    return render(Page(title, "For one image; read from the graph", [layer_section(costs)], footer=footer))


def facts(costs: Profile) -> list[tuple[str, str]]:
    """Return the totals for one image."""
    return [
        ("parameters", count(costs.parameters)),
        ("not trained", count(costs.untrained)),
        ("multiply-accumulates", count(costs.macs)),
        ("layers", count(len(costs.layers))),
        ("peak of activations", _size(costs.peak_kib)),
        ("kept for training", _size(costs.training_kib)),
    ]


def _size(kib: float) -> str:
    return f"{kib / 1024:,.2f} MiB" if kib >= 1024 else f"{kib:,.1f} KiB"


def _row(row: dict[str, Any]) -> dict[str, Any]:
    group = next((group for part, group in _GROUPS.items() if part in row["kind"]), "other")
    return {
        "name": row["name"],
        "layer": row["kind"],
        "group": group,
        "output": " × ".join(map(str, row["output"])) or "1",
        "parameters": row["parameters"],
        "macs": row["macs"],
        "memory": round(row["memory_kib"] * 1024),
    }
