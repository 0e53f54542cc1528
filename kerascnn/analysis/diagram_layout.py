"""The layout of a diagram: the sizes of boxes, units and runs in pixels, before anything is drawn.

Widths of text are those of a wide font, so that the text fits in any font.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kerascnn.analysis.boxes import Box
from kerascnn.analysis.outline import Parallel, Run, Series

TITLE, NOTE = 11, 9  # sizes of the text
HEIGHT = 34  # of a box
GAP = 14  # between boxes
BRANCH = 10  # between branches
PANEL = 150  # the stage's numbers, left of its boxes
WIDTH = 1090  # most of the page, unless one unit is wider
MARGIN = 14

_WIDE = {"m": 0.97, "w": 0.82, "M": 0.86, "W": 0.99, "×": 0.84, "+": 0.84, "→": 0.84, "%": 0.95, "…": 1.0}
_NARROW = dict.fromkeys("ijlI", 0.29) | dict.fromkeys(" .,:;·|", 0.34) | dict.fromkeys("frt()/-", 0.41)


@dataclass(frozen=True)
class Size:
    """The space that a piece takes up around its axis, which is the line that enters it."""

    width: float
    top: float
    bottom: float


# Stages and runs


EDGES = PANEL + 4 * MARGIN + 12  # width of a page beside a row


def rows_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Divide runs into rows that fit the page."""
    rows: list[list[Run]] = [[]]
    for run in runs:
        if rows[-1] and EDGES + row_width([*rows[-1], run]) > WIDTH:
            rows.append([])
        rows[-1].append(run)
    return rows


def row_width(row: Sequence[Run]) -> float:
    """Return the width of the runs of a row and the gaps between them."""
    return sum(run_size(run).width for run in row) + GAP * (len(row) - 1)


def has_front(run: Run) -> bool:
    """Return whether the line that enters a run ends at a box or frame, not at a fork."""
    return run.count > 1 or isinstance(run.units[0].items[0], Box)


def caption(run: Run) -> tuple[str, str]:
    """Write the captions of a run: how often it repeats, and what it is called or makes."""
    words = []
    if len(run.units) > 1 or any(isinstance(item, Parallel) for item in run.units[0].items):
        each = len(run.boxes) // run.count
        names = [_common_name(part) for part in (run.boxes[:each], run.boxes[-each:])]
        words += [" … ".join(dict.fromkeys(name for name in names if name))]
    if run.count > 1 and run.outputs[0] != run.outputs[-1] and run.outputs[-1][-1:] != (None,):
        words += [f"{run.outputs[0][-1]} … {run.outputs[-1][-1]} channels"]
    return f"× {run.count}" if run.count > 1 else "", " · ".join(word for word in words if word)


def _common_name(boxes: Sequence[Box]) -> str:
    """Find the words that the names of all layers begin with; a word that differs in its last letters is left out."""
    names = [layer.name for box in boxes for layer in box.layers]
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    if same == min(len(first), len(last)) or first[same] == "_" or last[same] == "_":
        return first[:same].rstrip("_")
    return first[:same].rpartition("_")[0] if "_" in first[:same] else ""


def run_size(run: Run) -> Size:
    """Measure a run with its captions and, if it repeats, its frame."""
    sizes = [series_size(unit.items) for unit in run.units]
    count, words = caption(run)
    captions = 15 if count or words else 0
    frame = 7 if run.count > 1 else 0
    width = sum(size.width for size in sizes) + GAP * (len(sizes) - 1)
    width = max(width, text_width(count, TITLE) + text_width(words, NOTE) + 8) + 2 * frame
    return Size(width, max(s.top for s in sizes) + captions + frame, max(s.bottom for s in sizes) + frame)


# Units


def series_size(items: Series) -> Size:
    """Measure items in a row."""
    if not items:
        return Size(0, 5, 5)
    sizes = [size_of(item) for item in items]
    width = sum(size.width for size in sizes) + GAP * (len(sizes) - 1)
    return Size(width, max(size.top for size in sizes), max(size.bottom for size in sizes))


def size_of(item: Box | Parallel) -> Size:
    """Measure a box, or branches with the box that joins them."""
    if isinstance(item, Box):
        if item.kind == "join":
            return join_size(item, HEIGHT / 2)
        text = max(text_width(item.title, TITLE), text_width(notes_of(item), NOTE))
        return Size(text + 12, HEIGHT / 2, HEIGHT / 2)
    offsets, top, bottom = offsets_of(item)
    width = 2 * GAP + max(series_size(branch).width for branch in item.branches)
    if item.join is None:
        return Size(width - GAP, top, bottom)
    join = join_size(item.join, max(bottom, offsets[-1] + 8))
    return Size(width + join.width + 4, max(top, join.top), join.bottom)


def offsets_of(item: Parallel) -> tuple[list[float], float, float]:
    """Return the axes of the branches below that of the first, and their space above and below it."""
    sizes = [series_size(branch) for branch in item.branches]
    offsets = [0.0]
    for above, below in pairwise(sizes):
        offsets.append(offsets[-1] + above.bottom + BRANCH + below.top)
    return offsets, sizes[0].top, offsets[-1] + sizes[-1].bottom


def is_circle(join: Box) -> bool:
    """Return whether branches are joined by a sign, such as +."""
    return len(join.title) == 1


def join_size(join: Box, bottom: float) -> Size:
    """Measure a circle, or a bar as high as the branches that it joins, which end at `bottom`."""
    if is_circle(join):
        notes = notes_of(join)
        return Size(max(22, text_width(notes, NOTE)), 24 if notes else 11, max(11, bottom))
    return Size(22, HEIGHT / 2, max(bottom, text_width(bar_text(join), NOTE) + 8 - HEIGHT / 2))


def bar_text(join: Box) -> str:
    """Write the text along a bar."""
    return " · ".join((join.title, *join.notes))


# Text


def notes_of(box: Box) -> str:
    """Write the small text of a box."""
    before = f"after {' · '.join(box.before)}" if box.before else ""
    return "; ".join(part for part in (before, " · ".join(box.notes)) if part)


def text_width(text: str, size: int) -> float:
    """Return the greatest width of a text in pixels."""
    return size * sum(_WIDE.get(c) or _NARROW.get(c) or (0.78 if c.isupper() else 0.64) for c in text)
