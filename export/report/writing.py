"""Write what describes an export: labels.txt, README.md (the model card), bom.cdx.json, report.md and report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.job import Job
from export.manifest import LABELS
from export.opening import first_line
from export.report import card, page, text
from export.report.bom import BOM, bom
from export.report.progress import Progress


def write_reports(job: Job, manifest: Mapping[str, Any], folder: Path, progress: Progress) -> None:
    """Write labels.txt, README.md, bom.cdx.json, report.md and, where its packages are installed, report.html.

    Args:
        job: What was exported.
        manifest: What is said of the folder.
        folder: Where to write.
        progress: Told of what goes wrong with report.html, which costs nobody the artifacts.
    """
    if job.loaded.labels:
        (folder / LABELS).write_text("\n".join(job.loaded.labels) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card.card(manifest), encoding="utf-8")
    (folder / BOM).write_text(json.dumps(bom(manifest, folder), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(text.markdown(manifest), encoding="utf-8")
    if not page.available():
        return
    progress.step(f"{job.name}: writing report.html")
    try:
        page.write(job, manifest, folder)
    except OSError:
        raise
    except Exception as error:
        progress.warn(f"report.html of {job.name} could not be written: {first_line(error)}")
