"""`python -m serving doctor`: check models and configuration before they are deployed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.commands import options
from serving.contract import BATCH_SIZES
from serving.findings import Finding, errors

if TYPE_CHECKING:
    from serving.operations.doctor import Examined


@click.command()
@options.configured_models
@options.config
@options.as_json
def command(models_folder: Path | None, config: Path | None, as_json: bool) -> int:
    """Check models and configuration before they are deployed.

    Every version is loaded as a server would: folders, signatures, labels, operators, checksums, warm-up requests. The
    exit code is 1 if something would fail or answer wrongly; a warning does not change it.

    \b
    python -m serving doctor --models artifacts/
    python -m serving doctor --models artifacts/ --config deploy/ --json
    """
    from serving.operations.doctor import examine

    examined, findings = examine(options.find_models_folder(models_folder, config), config)
    if as_json:
        rows = {"versions": [asdict(row) for row in examined], "findings": [asdict(row) for row in findings]}
        print(json.dumps(rows, indent=2))
    else:
        _print(examined, findings)
    return 1 if errors(findings) else 0


def _print(examined: Sequence[Examined], findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if examined:
        table = Table()
        for name in ("model", "version", "signatures", "warm-up", "weights", f"memory, batch {max(BATCH_SIZES)}"):
            table.add_column(name, justify="left" if name in ("model", "signatures") else "right")
        for row in examined:
            signatures = ", ".join(name.removeprefix("serving_") for name in row.signatures)
            sizes = (f"{size / 1e6:,.0f} MB" for size in (row.weights, row.memory))
            table.add_row(row.model, str(row.version), signatures, str(row.warmup_requests), *sizes)
        console.print(table)
        console.print("Memory is estimated (python -m pydoc serving.operations.memory).\n", style="dim")
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "bold yellow"
        console.print(f"{finding.severity}: {finding.where}", style=style, markup=False)
        console.print(f"  {finding.what}\n  {finding.mend}", markup=False)
    count = len(errors(findings))
    console.print(f"{count} errors, {len(findings) - count} warnings" if findings else "No problem found.")
