"""The contact sheet of `kerascnn predict`: photos with what a model sees in them, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence

import kerascnn
from kerascnn.analysis.pages.blocks import Answered, ContactSheet, Notes, Page, Section
from kerascnn.analysis.pages.rendering import render
from kerascnn.photos import images
from kerascnn.photos.classifying import Answer
from kerascnn.photos.gathering import Photo


def card(photo: Photo, answer: Answer) -> Answered:
    """Make what the sheet shows of one photo."""
    return Answered(
        answer.photo,
        images.thumbnail(photo.open(), 432),
        [(guess.name, guess.probability) for guess in answer.classes],
    )


def html(model: str, cards: Sequence[Answered], left_out: Sequence[tuple[str, str]]) -> str:
    """Write the page as the text of an HTML file.

    Raises:
        ModuleNotFoundError: The extra `report` is not installed.
    """
    sections = [Section("photos", "Photos", [ContactSheet(cards)])]
    if left_out:
        lines = [f"{name}: {reason}" for name, reason in left_out]
        sections.append(Section("left-out", "Left out", [Notes(lines, warning=True)]))
    count = f"{len(cards):,} photo{'' if len(cards) == 1 else 's'}"
    footer = f"Written by kerascnn {kerascnn.__version__}."
    return render(Page(f"{model}: {count}", "The most probable classes of each, best first", sections, footer))
