"""What compression did, and what accuracy is at every size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.report.artifacts import accuracy, percent
from kerascnn.analysis.pages import charts
from kerascnn.analysis.pages.blocks import Block, Chart, Charts, Column, Facts, Page, Section, Table, count, decimals
from kerascnn.analysis.pages.rendering import render
from kerascnn.analysis.pages.vega import Measure, palette

STEPS = (
    Column("name", "state"),
    Column("bytes", "coded bytes", count, numeric=True),
    Column("zeros", "zeros", percent, numeric=True),
    Column("values", "values a layer"),
    Column("top1", "top-1", percent, numeric=True),
    Column("top5", "top-5", percent, numeric=True),
)


def compression_section(compressed: Mapping[str, Any], *, top5: bool = True) -> Section:
    """The network before and after each step, from the manifest, with top-5 where that says anything."""
    states = [("original", compressed["steps"][0]["before"])]
    states += [
        (f"{i}: {step['name'].replace('_', ' ')}", step["after"]) for i, step in enumerate(compressed["steps"], 1)
    ]
    rows = [
        {
            "name": name,
            "bytes": state["bytes"],
            "zeros": state["sparsity"],
            "values": f"{min(state['values'].values())} to {max(state['values'].values())}",
            **accuracy(state["accuracy"]),
        }
        for name, state in states
    ]
    names = [row["name"] for row in rows]
    parts = [
        Chart(
            "steps",
            "Coded size, kB",
            f"A bar for each of {len(rows)} states of the network.",
            charts.bars(Measure("bytes", "kB", ",.1f", 1e-3), names),
        )
    ]
    if any(row["top1"] is not None for row in rows):
        specification = charts.points(
            Measure("bytes", "kB", ",.1f", 1e-3, "coded kB (log scale)"),
            Measure("top1", "top-1, %", ".1f", 100.0),
            {"name": "state"},
            palette(names),
        )
        parts.append(
            Chart("steps", "Accuracy against coded size", "A point for each state.", specification, labels="name")
        )
    facts = [
        ("times smaller than float32", f"{compressed['float32_bytes'] / compressed['bytes']:,.1f}"),
        ("same best class as the original", percent(compressed["top1_agreement"])),
        ("divergence, nats", f"{compressed['divergence']:.4f}"),
    ]
    columns = [column for column in STEPS if top5 or column.key != "top5"]
    table = Table("steps", "States of the network", columns, rows, cards=True)
    return Section("compression", "Compression", [Facts(facts), Charts(parts), table])


FRONTIER = (
    Column("name", "point"),
    Column("pruned", "pruned"),
    Column("sparsity", "sparsity asked for", percent, numeric=True),
    Column("bits", "bits a weight", numeric=True),
    Column("bytes", "coded bytes", count, numeric=True),
    Column("zeros", "zeros", percent, numeric=True),
    Column("divergence", "divergence, nats", decimals(4), numeric=True),
    Column("agreement", "same best class", percent, numeric=True),
    Column("top1", "top-1", percent, numeric=True),
    Column("top5", "top-5", percent, numeric=True),
)


def frontier(points: Sequence[Mapping[str, Any]], title: str = "Compression") -> str:
    """The page of a sweep of sparsities and bits, see `export.compression.sweep`: its rows as mappings."""
    rows = [
        {**row, "name": f"{row['bits']} bits", "pruned": f"{100 * row['sparsity']:.0f} % pruned"}
        for row in sorted(points, key=lambda row: (row["sparsity"], row["bytes"]))
    ]
    labeled = rows[0]["top1"] is not None
    quality, measure = ("top1", "top-1") if labeled else ("agreement", "same best class as the original")
    words = f"{measure}, %"
    specification = charts.points(
        Measure("bytes", "kB", ",.1f", 1e-3, "coded kB (log scale)"),
        Measure(quality, words, ".1f", 100.0),
        {"pruned": "pruned", "name": "values"},
        palette(row["pruned"] for row in rows),
        join=True,
    )
    summary = f"{len(rows)} points by coded size and {measure}, a line for each sparsity."
    columns = [column for column in FRONTIER if any(row[column.key] is not None for row in rows)]
    blocks: list[Block] = [
        Chart("frontier", f"{measure.capitalize()} against coded size", summary, specification, "name"),
        Table("frontier", "Points", columns, rows),
    ]
    return render(Page(title, "Accuracy at every size", [Section("points", "Frontier", blocks)]))
