"""What the command line prints: results, the list of models, and what would be done."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.request import Request


def print_results(manifests: Sequence[tuple[Path, dict[str, Any]]], as_json: bool) -> None:
    """Print the tables, or the manifests, of exports by their folders."""
    if as_json:
        print(json.dumps([{"folder": str(folder), **manifest} for folder, manifest in manifests], default=list))
        return
    from rich.console import Console

    from export.report import proofs
    from export.report import text as report

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for folder, manifest in manifests:
        console.print(report.terminal_table(manifest))
        proven = proofs.terminal_table(manifest)
        if proven:
            console.print(proven)
        for note in report.notes(manifest):
            console.print(f"  {note}", style="bold yellow" if note.startswith(("UNTRAINED", "NOT")) else "dim")
        if not (folder / "report.html").exists():
            console.print("  For report.html, with charts: pip install 'kerascnn\\[report]'.", style="dim")
        console.print(f"  Written to {folder}/\n")


def print_models(patterns: tuple[str, ...], as_json: bool) -> None:
    """Print the models that patterns match, or all, and their published weights."""
    from export.opening import expand_names
    from kerascnn.registry import list_models, variants

    names = [name for name in (expand_names(patterns) if patterns else list_models()) if name in variants()]
    rows = [variants()[name] for name in names]
    if as_json:
        fields = ("name", "title", "year", "input_shape", "min_size", "parameters", "macs")
        print(
            json.dumps(
                [
                    {**{f: getattr(row, f) for f in fields}, "weights": [record.name for record in row.weights]}
                    for row in rows
                ]
            )
        )
        return
    width = max(len(row.name) for row in rows)
    print(f"{'model':{width}}  {'input':>9}  {'parameters':>11}  {'GMACs':>6}  weights  title")
    for row in rows:
        side = f"{row.input_shape[0]}x{row.input_shape[1]}"
        macs = row.macs[row.input_shape[0]] / 1e9
        weights = ", ".join(record.name for record in row.weights) or "-"
        print(f"{row.name:{width}}  {side:>9}  {row.parameters:>11,}  {macs:6.2f}  {weights:7}  {row.title}")


def print_plan(plans: Sequence[tuple[str, Path, Request]], weights: str, replace: bool, as_json: bool) -> None:
    """Print which files the exports of models to folders would write, replace and keep, from which weights."""
    from export import adding
    from export.choosing import weights_state

    rows: list[dict[str, Any]] = []
    for name, folder, request in plans:
        state, trained = weights_state(name, weights)
        stem = Path(name).stem + ("_untrained" if trained is False else "")
        files = [item.path(stem) for item in request.items if not item.optional]
        files += [f"{stem}.kdc"] if request.compression else []
        files += ["web/index.html"] if request.web else []
        files += [f"{app}/" for app in request.apps]
        smaller = [item.path(stem) for item in request.items if item.optional]
        paths = {"files": files, "files_where_smaller": smaller}
        earlier = None if replace else adding.find(folder)
        paths["files_already_there"] = list(earlier.artifacts) if earlier else []
        listed = {key: [str(folder / file) for file in names] for key, names in paths.items()}
        provers = {prover.title: prover.missing() for prover in request.provers}
        rows.append({"model": name, "weights": state, **listed, "prove_in": provers, "push_to": request.push})
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['model']}: {row['weights']}")
        there = row["files_already_there"]
        for path in row["files"]:
            print(f"  would {'replace' if path in there else 'write'} {path}")
        for path in row["files_where_smaller"]:
            print(f"  would write {path}, where it is smaller than the dense file")
        for path in (path for path in there if path not in row["files"]):
            print(f"  would keep {path}")
        for runtime, missing in row["prove_in"].items():
            print(
                f"  could not prove files in {runtime}: {missing}" if missing else f"  would prove files in {runtime}"
            )
        if row["push_to"]:
            print(f"  would push the folder to {row['push_to']}")
