"""Which of the exports to a folder made an artifact, and on which photos it was scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def export_of(manifest: Record, artifact: Record) -> Record:
    """Return what the manifest says of the export that made an artifact."""
    return next((export for export in manifest["earlier"] if export["created"] == artifact["created"]), manifest)


def evaluation_of(manifest: Record) -> Record | None:
    """Return the last evaluation, whose photos artifacts are compared on; None where there was none."""
    exports = (manifest, *reversed(manifest["earlier"]))
    return next((export["evaluation"] for export in exports if export["evaluation"]), None)


def accuracy_of(manifest: Record, artifact: Record) -> Record | None:
    """Return an artifact's accuracy on the photos of the last evaluation; None where it was not scored on them."""
    own, last = export_of(manifest, artifact)["evaluation"], evaluation_of(manifest)
    same = own and last and all(own[name] == last[name] for name in ("source", "photos", "skipped", "keras"))
    return artifact["accuracy"] if same else None


def has_top5(manifest: Record) -> bool:
    """Tell whether top-5 says anything: with five classes or fewer every answer has the right one."""
    return (manifest["signature"]["output"]["shape"][-1] or 0) > 5


def when(created: str) -> str:
    """Say a time as a person reads it, such as `2026-11-28 07:15 UTC`."""
    return f"{created[:16].replace('T', ' ')} UTC"


def notes(manifest: Record) -> list[str]:
    """Say which artifacts earlier exports made, and what these were compared and scored on."""
    lines = []
    for export in manifest["earlier"]:
        paths = [artifact["path"] for artifact in manifest["artifacts"] if artifact["created"] == export["created"]]
        check, scored = export["verification"], export["evaluation"]
        line = f"Exported on {when(export['created'])}: {', '.join(paths)}. "
        line += f"Compared on {check['images']} {check['source']}"
        if scored:
            line += f", scored on {scored['keras']['images']} photos of {scored['source']}"
        lines.append(f"{line}.")
        lines += _elsewhere(manifest, export)
    return lines


def _elsewhere(manifest: Record, export: Record) -> list[str]:
    """Say the accuracy of artifacts that were scored on other photos than the last."""
    accuracies = [
        f"{artifact['path']} {100 * artifact['accuracy']['top1']:.1f} %"
        for artifact in manifest["artifacts"]
        if artifact["created"] == export["created"] and artifact["accuracy"] and not accuracy_of(manifest, artifact)
    ]
    if not accuracies:
        return []
    keras = 100 * export["evaluation"]["keras"]["top1"]
    return [f"Top-1 on those photos, which are not those of the table: Keras {keras:.1f} %, {', '.join(accuracies)}."]


def milliseconds(value: float) -> str:
    """Return a latency for tables."""
    return f"{value:.{2 if value < 1 else 1}f} ms"


def size(value: int) -> str:
    """Return a number of bytes for tables, in MB, or in kB where that would be 0.0 MB."""
    return f"{value / 1e6:.2f} MB" if value >= 100_000 else f"{value / 1e3:.1f} kB"
