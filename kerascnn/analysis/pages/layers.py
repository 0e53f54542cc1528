"""What each layer of one network costs, as bars over its table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kerascnn
from kerascnn.analysis.pages import charts
from kerascnn.analysis.pages.blocks import Block, Chart, Column, Facts, Notes, Page, Section, Table, count
from kerascnn.analysis.pages.rendering import render

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
    "Normalization": "normalisation",
    "Pooling": "pooling",
}


def layer_section(found: Profile) -> Section:
    """Totals, three charts and the table behind them."""
    table = Table("layers", "Layers", COLUMNS, [_row(row) for row in found.rows()], folded=True)
    blocks: list[Block] = [Facts(facts(found))]
    if found.unknown:
        names = ", ".join(found.unknown)
        blocks.append(Notes([f"NOT COUNTED: {names}: layers of kinds that are not known."], warning=True))
    for value, title, unit, form, factor in (
        ("macs", "Multiply-accumulates of each layer", "10⁶", ",.3~f", 1e-6),
        ("parameters", "Parameters of each layer", "10³", ",.3~f", 1e-3),
        ("memory", f"Memory of each layer's output ({found.dtype})", "KiB", ",.1~f", 1 / 1024),
    ):
        summary = f"A bar for each of the {len(found.layers)} layers, in the order of the network."
        specification = charts.layer_bars(value, unit, len(found.layers), form=form, factor=factor)
        blocks.append(Chart("layers", f"{title}, {unit}", summary, specification))
    return Section("layers", "Layer by layer", [*blocks, table])


def html(found: Profile) -> str:
    """The page of one network, of `kerascnn summary --html`."""
    title = f"{found.name}: what each layer costs"
    footer = f"Written by kerascnn {kerascnn.__version__}."
    return render(Page(title, "For one image; read from the graph", [layer_section(found)], footer=footer))


def facts(found: Profile) -> list[tuple[str, str]]:
    """The totals, for one image."""
    return [
        ("parameters", count(found.parameters)),
        ("not trained", count(found.untrained)),
        ("multiply-accumulates", count(found.macs)),
        ("layers", count(len(found.layers))),
        ("peak of activations", _size(found.peak_kib)),
        ("kept for training", _size(found.training_kib)),
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
