"""A network drawn as SVG from its graph: one card a stage, one picture for units that repeat.

The drawing needs no other program. Sizes are in pixels; widths of text are those of a wide font, so that the text fits
in whatever font is at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

import keras

from kerascnn.analysis.boxes import Box
from kerascnn.analysis.outline import Outline, Parallel, Run, Series, Shape, Stage, outline

TITLE, NOTE = 11, 9  # sizes of the text
HEIGHT = 34  # of a box
GAP = 14  # between boxes
BRANCH = 10  # between branches
PANEL = 150  # the stage's numbers, left of its boxes
WIDTH = 1090  # of the page at most, unless one unit is wider
MARGIN = 14

_STYLE = """
.page { fill: #ffffff } .card { fill: #f6f8fa; stroke: #d1d9e0 } .bar { fill: #d1d9e0 } .share { fill: #0969da }
text { fill: #1f2328; font-family: "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; font-size: 11px }
.note { font-size: 9px; fill: #59636e } .strong { font-weight: 600 } .head { font-size: 15px; font-weight: 600 }
.line { fill: none; stroke: #59636e; stroke-width: 1.2 } .tip { fill: #59636e } .frame { fill: none; stroke: #59636e;
stroke-dasharray: 4 3 } .conv { fill: #ddf4ff; stroke: #54aeff }
.pool { fill: #ffebe9; stroke: #ff8182 } .dense { fill: #fbefff; stroke: #c297ff }
.join { fill: #fff8c5; stroke: #d4a72c } .small, .other, .input, .model { fill: #ffffff; stroke: #818b98 }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117 } .card { fill: #151b23; stroke: #3d444d } .bar { fill: #3d444d } .share { fill: #4493f8 }
text { fill: #f0f6fc } .note { fill: #b7bdc8 } .line, .frame { stroke: #9198a1 } .tip { fill: #9198a1 }
.conv { fill: #0c2d6b; stroke: #388bfd } .pool { fill: #67060c; stroke: #f85149 }
.dense { fill: #3c1e70; stroke: #a371f7 } .join { fill: #4b2900; stroke: #d29922 }
.small, .other, .input, .model { fill: #212830; stroke: #656c76 } }
"""

_WIDE = {"m": 0.97, "w": 0.82, "M": 0.86, "W": 0.99, "×": 0.84, "+": 0.84, "→": 0.84, "%": 0.95, "…": 1.0}
_NARROW = dict.fromkeys("ijlI", 0.29) | dict.fromkeys(" .,:;·|", 0.34) | dict.fromkeys("frt()/-", 0.41)


def diagram(model: keras.Model, *, title: str | None = None) -> str:
    """The picture of a functional model as the text of an SVG file, in light and dark colours as the reader has.

    Args:
        model: any functional model; nested ones are drawn as one box each.
        title: what stands above; the model's name by default.

    Raises:
        ValueError: the model has no graph, as a subclassed one.
    """
    return draw(outline(model), title or model.name)


def draw(network: Outline, title: str) -> str:
    """The picture of an outline, see `diagram`."""
    rows = [row for stage in network.stages for row in _rows(stage.runs)]
    width = max(_EDGES + _row_width(row) for row in rows)
    width = max(width, 2 * MARGIN + _width(title, 15) + 8, 2 * MARGIN + _width(_summary(network), NOTE))
    canvas = _Canvas()
    canvas.text(MARGIN, 26, title, "head")
    canvas.text(MARGIN, 44, _summary(network), "note")
    y = 56.0
    inputs = ", ".join(_shape(shape) for shape in network.inputs)
    left = float(MARGIN + PANEL)
    canvas.text(left + 6, y + 8, f"input {inputs}", "strong")
    path: list[Point] = [(left, y), (left, y + 14)]
    y += 14
    for stage in network.stages:
        y, path = _stage(canvas, network, stage, width, y, path)
        y += 18
    canvas.line([path[0], (path[0][0] + 24, path[0][1])], arrow=True)
    y -= 10
    if network.others:
        canvas.text(MARGIN, y + 8, f"Not drawn: the outputs {', '.join(network.others)}", "note")
        y += 14
    return canvas.svg(width, y + MARGIN, title, _summary(network))


def _summary(network: Outline) -> str:
    macs = f" · {_count(network.macs)} multiply-accumulates" if network.macs is not None else ""
    return f"{network.parameters:,} parameters{macs}"


Point = tuple[float, float]


@dataclass
class _Canvas:
    """SVG elements: cards and lines lie below boxes and text."""

    below: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, kind: str, radius: int = 4) -> None:
        layer = self.above if kind.startswith("box") else self.below
        layer.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", turned: bool = False) -> None:
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        anchor = f' text-anchor="{anchor}"' if anchor != "start" else ""
        kind = f' class="{kind}"' if kind else ""
        self.above.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}"{anchor}{turn}>{escape(text)}</text>')

    def line(self, points: Iterable[Point], arrow: bool = False) -> None:
        points = list(dict.fromkeys(points))
        if len(points) < 2:
            return
        self.below.append(f'<path class="line" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
            corners = [(x, y), (x - 5 * dx - 3 * dy, y - 5 * dy - 3 * dx), (x - 5 * dx + 3 * dy, y - 5 * dy + 3 * dx)]
            self.below.append(f'<path class="tip" d="M{" L".join(f"{a:.1f} {b:.1f}" for a, b in corners)} Z"/>')

    def svg(self, width: float, height: float, title: str, description: str) -> str:
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            *self.below,
            *self.above,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Size:
    """What a piece takes up around its axis, the line that enters it."""

    width: float
    top: float
    bottom: float


# Stages and runs


def _stage(
    canvas: _Canvas, network: Outline, stage: Stage, width: float, y: float, path: list[Point]
) -> tuple[float, list[Point]]:
    """One card; `path` is the line that comes from the stage before, and the returned one goes on to the next."""
    left = float(MARGIN + PANEL)
    top = y
    y += 12
    rows = _rows(stage.runs)
    for number, row in enumerate(rows):
        sizes = [_run_size(run) for run in row]
        axis = y + max(size.top for size in sizes)
        x = left + MARGIN
        canvas.line([*path, (left, axis), (x, axis)], arrow=_has_front(row[0]))
        for i, (run, size) in enumerate(zip(row, sizes, strict=True)):
            if i:
                canvas.line([(x, axis), (x + GAP, axis)], arrow=_has_front(run))
                x += GAP
            _draw_run(canvas, run, size, x, axis)
            x += size.width
        y = axis + max(size.bottom for size in sizes)
        turn = y + (9 if number < len(rows) - 1 else 21)
        path = [(x, axis), (x + 12, axis), (x + 12, turn), (left, turn)]
        y += 18 if number < len(rows) - 1 else 12
    y = max(y, top + 62)
    path = [(a, y + 9 if b == turn else b) for a, b in path]
    canvas.below.insert(
        0,
        f'<rect class="card" x="{MARGIN}" y="{top:.1f}" width="{width - 2 * MARGIN:.1f}" '
        f'height="{y - top:.1f}" rx="6"/>',
    )
    _panel(canvas, network, stage, top)
    return y, path


_EDGES = PANEL + 4 * MARGIN + 12  # what a page has beside a row


def _rows(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs in lines that fit the page."""
    rows: list[list[Run]] = [[]]
    for run in runs:
        if rows[-1] and _EDGES + _row_width([*rows[-1], run]) > WIDTH:
            rows.append([])
        rows[-1].append(run)
    return rows


def _row_width(row: Sequence[Run]) -> float:
    return sum(_run_size(run).width for run in row) + GAP * (len(row) - 1)


def _has_front(run: Run) -> bool:
    """Whether the line that enters a run ends at something, not where it forks."""
    return run.count > 1 or isinstance(run.units[0].items[0], Box)


def _panel(canvas: _Canvas, network: Outline, stage: Stage, top: float) -> None:
    x = 2 * MARGIN - 4
    canvas.text(x, top + 19, _shape(stage.outputs), "strong")
    facts = [(stage.parameters, network.parameters, "parameters"), (stage.macs, network.macs, "MACs")]
    for row, (part, total, word) in enumerate(facts):
        if not part or not total:
            continue
        y = top + 35 + 17 * row
        canvas.text(x, y, f"{_count(part)} {word}", "note")
        canvas.text(x + PANEL - 36, y, f"{part / total:.0%}" if part >= 0.005 * total else "< 1%", "note", anchor="end")
        canvas.rectangle(x, y + 3, PANEL - 36, 2, "bar", 0)
        canvas.rectangle(x, y + 3, (PANEL - 36) * part / total, 2, "share", 0)


def _caption(run: Run) -> tuple[str, str]:
    """What stands above a run: how often, and what it is called or makes."""
    words = []
    if len(run.units) > 1 or any(isinstance(item, Parallel) for item in run.units[0].items):
        each = len(run.boxes) // run.count
        names = [_common_name(part) for part in (run.boxes[:each], run.boxes[-each:])]
        words += [" … ".join(dict.fromkeys(name for name in names if name))]
    if run.count > 1 and run.outputs[0] != run.outputs[-1] and run.outputs[-1][-1:] != (None,):
        words += [f"{run.outputs[0][-1]} … {run.outputs[-1][-1]} channels"]
    return f"× {run.count}" if run.count > 1 else "", " · ".join(word for word in words if word)


def _common_name(boxes: Sequence[Box]) -> str:
    """The words that the names of all layers begin with; one that differs in its last letters is not among them."""
    names = [layer.name for box in boxes for layer in box.layers]
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    if same == min(len(first), len(last)) or first[same] == "_" or last[same] == "_":
        return first[:same].rstrip("_")
    return first[:same].rpartition("_")[0] if "_" in first[:same] else ""


def _run_size(run: Run) -> _Size:
    sizes = [_series_size(unit.items) for unit in run.units]
    count, words = _caption(run)
    captions = 15 if count or words else 0
    frame = 7 if run.count > 1 else 0
    width = sum(size.width for size in sizes) + GAP * (len(sizes) - 1)
    width = max(width, _width(count, TITLE) + _width(words, NOTE) + 8) + 2 * frame
    return _Size(width, max(s.top for s in sizes) + captions + frame, max(s.bottom for s in sizes) + frame)


def _draw_run(canvas: _Canvas, run: Run, size: _Size, x: float, axis: float) -> None:
    count, words = _caption(run)
    right = x + size.width
    frame = 7 if run.count > 1 else 0
    if frame:
        canvas.rectangle(x, axis - size.top, size.width, size.top + size.bottom, "frame", 6)
    canvas.text(x + frame, axis - size.top + 10 + frame / 2, words, "note") if words else None
    canvas.text(right - frame, axis - size.top + 11 + frame / 2, count, "strong", "end") if count else None
    if frame:
        canvas.line([(x, axis), (x + frame, axis)])
    x += frame
    for i, unit in enumerate(run.units):
        if i:
            canvas.line([(x, axis), (x + GAP, axis)], arrow=True)
            x += GAP
        _draw_series(canvas, unit.items, x, axis)
        x += _series_size(unit.items).width
    canvas.line([(x, axis), (right, axis)])


# Units


def _series_size(items: Series) -> _Size:
    if not items:
        return _Size(0, 5, 5)
    sizes = [_size(item) for item in items]
    width = sum(size.width for size in sizes) + GAP * (len(sizes) - 1)
    return _Size(width, max(size.top for size in sizes), max(size.bottom for size in sizes))


def _size(item: Box | Parallel) -> _Size:
    if isinstance(item, Box):
        if item.kind == "join":
            return _join_size(item, HEIGHT / 2)
        text = max(_width(item.title, TITLE), _width(_notes(item), NOTE))
        return _Size(text + 12, HEIGHT / 2, HEIGHT / 2)
    offsets, top, bottom = _offsets(item)
    width = 2 * GAP + max(_series_size(branch).width for branch in item.branches)
    if item.join is None:
        return _Size(width - GAP, top, bottom)
    join = _join_size(item.join, max(bottom, offsets[-1] + 8))
    return _Size(width + join.width + 4, max(top, join.top), join.bottom)


def _offsets(item: Parallel) -> tuple[list[float], float, float]:
    """Axes of the branches below that of the first, and what they take up together."""
    sizes = [_series_size(branch) for branch in item.branches]
    offsets = [0.0]
    for above, below in pairwise(sizes):
        offsets.append(offsets[-1] + above.bottom + BRANCH + below.top)
    return offsets, sizes[0].top, offsets[-1] + sizes[-1].bottom


def _is_circle(join: Box) -> bool:
    return len(join.title) == 1


def _join_size(join: Box, bottom: float) -> _Size:
    if _is_circle(join):
        notes = _notes(join)
        return _Size(max(22, _width(notes, NOTE)), 24 if notes else 11, max(11, bottom))
    return _Size(22, HEIGHT / 2, max(bottom, _width(_bar_text(join), NOTE) + 8 - HEIGHT / 2))


def _bar_text(join: Box) -> str:
    return " · ".join((join.title, *join.notes))


def _draw_series(canvas: _Canvas, items: Series, x: float, axis: float) -> list[Point]:
    """Draw from (x, axis) on; the points where it ends, of which there are several after an open fork."""
    ends = [(x, axis)]
    for i, item in enumerate(items):
        if i:
            arrow = not isinstance(item, Parallel)
            canvas.line([ends[0], (x + GAP, axis)], arrow)
            x += GAP
        ends = _draw_item(canvas, item, x, axis)
        x += _size(item).width
    return ends


def _draw_item(canvas: _Canvas, item: Box | Parallel, x: float, axis: float) -> list[Point]:
    if isinstance(item, Parallel):
        return _draw_parallel(canvas, item, x, axis)
    size = _size(item)
    if item.kind == "join":
        return _draw_join(canvas, item, size, x, axis, [(x, axis)])
    canvas.rectangle(x, axis - HEIGHT / 2, size.width, HEIGHT, f"box {item.kind}")
    notes = _notes(item)
    center = x + size.width / 2
    canvas.text(center, axis + (-2 if notes else 4), item.title, anchor="middle")
    if notes:
        canvas.text(center, axis + 11, notes, "note", anchor="middle")
    return [(x + size.width, axis)]


def _draw_parallel(canvas: _Canvas, item: Parallel, x: float, axis: float) -> list[Point]:
    offsets, _, bottom = _offsets(item)
    size = _size(item)
    ends: list[Point] = []
    for offset, branch in zip(offsets, item.branches, strict=True):
        y = axis + offset
        canvas.line([(x, axis), (x, y), (x + GAP, y)], arrow=bool(branch) and isinstance(branch[0], Box))
        ends += _draw_series(canvas, branch, x + GAP, y)
    if item.join is None:
        return ends
    join = _join_size(item.join, max(bottom, offsets[-1] + 8))
    return _draw_join(canvas, item.join, join, x + size.width - join.width, axis, ends)


def _draw_join(canvas: _Canvas, join: Box, size: _Size, x: float, axis: float, ends: list[Point]) -> list[Point]:
    if not _is_circle(join):
        top = axis - size.top
        canvas.rectangle(x, top, size.width, size.top + size.bottom, "box join")
        text = _bar_text(join)
        canvas.text(x + 14, top + (size.top + size.bottom) / 2, text, "note", "middle", turned=True)
        for end in ends:
            canvas.line([end, (x, end[1])], arrow=True)
        return [(x + size.width, axis)]
    center = x + size.width / 2
    canvas.above.append(f'<circle class="box join" cx="{center:.1f}" cy="{axis:.1f}" r="10"/>')
    canvas.text(center, axis + 4, join.title, "strong", "middle")
    if notes := _notes(join):
        canvas.text(center, axis - 14, notes, "note", "middle")
    for end in ends:
        turned = [] if end[1] == axis else [(center, end[1])]
        target = (center, axis + 10) if turned else (center - 10, axis)
        canvas.line([end, *turned, target], arrow=True)
    canvas.line([(center + 10, axis), (x + size.width, axis)])
    return [(x + size.width, axis)]


# Text


def _notes(box: Box) -> str:
    before = f"after {' · '.join(box.before)}" if box.before else ""
    return "; ".join(part for part in (before, " · ".join(box.notes)) if part)


def _width(text: str, size: int) -> float:
    return size * sum(_WIDE.get(c) or _NARROW.get(c) or (0.78 if c.isupper() else 0.64) for c in text)


def _shape(shape: Shape) -> str:
    return " × ".join("?" if side is None else str(side) for side in shape)


def _count(number: int | None) -> str:
    """Three digits and a unit: 1.22 M."""
    if number is None:
        return "?"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
    return str(number)
