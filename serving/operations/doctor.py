"""`python -m serving doctor`: look at models and configuration before they are deployed.

A server says little of what it does not like: a folder with a wrong name it passes over, a model that does not load it
tries again for minutes, and a batch that was padded wrongly it answers. Everything here is found without a server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from kerascnn.console import quiet
from serving.artifacts import find_versions, is_name, read_model
from serving.contract import BATCH_SIZES
from serving.errors import RequestError, ServingError
from serving.findings import Finding, errors
from serving.operations import folders


@dataclass(frozen=True)
class Examined:
    """One version of a model: what it offers, and what it costs in bytes with the largest warmed-up batch."""

    model: str
    version: int
    signatures: tuple[str, ...]
    warmup_requests: int
    weights: int
    memory: int


@click.command(context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]})
@click.option(
    "--models",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("artifacts"),
    show_default=True,
    metavar="DIR",
    help="The folder that export wrote to.",
)
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="DIR", help="The configuration that init wrote, too."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(folder: Path, config: Path | None, as_json: bool) -> int:
    """Check models and configuration before they are deployed.

    Every version is loaded as a server would: folders, signatures, labels, operators, checksums, warm-up requests. The
    exit code is 1 where something would fail or answer wrongly; a warning does not change it.

    \b
    python -m serving doctor --models artifacts/
    python -m serving doctor --models artifacts/ --config deploy/ --json
    """
    examined, findings = examine(folder, config)
    if as_json:
        rows = {"versions": [asdict(row) for row in examined], "findings": [asdict(row) for row in findings]}
        print(json.dumps(rows, indent=2))
    else:
        _print(examined, findings)
    return 1 if errors(findings) else 0


def examine(folder: Path, config: Path | None = None) -> tuple[list[Examined], list[Finding]]:
    """Look at every model in `folder` and, where it is given, at the configuration in `config`.

    Returns:
        The versions that could be loaded, and what was found, the worst first.

    Raises:
        RequestError: there is no such folder, or nothing in it to look at.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder. Give the one that export wrote to (--output).")
    examined: list[Examined] = []
    findings: list[Finding] = []
    models = []
    for child in sorted(folder.iterdir()):
        base_path = folders.find_intended_base_path(child)
        if base_path is None:
            continue
        findings += folders.check(child.name, base_path)
        if not find_versions(base_path) or not is_name(child.name):
            continue
        try:
            model = read_model(child.name, base_path)
        except ServingError as error:
            findings.append(Finding("error", str(child), str(error), "Until then nothing can be said of it."))
            continue
        models.append(model)
        findings += folders.check_manifest(model)
        for version in model.versions:
            row, found = _examine_version(model.name, version, model.path(version))
            examined += [row] if row else []
            findings += found
    if not examined and not findings:
        raise RequestError(
            f"There is no model in {folder}. Export one with: python -m export --model squeezenet --saved-model "
            f"--output {folder}."
        )
    if config is not None:
        from serving.operations.validation import validate

        findings += validate(config, models)
    findings.sort(key=lambda finding: finding.severity != "error")
    return examined, findings


def _examine_version(name: str, version: int, folder: Path) -> tuple[Examined | None, list[Finding]]:
    """Load one version and try it; None where it does not load."""
    from serving.operations import trial
    from serving.operations.memory import estimate_memory

    with quiet():
        loaded, findings = trial.load(folder)
        if loaded is None:
            return None, findings
        findings += trial.check_signatures(folder, loaded.module)
        warmed, found = trial.check_warmup(folder, loaded.module)
        memory = estimate_memory(folder, loaded.graphs)
    signatures = tuple(sorted(loaded.module.signatures))
    row = Examined(name, version, signatures, warmed, memory.weights, memory.total(max(BATCH_SIZES)))
    return row, [*findings, *found]


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
    console.print(f"{count} errors, {len(findings) - count} warnings" if findings else "Nothing found to mend.")
