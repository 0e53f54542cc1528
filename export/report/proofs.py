"""In which runtimes which artifacts were proven: a row an artifact, a column a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from export.formats.registry import FORMATS
from export.proving.provers import PROVERS
from export.report.exports import milliseconds
from kerascnn.analysis.pages import blocks

if TYPE_CHECKING:
    from rich.table import Table

Record = Mapping[str, Any]
HEADING = "Proven in"
TITLES = {format.runtime.name: format.runtime.title for format in FORMATS.values()}
TITLES |= {prover.name: prover.title for prover in PROVERS.values()}


def columns(manifest: Record) -> dict[str, str]:
    """Return the headings of the runtimes by their names; none where no artifact was to be proven in a further one."""
    versions: dict[str, dict[str, None]] = {}
    for proof in (proof for artifact in manifest["artifacts"] for proof in artifact["proofs"]):
        versions.setdefault(proof["runtime"], {})[proof["version"]] = None
    if not set(versions) & set(PROVERS):
        return {}
    return {name: f"{TITLES[name]} {', '.join(versions[name])}".rstrip() for name in TITLES if name in versions}


def rows(manifest: Record) -> list[dict[str, str]]:
    """Return what each artifact's proofs say by the name of the runtime, and its `path`."""
    return [
        {"path": artifact["path"], **{proof["runtime"]: words(proof, artifact) for proof in artifact["proofs"]}}
        for artifact in manifest["artifacts"]
    ]


def words(proof: Record, artifact: Record) -> str:
    """Say how close the answers were and how long one took, or that there are none."""
    if proof["status"] == "not run":
        return "not run"
    said = []
    if artifact["precision"] == "float32" and proof["relative_error"] is not None:
        said.append(f"{proof['relative_error']:.0e}" if proof["relative_error"] else "identical")
    elif proof["sqnr_db"] is not None:
        said.append(f"{proof['sqnr_db']:.1f} dB")
    if proof["median_ms"] is not None:
        said.append(milliseconds(proof["median_ms"]))
    prover = PROVERS.get(proof["runtime"])
    said.append(prover.words(proof["details"]) if prover else "")
    return ", ".join(filter(None, said))


def notes(manifest: Record) -> list[str]:
    """Say what was not run, and why; artifacts with the same reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for artifact, proof in _all(manifest):
        if proof["status"] == "not run":
            reasons.setdefault((proof["runtime"], proof["reason"]), []).append(artifact["path"])
    lines = [f"Not run in {TITLES[name]}: {', '.join(paths)}: {why}" for (name, why), paths in reasons.items()]
    alone = {artifact["path"]: proof["details"] for artifact, proof in _all(manifest) if "batches" in proof["details"]}
    lines += [f"{path} takes one image at a time. {one['reason']}" for path, one in alone.items() if "reason" in one]
    return lines


def _all(manifest: Record) -> list[tuple[Record, Record]]:
    return [(artifact, proof) for artifact in manifest["artifacts"] for proof in artifact["proofs"]]


def terminal_table(manifest: Record) -> Table | None:
    """Return the matrix for a terminal; None where there is none."""
    from rich import box
    from rich.table import Table

    headings = columns(manifest)
    if not headings:
        return None
    table = Table(title=HEADING, box=box.SIMPLE_HEAD, title_justify="left")
    for heading in ("artifact", *headings.values()):
        table.add_column(heading)
    for row in rows(manifest):
        table.add_row(row["path"], *(row.get(name, "") for name in headings))
    return table


def markdown(manifest: Record) -> list[str]:
    """Return the lines of the matrix in report.md; none where there is none."""
    headings = columns(manifest)
    if not headings:
        return []
    lines = [("artifact", *headings.values()), ("---",) * (len(headings) + 1)]
    lines += [(row["path"], *(row.get(name, "") for name in headings)) for row in rows(manifest)]
    return [f"## {HEADING}", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""]


def page_table(manifest: Record) -> blocks.Table | None:
    """Return the matrix for report.html; None where there is none."""
    headings = columns(manifest)
    if not headings:
        return None
    shown = [blocks.Column("path", "artifact"), *(blocks.Column(name, words) for name, words in headings.items())]
    empty = dict.fromkeys(headings)
    return blocks.Table("proofs", HEADING, shown, [{**empty, **row} for row in rows(manifest)], cards=True)
