"""The artifacts with what was measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.checking.parity import SQNR_CEILING_DB
from export.report import exports, proofs
from export.report import text as report
from export.report.intervals import interval
from export.report.names import CODED, FORMAT_COLORS, KERAS, TITLES, title
from kerascnn.analysis.pages import charts
from kerascnn.analysis.pages.blocks import (
    Block,
    Chart,
    Charts,
    Column,
    Facts,
    Notes,
    Section,
    Table,
    count,
    decimals,
)
from kerascnn.analysis.pages.vega import Measure

_THREE = ",.3~r"  # significant digits
_SIZES = {"transport": "packed, bytes", "memory": "in memory, bytes"}

percent = decimals(1, 100, " %")
ARTIFACTS = (
    Column("name", "artifact"),
    Column("path", "path"),
    Column("bytes", "bytes", count, numeric=True),
    Column("median_ms", "latency, ms", decimals(2), numeric=True),
    Column("p90_ms", "90th percentile, ms", decimals(2), numeric=True),
    Column("relative_error", "relative error", lambda value: f"{value:.1e}" if value else "none", numeric=True),
    Column(
        "sqnr_db", "SQNR, dB", lambda value: f"{value:.1f}" if value < SQNR_CEILING_DB else "no noise", numeric=True
    ),
    Column("top1_agreement", "same best class", percent, numeric=True),
    Column("top1", "top-1", percent, numeric=True),
    Column("interval", "top-1, 95 % interval"),
    Column("top5", "top-5", percent, numeric=True),
)


def artifact_section(manifest: Mapping[str, Any]) -> Section:
    """Charts of size, latency and accuracy over the table of artifacts, and what must be said of them."""
    rows = artifact_rows(manifest)
    columns = [*ARTIFACTS[:3], *_size_columns(manifest), *ARTIFACTS[3:]]
    columns = [column for column in columns if any(row[column.key] is not None for row in rows)]
    blocks: list[Block] = [Notes([note], warning=True) for note in report.notes(manifest) if _must_be_seen(note)]
    blocks.append(Facts(_facts(manifest)))
    parts = [_bars(rows, "bytes", "Size, MB", _THREE, 1e-6), _bars(rows, "median_ms", "Latency, ms", _THREE, 1.0)]
    evaluation = exports.evaluation_of(manifest)
    if evaluation:
        images = evaluation["keras"]["images"]
        parts += [_accuracies(rows, images), _scatter(rows, images)]
    blocks.append(Charts([part for part in parts if part is not None]))
    blocks.append(Table("artifacts", "Figures of the artifacts", columns, rows, cards=True))
    proven = proofs.page_table(manifest)
    blocks += [proven] if proven else []
    lines = [note for note in report.notes(manifest) if not _must_be_seen(note)]
    blocks.append(Notes([*lines, *_gates(manifest)]))
    return Section("made", "Artifacts", blocks)


def artifact_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for the Keras model, where it was evaluated, for the .kdc file and for each artifact."""
    empty: dict[str, Any] = dict.fromkeys(column.key for column in (*ARTIFACTS, *_size_columns(manifest)))
    rows = []
    evaluation, compressed = exports.evaluation_of(manifest), manifest["compression"]
    if evaluation and compressed and compressed["original"]:
        rows.append({**empty, "name": "original Keras model", "format": KERAS, **accuracy(compressed["original"])})
    if evaluation:
        name = "compressed Keras model" if compressed else "Keras model"
        rows.append({**empty, "name": name, "format": KERAS, **accuracy(evaluation["keras"])})
    if compressed:
        path = {"name": "coded weights", "path": compressed["path"], "format": CODED, "bytes": compressed["bytes"]}
        if "memory" in empty:
            path["memory"] = compressed["float32_bytes"]
        rows.append({**empty, **path, **accuracy(evaluation["keras"] if evaluation else None)})
    for artifact in manifest["artifacts"]:
        parity = artifact["parity"]
        rows.append(
            {
                **empty,
                "name": title(artifact),
                "path": artifact["path"],
                "format": TITLES[artifact["format"]],
                "bytes": artifact["bytes"],
                **artifact.get("sizes", {}),
                "median_ms": artifact["latency"]["median_ms"],
                "p90_ms": artifact["latency"]["p90_ms"],
                **{key: parity.get(key) for key in ("relative_error", "sqnr_db", "top1_agreement")},
                **accuracy(exports.accuracy_of(manifest, artifact)),
            }
        )
    return rows if exports.has_top5(manifest) else [{**row, "top5": None} for row in rows]


