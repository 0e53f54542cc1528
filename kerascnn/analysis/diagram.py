"""A network drawn as SVG from its graph: one card a stage, one picture for units that repeat.

The drawing needs no other program.
"""

from __future__ import annotations

import keras

from kerascnn.analysis.boxes import Box
from kerascnn.analysis.calls import Shape
from kerascnn.analysis.diagram_layout import (
    EDGES,
    GAP,
    HEIGHT,
    MARGIN,
    NOTE,
    PANEL,
    Size,
    bar_text,
    caption,
    has_front,
    is_circle,
    join_size,
    notes_of,
    offsets_of,
    row_width,
    rows_of,
    run_size,
    series_size,
    size_of,
    text_width,
)
from kerascnn.analysis.diagram_svg import Canvas, Point
from kerascnn.analysis.outline import Outline, Parallel, Run, Series, Stage, outline


def diagram(model: keras.Model, *, title: str | None = None) -> str:
    """Draw a functional model as the text of an SVG file, in the reader's light or dark colors.

    Args:
        model: Any functional model; each model within it is one box.
        title: The heading; by default the model's name.

    Raises:
        ValueError: The model has no graph, such as a subclassed one.
    """
    return draw(outline(model), title or model.name)


def draw(network: Outline, title: str) -> str:
    """Draw an outline, see `diagram`."""
    rows = [row for stage in network.stages for row in rows_of(stage.runs)]
    width = max(EDGES + row_width(row) for row in rows)
    width = max(width, 2 * MARGIN + text_width(title, 15) + 8, 2 * MARGIN + text_width(_summary(network), NOTE))
    canvas = Canvas()
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


# Stages and runs


def _stage(
    canvas: Canvas, network: Outline, stage: Stage, width: float, y: float, path: list[Point]
) -> tuple[float, list[Point]]:
    """Draw one card; `path` is the line from the stage before, and the returned path leads to the next."""
    left = float(MARGIN + PANEL)
    top = y
    y += 12
    rows = rows_of(stage.runs)
    for number, row in enumerate(rows):
        sizes = [run_size(run) for run in row]
        axis = y + max(size.top for size in sizes)
        x = left + MARGIN
        canvas.line([*path, (left, axis), (x, axis)], arrow=has_front(row[0]))
        for i, (run, size) in enumerate(zip(row, sizes, strict=True)):
            if i:
                canvas.line([(x, axis), (x + GAP, axis)], arrow=has_front(run))
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


def _panel(canvas: Canvas, network: Outline, stage: Stage, top: float) -> None:
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


def _draw_run(canvas: Canvas, run: Run, size: Size, x: float, axis: float) -> None:
    count, words = caption(run)
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
        x += series_size(unit.items).width
    canvas.line([(x, axis), (right, axis)])


# Units


def _draw_series(canvas: Canvas, items: Series, x: float, axis: float) -> list[Point]:
    """Draw items from (x, axis) on; return where they end: at several points after an open fork."""
    ends = [(x, axis)]
    for i, item in enumerate(items):
        if i:
            arrow = not isinstance(item, Parallel)
            canvas.line([ends[0], (x + GAP, axis)], arrow)
            x += GAP
        ends = _draw_item(canvas, item, x, axis)
        x += size_of(item).width
    return ends


def _draw_item(canvas: Canvas, item: Box | Parallel, x: float, axis: float) -> list[Point]:
    if isinstance(item, Parallel):
        return _draw_parallel(canvas, item, x, axis)
    size = size_of(item)
    if item.kind == "join":
        return _draw_join(canvas, item, size, x, axis, [(x, axis)])
    canvas.rectangle(x, axis - HEIGHT / 2, size.width, HEIGHT, f"box {item.kind}")
    notes = notes_of(item)
    center = x + size.width / 2
    canvas.text(center, axis + (-2 if notes else 4), item.title, anchor="middle")
    if notes:
        canvas.text(center, axis + 11, notes, "note", anchor="middle")
    return [(x + size.width, axis)]


def _draw_parallel(canvas: Canvas, item: Parallel, x: float, axis: float) -> list[Point]:
    offsets, _, bottom = offsets_of(item)
    size = size_of(item)
    ends: list[Point] = []
    for offset, branch in zip(offsets, item.branches, strict=True):
        y = axis + offset
        canvas.line([(x, axis), (x, y), (x + GAP, y)], arrow=bool(branch) and isinstance(branch[0], Box))
        ends += _draw_series(canvas, branch, x + GAP, y)
    if item.join is None:
        return ends
    join = join_size(item.join, max(bottom, offsets[-1] + 8))
    return _draw_join(canvas, item.join, join, x + size.width - join.width, axis, ends)


def _draw_join(canvas: Canvas, join: Box, size: Size, x: float, axis: float, ends: list[Point]) -> list[Point]:
    if not is_circle(join):
        top = axis - size.top
        canvas.rectangle(x, top, size.width, size.top + size.bottom, "box join")
        text = bar_text(join)
        canvas.text(x + 14, top + (size.top + size.bottom) / 2, text, "note", "middle", turned=True)
        for end in ends:
            canvas.line([end, (x, end[1])], arrow=True)
        return [(x + size.width, axis)]
    center = x + size.width / 2
    canvas.above.append(f'<circle class="box join" cx="{center:.1f}" cy="{axis:.1f}" r="10"/>')
    canvas.text(center, axis + 4, join.title, "strong", "middle")
    if notes := notes_of(join):
        canvas.text(center, axis - 14, notes, "note", "middle")
    for end in ends:
        turned = [] if end[1] == axis else [(center, end[1])]
        target = (center, axis + 10) if turned else (center - 10, axis)
        canvas.line([end, *turned, target], arrow=True)
    canvas.line([(center + 10, axis), (x + size.width, axis)])
    return [(x + size.width, axis)]


# Text


def _shape(shape: Shape) -> str:
    return " × ".join("?" if side is None else str(side) for side in shape)


def _count(number: int | None) -> str:
    """Write a count in three digits and a unit: 1.22 M."""
    if number is None:
        return "?"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
    return str(number)
