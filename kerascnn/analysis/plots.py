"""Pictures of networks' costs and receptive fields; they need matplotlib, from the extra `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.analysis.comparing import Compared

# Told apart under the common colour deficiencies (Okabe & Ito); further families get the same with a black ring.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#666666")
_LEGEND = (5e6, 50e6, 150e6)  # parameters


def figure(width: float, height: float) -> Any:
    """An empty figure that no window shows.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message names the extra.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Pictures need matplotlib: pip install 'kerascnn[plots]'.") from error
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(drawn: Any, path: Path) -> None:
    """Write a figure in the format of its file name.

    Raises:
        ValueError: the name does not end in .png or .svg, or its folder does not exist.
    """
    check_path(path)
    drawn.savefig(path, dpi=150, facecolor="white")


def check_path(path: Path) -> None:
    """Refuse what cannot be written, before the work starts."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"A picture is a .png or a .svg; the file is {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.")


def plot_comparison(rows: Sequence[Compared]) -> Any:
    """Accuracy against work, a circle's area being parameters, as Canziani et al. 2017 draw it (arXiv:1605.07678).

    One panel for each set of test data with two networks or more. Networks without a published error are left out.

    Raises:
        ValueError: no network has one.
    """
    shown = [row for row in rows if row.error is not None]
    if not shown:
        raise ValueError("None of these networks has a published top-1 error, so there is nothing to draw.")
    data = list(dict.fromkeys(row.data for row in shown))
    data = [name for name in data if sum(row.data == name for row in shown) > 1] or data[:1]
    drawn = figure(11, 7 * len(data))
    for axes, name in zip(drawn.subplots(len(data), squeeze=False)[:, 0], data, strict=True):
        _panel(axes, [row for row in shown if row.data == name], name)
    return drawn


def _panel(axes: Any, rows: Sequence[Compared], data: str) -> None:
    families = list(dict.fromkeys(row.family for row in rows))
    largest = max(row.parameters for row in rows)
    scale = 1500 / max(largest, 2e6)  # points squared for a parameter
    for row in sorted(rows, key=lambda row: -row.parameters):
        number = families.index(row.family)
        axes.scatter(
            row.macs / 1e9,
            row.accuracy,
            s=row.parameters * scale,
            color=_COLOURS[number % len(_COLOURS)],
            alpha=0.55,
            edgecolor="black" if number >= len(_COLOURS) else "white",
            linewidth=0.9,
        )
    axes.set_xlabel("multiply-accumulates for one image, 1e9 (log scale)")
    axes.set_ylabel(f"published top-1 accuracy, {data}, %")
    axes.set_title(f"{data}: accuracy against work; the area of a circle is the number of parameters")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.margins(0.1)
    axes.set_axisbelow(True)
    sizes = [size for size in _LEGEND if size < 2 * largest] or [largest]
    handles = [axes.scatter([], [], s=size * scale, color="#999999", alpha=0.5) for size in sizes]
    axes.legend(
        handles,
        [f"{size / 1e6:.3g} M" for size in sizes],
        title="parameters",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),  # beside the panel, where it hides no network
        labelspacing=2.6,
        borderpad=2.0,
        handletextpad=2.2,
    )
    _label(axes, rows, scale)


def _label(axes: Any, rows: Sequence[Compared], scale: float) -> None:
    """Names beside the circles, each at the nearest place where no other name is."""
    axes.figure.draw_without_rendering()
    placed = [axes.get_legend().get_window_extent()]
    frame = axes.get_window_extent()
    for row in sorted(rows, key=lambda row: row.parameters):
        text = axes.annotate(
            row.name,
            (row.macs / 1e9, row.accuracy),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7.5,
            ha="center",
            va="center",
        )
        for x, y in _places(np.sqrt(row.parameters * scale / np.pi), len(row.name) * 4.0):
            text.set_position((x, y))
            box = text.get_window_extent().expanded(1.03, 1.1)
            if frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) and not box.count_overlaps(placed):
                break
        placed.append(box)
        if (x, y) != (0.0, 0.0):  # a thin line says whose name it is
            axes.annotate(
                "",
                (row.macs / 1e9, row.accuracy),
                xytext=(x, y - np.sign(y) * 4) if abs(y) > 6 else (x - np.sign(x) * len(row.name) * 2, y),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": "#333333", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
            )


def _places(radius: float, width: float) -> list[tuple[float, float]]:
    """Offsets in points from a circle's centre for a name of `width`: in it, above, below and beside it."""
    inside = [(0.0, 0.0)] if 2 * radius > 0.8 * width else []
    places = []
    for away in range(0, 120, 6):
        vertical, sideways = radius + 6 + away, radius + width / 2 + 3 + away
        places += [(0.0, vertical), (0.0, -vertical), (sideways, 0.0), (-sideways, 0.0)]
        for part in (0.35, 0.7):
            places += [(part * x * sideways, y * vertical * (1 - part / 3)) for x in (1, -1) for y in (1, -1)]
    return inside + places


def plot_receptive_field(effective: np.ndarray, field: Any, place: tuple[int, int], title: str) -> Any:
    """The effective receptive field of one place of a map, with the theoretical one as a frame.

    Args:
        effective: (height, width), as `effective_receptive_field` gives it.
        field: the map's `Field`; place: row and column of the map.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    drawn = figure(6.5, 6)
    axes = drawn.subplots()
    picture = axes.imshow(effective, cmap="magma", norm=PowerNorm(0.5, 0, 1))
    drawn.colorbar(picture, ax=axes, label="|gradient|, largest = 1", shrink=0.85)
    height, width = effective.shape
    top, left = (float(a.start + i * a.jump) for a, i in zip((field.height, field.width), place, strict=True))
    frame = (left - 0.5, top - 0.5), field.width.size, field.height.size
    axes.add_patch(Rectangle(*frame, fill=False, edgecolor="#56B4E9", linewidth=2, clip_on=True))
    beyond = top < 0 or left < 0 or top + field.height.size > height or left + field.width.size > width
    size = f"{field.height.size} x {field.width.size}"
    axes.set_xlabel(f"theoretical field: {size} pixels{', which reaches beyond the image' if beyond else ' (frame)'}")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_title(title)
    return drawn