def accuracy(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """Top-1, its interval and top-5; None where they were not measured."""
    if measured is None:
        return dict.fromkeys(("top1", "interval", "top5"))
    return {"top1": measured["top1"], "interval": interval(measured), "top5": measured["top5"]}


def _size_columns(manifest: Mapping[str, Any]) -> list[Column]:
    """Further sizes that the manifest has, such as on the wire or in memory."""
    keys = dict.fromkeys(key for artifact in manifest["artifacts"] for key in artifact.get("sizes", {}))
    return [Column(key, _SIZES.get(key, f"{key.replace('_', ' ')}, bytes"), count, numeric=True) for key in keys]


def _gates(manifest: Mapping[str, Any]) -> list[str]:
    """What was demanded of which artifacts; all passed, or they would not be there."""
    gates: dict[str, list[str]] = {}
    for artifact in manifest["artifacts"]:
        gates.setdefault(artifact["parity"]["gate"], []).append(title(artifact))
    return [f"Gate of {', '.join(names)}: {gate}." for gate, names in gates.items()]


def _must_be_seen(note: str) -> bool:
    return note.startswith(("UNTRAINED", "NOT"))


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("artifacts", str(len(manifest["artifacts"])))]
    if manifest["artifacts"]:
        smallest = min(manifest["artifacts"], key=lambda artifact: artifact["bytes"])
        fastest = min(manifest["artifacts"], key=lambda artifact: artifact["latency"]["median_ms"])
        facts.append((f"smallest: {title(smallest)}", _megabytes(smallest["bytes"])))
        facts.append((f"fastest: {title(fastest)}", f"{_three(fastest['latency']['median_ms'])} ms"))
    if manifest["compression"]:
        facts.append(("coded weights", _megabytes(manifest["compression"]["bytes"])))
    evaluation = exports.evaluation_of(manifest)
    if evaluation:
        keras = evaluation["keras"]
        facts.append((f"Keras top-1, 95 %: {interval(keras)}", percent(keras["top1"])))
        if exports.has_top5(manifest):
            facts.append(("Keras top-5", percent(keras["top5"])))
    return facts


def _three(number: float) -> str:
    """In three digits: 5.19, 0.0129."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def _megabytes(size: int) -> str:
    return f"{_three(size / 1e6)} MB"


def _colors(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [FORMAT_COLORS[row["format"]] for row in rows]


def _bars(rows: Sequence[Mapping[str, Any]], key: str, words: str, form: str, factor: float) -> Chart | None:
    shown = [row for row in rows if row[key] is not None]
    if not shown:
        return None
    tick = ("p90_ms", "90th percentile, ms") if key == "median_ms" else None
    names, colors = [row["name"] for row in shown], _colors(shown)
    specification = charts.bars(Measure(key, words, form, factor), names, tick=tick, colors=colors)
    words += " (the mark: 90th percentile)" if tick else ""
    return Chart("artifacts", words, f"A bar for each of {len(shown)} artifacts.", specification)


def _accuracies(rows: Sequence[Mapping[str, Any]], images: int) -> Chart:
    shown = [row for row in rows if row["top1"] is not None]
    measure = Measure("top1", "top-1, %", ".1f", 100.0)
    specification = charts.intervals(measure, [row["name"] for row in shown], images, _colors(shown))
    summary = f"A point and its 95 % interval for each of {len(shown)} models."
    return Chart("artifacts", f"Top-1 on {images} photos, %, with its 95 % interval", summary, specification)


def _scatter(rows: Sequence[Mapping[str, Any]], images: int) -> Chart:
    shown = [row for row in rows if row["bytes"] is not None and row["top1"] is not None]
    specification = charts.points(
        Measure("bytes", "MB", _THREE, 1e-6, "MB (log scale)"),
        Measure("top1", "top-1, %", ".1f", 100.0),
        {"name": "artifact"},
        dict(zip((row["name"] for row in shown), _colors(shown), strict=True)),
        images=images,
    )
    summary = f"{len(shown)} artifacts as points by size and top-1 accuracy, with the 95 % interval of the latter."
    return Chart("artifacts", "Accuracy against size", summary, specification, labels="name")
