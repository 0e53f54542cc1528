"""What the command line prints: tables, JSON and CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kerascnn.analysis.comparing import Compared
    from kerascnn.analysis.profiling import Profile

_LEAST = 12  # letters of a word that stay together


def listing(rows: Sequence[Compared]) -> None:
    """Print a line for each network. It does without rich, whose import takes longer than everything else."""
    width = max(len(row.name) for row in rows)
    print(f"{'model':{width}}  year  {'input':>7}  {'parameters':>11}  {'GMACs':>7}  top-1 error  title")
    for row in rows:
        error = "-" if row.error is None else f"{row.error:.2f} %"
        print(
            f"{row.name:{width}}  {row.year}  {row.side:>3}x{row.side:<3}  {row.parameters:>11,}  "
            f"{row.macs / 1e9:7.3f}  {error:>11}  {row.title}"
        )


def data(rows: Sequence[dict[str, Any]], style: Literal["json", "csv"]) -> None:
    """Print rows as JSON, or as CSV with each measured batch size in columns of its own."""
    if style == "json":
        print(json.dumps(rows))
        return
    rows = [_with_columns(row) for row in rows]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _flat(value) for key, value in row.items()})


def _with_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Give each measured batch size columns of its own."""
    keys = ("milliseconds", "memory_mib", "joules")
    columns = {f"{key}_{batch['batch']}": batch[key] for batch in row.get("measured", ()) for key in keys}
    return {key: value for key, value in row.items() if key != "measured"} | columns


def _flat(value: object) -> object:
    return "x".join(f"{side:g}" for side in value) if isinstance(value, list) else value


def table(columns: str, numeric: int) -> Table:
    """Make a table with these headings, for `draw`; the last `numeric` columns are figures, aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    names = columns.split("|")
    for i, name in enumerate(names):
        right = i >= len(names) - numeric
        made.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


def draw(table: Table) -> None:
    """Print a table. Where a terminal is too narrow, words go on in the next line, and figures are never cut."""
    screen = console()
    for column in table.columns:
        longest = max(len(str(text)) for text in (column.header, *column.cells))
        column.min_width = min(longest, _LEAST) if screen.is_terminal and not column.no_wrap else longest
    needed = sum((column.min_width or 0) + 3 for column in table.columns)
    screen.width = max(screen.width, needed)  # the terminal breaks lines that are longer
    screen.print(table)


def console() -> Console:
    """Open standard output, with room for a table where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 132, highlight=False, markup=False)


def profile(costs: Profile, totals: dict[str, Any]) -> None:
    """Print every layer, then the totals."""
    shown = table("layer|kind|output|parameters|MACs|share|KiB|field|stride", 7)
    for row in costs.rows():
        macs = "unknown" if row["macs"] is None else f"{row['macs']:,}"
        shown.add_row(
            row["name"],
            row["kind"],
            _sides(row["output"]),
            f"{row['parameters']:,}" + (f" +{row['untrained']:,}" if row["untrained"] else ""),
            macs,
            f"{row['share']:.1%}" if row["macs"] else "",
            f"{row['memory_kib']:,.1f}",
            "" if row["receptive_field"] is None else ("all" if row["sees_all"] else _sides(row["receptive_field"])),
            "" if row["stride"] is None or row["stride"] == [0, 0] else _sides(row["stride"]),
        )
    draw(shown)
    screen = console()
    lines = {
        "parameters": f"{totals['parameters']:,}, and {totals['untrained']:,} that are not trained (+ above)",
        "multiply-accumulates": f"{totals['macs']:,}; {totals['flops_2x']:,} FLOPs; {totals['flops_lecture']:,} as "
        "the lectures count",
        f"weights ({costs.dtype})": _mib(totals["weights_kib"]),
        "all outputs": _mib(totals["forward_kib"]),
        "kept for training": _mib(totals["training_kib"]) + " an image",
        "peak of a forward pass": f"{_mib(totals['peak_kib'])} an image, at {totals['peak_at']}, "
        + ("in the order that needs least" if totals["peak_optimal"] else "branch by branch as built"),
    }
    for name, text in lines.items():
        screen.print(f"{name:>23}  {text}")
    if totals["unknown"]:
        screen.print(f"{'NOT COUNTED':>23}  {', '.join(totals['unknown'])}: layers of kinds that are not known")


def fields(rows: Sequence[dict[str, Any]]) -> None:
    """Print what each feature map sees of the image."""
    shown = table("layer|kind|output|field|stride|first pixel|", 5)
    for row in rows:
        known = row["receptive_field"] is not None
        parts = [_sides(row[key]) if known else "unknown" for key in ("receptive_field", "stride", "start")]
        shown.add_row(row["name"], row["kind"], _sides(row["output"]), *parts, "+ all" if row["sees_all"] else "")
    draw(shown)
    print("field, stride and the first pixel that output 0 sees: in pixels of the image; + all: through global pooling")


def comparison(rows: Sequence[Compared]) -> None:
    """Print a line for each network."""
    shown = table("model|year|data|published by|input|M params|GMACs|top-1 error|top-5|% per M", 6)
    for row in rows:
        shown.add_row(
            row.name,
            str(row.year),
            row.data,
            _short(row.source.replace(f", {row.data}", "")) or "-",
            str(row.side),
            f"{row.parameters / 1e6:.2f}",
            f"{row.macs / 1e9:.3f}",
            _decimals(row.error),
            _decimals(row.error5),
            _decimals(row.accuracy_per_million),
        )
    draw(shown)


def measured(rows: Sequence[Compared]) -> None:
    """Print a line for each batch size of each network."""
    from kerascnn.analysis.measuring import NO_METERS, energy_meters, machine, versions

    shown = table("model|batch|ms|images/s|MiB|J", 5)
    for row in rows:
        for i, figures in enumerate(row.measured):
            shown.add_row(
                row.name if not i else "",
                str(figures.batch),
                f"{figures.milliseconds:,.1f}",
                f"{1000 * figures.batch / figures.milliseconds:,.1f}",
                "-" if figures.memory_mib is None else f"{figures.memory_mib:,.1f}",
                _decimals(figures.joules),
            )
    draw(shown)
    screen = console()
    screen.print(f"Measured on {machine()}, {versions()}. MiB: what the process had above its weights.")
    if not energy_meters():
        screen.print(NO_METERS)


def _short(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _sides(values: Sequence[float]) -> str:
    return "x".join(f"{value:g}" for value in values) or "1"


def _mib(kib: float) -> str:
    return f"{kib / 1024:,.2f} MiB"
