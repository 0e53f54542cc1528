"""Photos on which artifacts disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.images import ImageSource
from export.report.exports import evaluation_of
from export.report.names import title
from kerascnn.analysis.pages.blocks import Answer, Notes, Photo, Photos, Section
from kerascnn.photos import files, images


def photo_section(manifest: Mapping[str, Any], photos: ImageSource | None, labels: Sequence[str] | None) -> Section:
    """The photos that the manifest names, with what the Keras model and each artifact say of them."""
    evaluation = evaluation_of(manifest)
    assert evaluation is not None
    disagreements = evaluation["disagreements"]
    titles = {artifact["path"]: title(artifact) for artifact in manifest["artifacts"]}
    total, shown = evaluation["keras"]["images"], disagreements["shown"]
    line = f"On all of {total} photos the best class of every artifact is that of the Keras model."
    if disagreements["photos"]:
        count = disagreements["photos"]
        line = f"On {count} of {total} photos the best class of an artifact is not that of the Keras model."
    if disagreements["photos"] > len(shown):
        line += f" These are the {len(shown)} on which most artifacts differ."
    share = manifest["signature"]["output"]["name"] == "probabilities"
    pictures = [
        Photo(
            row["photo"],
            _class(labels, row["label"]),
            thumbnail(photos, row["photo"]) if photos is not None else "",
            _answers(row, titles, labels, share),
        )
        for row in shown
    ]
    return Section("photos", "Where they disagree", [Notes([line]), Photos(pictures)])


def _answers(
    row: Mapping[str, Any], titles: Mapping[str, str], labels: Sequence[str] | None, share: bool
) -> list[Answer]:
    """Of the Keras model and of each artifact; one answer for those that name the same classes in the same order."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(row["answers"], key=lambda name: name != "keras"):
        groups.setdefault(tuple(index for index, _ in row["answers"][name]), []).append(name)
    return [
        Answer(
            ", ".join(titles.get(name, "Keras model") for name in names),
            [
                (_class(labels, index), _scores([row["answers"][name][place][1] for name in names], share))
                for place, index in enumerate(classes)
            ],
            classes[0] == row["label"],
        )
        for classes, names in groups.items()
    ]


def _scores(scores: Sequence[float | None], share: bool) -> str:
    """One score, or from the least to the greatest."""
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return "not a number"
    low, high = (f"{100 * score:.1f}" if share else f"{score:.3f}" for score in (min(known), max(known)))
    return (low if low == high else f"{low}–{high}") + (" %" if share else "")


def _class(labels: Sequence[str] | None, index: int) -> str:
    return labels[index] if labels else f"class {index}"


def thumbnail(source: ImageSource, name: str) -> str:
    """A photo of the source, made small, as a data URI; "" where it cannot be read."""
    try:
        return images.thumbnail(images.decode(source.open(name)))
    except files.unreadable():
        return ""
