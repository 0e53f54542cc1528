"""The page of one export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.images import ImageSource
from export.report import exports
from export.report import text as report
from export.report.artifacts import artifact_section
from export.report.compression import compression_section
from export.report.photos import photo_section
from export.report.snippets import snippets
from kerascnn.analysis.pages.blocks import Block, Notes, Page, Section
from kerascnn.analysis.pages.rendering import available, render

if TYPE_CHECKING:
    from export.job import Job
    from kerascnn.analysis.profiling import Profile

__all__ = ["NAME", "available", "html", "write"]

NAME = "report.html"
_FOOTER = "The figures of the artifacts are those of manifest.json, beside this file. Nothing here needs a network."


def write(job: Job, manifest: Mapping[str, Any], folder: Path) -> None:
    """report.html, of a manifest that is complete but for the list of files."""
    from kerascnn.analysis.profiling import profile

    try:
        costs = profile(job.loaded.model)
    except ValueError:  # its sides are open, or its graph is of a kind that cannot be read
        costs = None
    text = html(manifest, costs=costs, photos=job.evaluation, labels=job.loaded.labels)
    (folder / NAME).write_text(text, encoding="utf-8")


def html(
    manifest: Mapping[str, Any],
    *,
    costs: Profile | None = None,
    photos: ImageSource | None = None,
    labels: Sequence[str] | None = None,
) -> str:
    """The page of one export.

    Args:
        manifest: as it is written to manifest.json; every figure of an artifact is from it.
        costs: The network's costs; None where its graph does not tell them.
        photos: where the evaluated photos are, to show those that artifacts disagree on.
        labels: class names in the order of the outputs.

    Raises:
        ModuleNotFoundError: the extra `report` is not installed.
    """
    sections = [artifact_section(manifest)]
    if exports.evaluation_of(manifest):
        sections.append(photo_section(manifest, photos, labels))
    if manifest["compression"]:
        sections.append(compression_section(manifest["compression"], top5=exports.has_top5(manifest)))
    sections += _comparison_sections(manifest)
    if costs is not None:
        from kerascnn.analysis.pages.layers import layer_section

        sections.append(layer_section(costs))
    sections.append(_origin_section(manifest))
    name = manifest["model"]["name"]
    words = f"Exported {exports.when(manifest['created'])}"
    page = Page(name, f"{words} by kerascnn {manifest['versions']['kerascnn']}", sections, footer=_FOOTER)
    return render(page)


def _comparison_sections(manifest: Mapping[str, Any]) -> list[Section]:
    """Where the network stands among those with published errors on the same data; none for a model of one's own."""
    from kerascnn.analysis.comparing import compare
    from kerascnn.analysis.pages.comparison import SOURCES, bubbles, networks

    rows = compare(["*"])
    this = next((row for row in rows if row.name == manifest["model"]["variant"]), None)
    if this is None or this.accuracy is None:
        return []
    others = [row for row in rows if row.data == this.data and row.accuracy is not None]
    if len(others) == 1:
        return []
    blocks: list[Block] = [Notes([SOURCES]), bubbles(others, this.data, this.name), networks(others, folded=True)]
    return [Section("others", "Among the others", blocks)]


def _origin_section(manifest: Mapping[str, Any]) -> Section:
    lines = [line.replace("`", "") for line in report.use(manifest)]
    return Section("use", "Use", [Notes(lines), snippets(manifest)])
