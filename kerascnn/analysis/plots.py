"""Pictures of networks' costs and receptive fields; they need matplotlib, from the extra `plots`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.analysis.comparing import Compared, data_sets, family_numbers
from kerascnn.analysis.pages.vega import COLORS

if TYPE_CHECKING:
    from kerascnn.analysis.fields import Field

_LEGEND = (5e6, 50e6, 150e6)  # parameters


def figure(width: float, height: float) -> Any:
    """Make an empty figure that no window shows.

    Raises:
        ModuleNotFoundError: matplotlib or textalloc is not installed; the message names the extra.
    """
    try:
        import textalloc  # noqa: F401
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Pictures need matplotlib and textalloc: pip install 'kerascnn[plots]'.") from error
    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def save(drawn: Any, *paths: Path) -> None:
    """Write a figure in the format of each file's name.

    Raises:
        ValueError: A name does not end in .png or .svg, or its folder does not exist.
    """
    for path in paths:
        check_path(path)
        drawn.savefig(path, dpi=150, facecolor="white")


def check_path(path: Path) -> None:
    """Refuse a file that cannot be written, before the work starts."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise ValueError(f"A picture is a .png or a .svg; the file is {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.")


def plot_comparison(rows: Sequence[Compared]) -> Any:
    """Draw accuracy against work, a circle's area being parameters, as Canziani et al. 2017 do (arXiv:1605.07678).

    There is a panel for each set of test data with two networks or more. Networks without a published error are left
    out.

    Raises:
        ValueError: No network has a published error.
    """
    shown = [row for row in rows if row.error is not None]
    if not shown:
        raise ValueError("None of these networks has a published top-1 error, so there is nothing to draw.")
    data = data_sets(shown)
    drawn = figure(13, 8 * len(data))
    panels = {}
    numbers = family_numbers(row.family for row in rows)
    for axes, name in zip(drawn.subplots(len(data), squeeze=False)[:, 0], data, strict=True):
        rows = sorted((row for row in shown if row.data == name), key=lambda row: -row.parameters)
        panels[axes] = rows, _panel(axes, rows, name, numbers)
    drawn.draw_without_rendering()  # which gives the panels their final sizes
    drawn.set_layout_engine("none")
    for axes, (rows, circles) in panels.items():
        _label(axes, rows, circles)
    return drawn


def _panel(axes: Any, rows: Sequence[Compared], data: str, numbers: Mapping[str, int]) -> Any:
    """Draw the circles of a panel, small ones over large ones."""
    largest = max(row.parameters for row in rows)
    scale = 1500 / max(largest, 2e6)  # points squared for a parameter
    circles = axes.scatter(
        [row.macs / 1e9 for row in rows],
        [row.accuracy for row in rows],
        s=[row.parameters * scale for row in rows],
        c=[COLORS[numbers[row.family] % len(COLORS)] for row in rows],
        alpha=0.55,
        edgecolor=[_edge(numbers[row.family]) for row in rows],
        linewidth=0.9,
    )
    axes.set_xlabel("multiply-accumulates for one image, 1e9 (log scale)")
    axes.set_ylabel(f"published top-1 accuracy, {data}, %")
    axes.set_title(f"{data}: accuracy against work; the area of a circle is the number of parameters")
    _log_ticks(axes, [row.macs for row in rows])
    axes.grid(alpha=0.25)
    axes.margins(0.1)
    axes.set_axisbelow(True)
    sizes = [size for size in _LEGEND if size < 2 * largest] or [largest]
    handles = [axes.scatter([], [], s=size * scale, color="#999999", alpha=0.5) for size in sizes]
    beside = {"loc": "lower left", "bbox_to_anchor": (1.01, 0.0)}  # where it hides no network
    spaces = {"labelspacing": 2.6, "borderpad": 2.0, "handletextpad": 2.2}
    areas = axes.legend(handles, [f"{size / 1e6:.3g} M" for size in sizes], title="parameters", **beside, **spaces)
    axes.add_artist(areas)
    families = sorted(dict.fromkeys(row.family for row in rows), key=numbers.__getitem__)
    colored = [
        axes.scatter([], [], s=70, c=COLORS[number % len(COLORS)], alpha=0.55, edgecolor=_edge(number), linewidth=0.9)
        for number in map(numbers.__getitem__, families)
    ]
    axes.legend(colored, families, title="family", loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return circles


def _edge(number: int) -> str:
    """Return the color of a circle's edge, by which families of the same color are told apart."""
    return ("white", "black", "#D55E00")[number // len(COLORS) % 3]


def _log_ticks(axes: Any, macs: Sequence[float]) -> None:
    """Label powers of ten with 2 and 5 between them, or more within a narrow range, all written alike."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    narrow = max(macs) < 20 * min(macs)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8) if narrow else (1, 2, 5), numticks=50))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def _label(axes: Any, rows: Sequence[Compared], circles: Any) -> None:
    """Write names beside the circles, where neither a circle nor another name is, with a thin line to the circle."""
    import textalloc

    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # lines must not move them
    places = [(row.macs / 1e9, row.accuracy or 0.0) for row in rows]
    _, _, _, lines = textalloc.allocate(
        axes,
        [x for x, _ in places],
        [y for _, y in places],
        [row.name for row in rows],
        scatter_plot=circles,
        textsize=7.5,
        min_distance=0.012,
        max_distance=0.35,
        margin=0.004,
        nbr_candidates=1500,
        linecolor="#555555",
        linewidth=0.5,
        avoid_label_lines_overlap=True,
    )
    for place, area, line in zip(places, circles.get_sizes(), lines, strict=True):
        if line is not None:
            _shorten(axes, line, place, radius=math.sqrt(area) / 2 * axes.figure.dpi / 72)


def _shorten(axes: Any, line: Any, place: tuple[float, float], radius: float) -> None:
    """Let a line to the middle of a circle end at its edge; `radius` is in pixels."""
    to_pixels = axes.transData
    ends = to_pixels.transform(line.get_xydata())
    middle = to_pixels.transform(place)
    far = ends[np.argmax(np.linalg.norm(ends - middle, axis=1))]
    length = float(np.linalg.norm(far - middle))
    if length <= radius:
        line.remove()
        return
    near = middle + (far - middle) * radius / length
    line.set_data(*to_pixels.inverted().transform([near, far]).T)


def plot_receptive_field(effective: np.ndarray, field: Field, place: tuple[int, int], title: str) -> Any:
    """Draw the effective receptive field of one place of a map, with the theoretical one as a frame.

    Args:
        effective: Array of shape (height, width), as `effective_receptive_field` returns it.
        field: The theoretical field of the map.
        place: Row and column of the map.
        title: The title of the picture.
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
