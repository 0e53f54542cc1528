"""Charts as Vega-Lite specifications; their data are the rows of the page's tables, by the names of the columns.

Text and lines take the page's color (`currentColor`), so light and dark need no second drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Specification = dict[str, Any]

# Distinct under the common color deficiencies (Okabe & Ito), on white and on black.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#7F7F7F")
QUIET = "#9A9A9A"
LAYER_KINDS = ("convolution", "dense", "normalization", "pooling", "other")
_AREA = 1400  # of the largest circle, in square pixels
_DASHES = ([1, 0], [5, 3], [2, 2])  # for names after the eighth, whose colors repeat


@dataclass(frozen=True)
class Measure:
    """A column of figures, and how a chart shows it.

    Attributes:
        key: The column.
        title: What the figures are called.
        form: How they are written, in d3-format.
        factor: What they are multiplied by.
        axis: Title of the axis, if it is another.
    """

    key: str
    title: str
    form: str = ""
    factor: float = 1.0
    axis: str = ""

    def scaled(self, name: str) -> Specification:
        """Return the transformation that makes the figures a field of that name."""
        return {"calculate": f"datum[{self.key!r}] * {self.factor!r}", "as": name}


def bubbles(
    data: str,
    groups: Mapping[str, int],
    *,
    span: tuple[float, float],
    largest: float,
    highlight: tuple[str, float] | None = None,
) -> Specification:
    """Draw accuracy against work, a circle's area being parameters, after Canziani et al. 2017 (arXiv:1605.07678).

    Args:
        data: What the errors were measured on.
        groups: The families, with the numbers of their colors.
        span: The least and the most work.
        largest: The most parameters of any network.
        highlight: The one network that is colored and has a ring, and its parameters; the others are gray.
    """
    legend = {"format": "~s", "values": _round_sizes(largest), **_BELOW, "columns": 3, "symbolFillColor": QUIET}
    area = {"type": "linear", "domain": [0, largest], "range": [4, _AREA]}
    x = _number("macs", "multiply-accumulates for one image, 10⁹ (log scale)", log=True)
    if span[1] < 20 * span[0]:  # or there would be two ticks
        x["axis"]["values"] = [digit * 10.0**power for power in range(-3, 13) for digit in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    x["axis"]["labelExpr"] = "format(datum.value / 1e9, '~g')"
    encoding: Specification = {
        "x": x,
        "y": _number("accuracy", f"published top-1 accuracy, {data}, %"),
        "size": {**_quantity("parameters"), "title": "parameters", "scale": area, "legend": legend},
        "order": {"field": "parameters", "sort": "descending"},
        "tooltip": [
            _hint("name", "network"),
            _hint("year", "year"),
            _hint("accuracy", "top-1, %", ".2f"),
            _hint("macs", "multiply-accumulates", ",d"),
            _hint("parameters", "parameters", ",d"),
            _hint("source", "published by"),
        ],
    }
    circles: Specification = {"mark": {"type": "circle", "strokeWidth": 1.2}, "encoding": encoding, "name": "points"}
    layers = [circles]
    if highlight is None:
        encoding |= _grouped("family", groups)
        encoding["opacity"] = {"condition": {"param": "chosen", "value": 0.8}, "value": 0.1}
        circles["params"] = [{"name": "chosen", "select": {"type": "point", "fields": ["family"]}, "bind": "legend"}]
    else:
        name, parameters = highlight
        chosen = f"datum.name === {name!r}"
        encoding["color"] = {"condition": {"test": chosen, "value": COLORS[5]}, "value": QUIET}
        circles["mark"]["opacity"] = 0.6
        # The circle may be a dot, so a ring around it shows where it is.
        ring = {"type": "point", "filled": False, "color": COLORS[5], "strokeWidth": 2.5}
        ring["size"] = 250 + 1.3 * _AREA * parameters / largest
        places = {"x": _quantity("macs"), "y": _quantity("accuracy")}
        layers.append({"transform": [{"filter": chosen}], "mark": ring, "encoding": places})
    shown = [{"filter": f"datum.data === {data!r} && isValid(datum.accuracy)"}]
    return {"height": 460, "transform": shown, "layer": layers}


def bars(
    measure: Measure,
    names: Sequence[str],
    *,
    tick: tuple[str, str] | None = None,
    colors: Sequence[str] = (),
) -> Specification:
    """Draw a horizontal bar for each name, with its figure beside it.

    Args:
        measure: The figures.
        names: The names of the rows that have a figure, in the order of the bars.
        tick: A column whose value is a mark on the bar, and what it is.
        colors: The colors of the bars; by default all have the same.
    """
    hints = [_hint("name", "name"), _hint("_shown", measure.title, measure.form)]
    end = tick[0] if tick else measure.key
    transform: list[Specification] = [
        {"filter": f"isValid(datum[{measure.key!r}]) && indexof({list(names)!r}, datum.name) >= 0"},
        measure.scaled("_shown"),
        {"calculate": f"max(datum._shown, datum[{end!r}] * {measure.factor!r})", "as": "_right"},
    ]
    color: Specification = {"value": COLORS[0]}
    if colors:
        scale = {"domain": list(names), "range": list(colors)}
        color = {"field": "name", "type": "nominal", "scale": scale, "legend": None}
    figure = {"type": "text", "align": "left", "dx": 5, "color": "currentColor", "fontSize": 11}
    layer: list[Specification] = [
        {"mark": {"type": "bar", "cornerRadiusEnd": 2}, "encoding": {"color": color, "tooltip": hints}},
        {
            "mark": figure,
            "encoding": {"x": _quantity("_right"), "text": {**_quantity("_shown"), "format": measure.form}},
        },
    ]
    if tick is not None:
        transform.append({"calculate": f"datum[{tick[0]!r}] * {measure.factor!r}", "as": "_tick"})
        hints.append(_hint("_tick", tick[1], measure.form))
        mark = {"type": "tick", "color": "currentColor", "thickness": 2, "height": {"band": 0.7}}
        layer.append({"mark": mark, "encoding": {"x": _quantity("_tick")}})
    axis = {"labelLimit": 170, "ticks": False, "domain": False}
    return {
        "height": 24 * len(names),
        "padding": {"left": 2, "right": 52, "top": 2, "bottom": 2},
        "transform": transform,
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": list(names), "title": None, "axis": axis},
            "x": {**_quantity("_shown"), "title": None, "axis": {"tickCount": 5}},
        },
        "layer": layer,
    }


def layer_bars(measure: Measure, count: int) -> Specification:
    """Draw a thin bar for each of `count` layers in their order; the column `group` has one of LAYER_KINDS."""
    scale = {"domain": list(LAYER_KINDS), "range": [COLORS[i] for i in (0, 5, 7, 2, 3)]}
    return {
        "height": 170,
        "transform": [
            measure.scaled("_shown"),
            {"calculate": "datum._row + 1", "as": "_end"},
            {"filter": "datum._shown > 0"},
        ],
        "mark": {"type": "bar", "binSpacing": 0, "minBandSize": 1, "cornerRadius": 0},
        "encoding": {
            "x": {
                **_quantity("_row"),
                "bin": "binned",
                "title": "layers, from image to answer",
                "axis": {"grid": False, "labels": False, "ticks": False},
                "scale": {"nice": False, "domain": [0, count]},
            },
            "x2": {"field": "_end"},
            "y": {**_quantity("_shown"), "title": measure.title},
            "color": {"field": "group", "type": "nominal", "scale": scale, "legend": {"title": None, **_BELOW}},
            "tooltip": [
                _hint("name", "layer"),
                _hint("layer", "kind"),
                _hint("output", "output"),
                _hint("_shown", measure.title, measure.form),
            ],
        },
    }


def lines(x: Measure, y: Measure, names: Sequence[str]) -> Specification:
    """Draw a line for each name over a column of powers of two, with points on it."""
    axis = {"format": "d", "grid": False}
    dash = _scaled("name", names, [_DASHES[i // len(COLORS) % len(_DASHES)] for i in range(len(names))])
    return {
        "height": 260,
        "transform": [{"filter": f"isValid(datum[{y.key!r}])"}],
        "encoding": {
            "x": {
                **_quantity(x.key),
                "title": x.title,
                "scale": {"type": "log", "base": 2, "nice": False},
                "axis": axis,
            },
            "y": _number(y.key, y.title, zero=True),
            "tooltip": [_hint("name", "network"), _hint(x.key, x.title), _hint(y.key, y.title, y.form)],
            "color": _scaled("name", names, list(palette(names).values())),
        },
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"strokeDash": dash}},
            {"mark": {"type": "circle", "size": 60, "opacity": 1}},
        ],
    }


def points(
    x: Measure, y: Measure, texts: Mapping[str, str], colors: Mapping[str, str], *, join: bool = False
) -> Specification:
    """Draw points by two columns, the first on a logarithmic scale.

    Args:
        x: The figures along the page.
        y: The figures upward.
        texts: Columns of text that hovering shows -> what they are called; the first one groups the points.
        colors: Color of each value of the first of these columns.
        join: Whether a line goes through the points of each group, and a legend explains the colors.
    """
    scale = {"domain": list(colors), "range": list(colors.values())}
    layer: list[Specification] = [{"name": "points", "mark": {"type": "circle", "size": 90, "opacity": 0.95}}]
    if join:
        layer.insert(0, {"mark": {"type": "line", "strokeWidth": 1.5}})
    return {
        "height": 300,
        "transform": [
            {"filter": f"isValid(datum[{x.key!r}]) && isValid(datum[{y.key!r}])"},
            x.scaled("_x"),
            y.scaled("_y"),
        ],
        "encoding": {
            "x": _number("_x", x.axis or x.title, log=True),
            "y": _number("_y", y.axis or y.title),
            "color": {
                "field": next(iter(texts)),
                "type": "nominal",
                "scale": scale,
                "legend": {"title": None, **_BELOW} if join else None,
            },
            "tooltip": [
                *(_hint(column, title) for column, title in texts.items()),
                _hint("_x", x.title, x.form),
                _hint("_y", y.title, y.form),
            ],
        },
        "layer": layer,
    }


def palette(names: Iterable[str]) -> dict[str, str]:
    """Give each name a color; after eight, they repeat."""
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(dict.fromkeys(names))}


_BELOW = {"orient": "bottom"}  # in as many columns as fit, which the page knows
_ROUND = [digit * 10.0**power for power in range(-3, 13) for digit in (1, 2, 5)]  # ticks; those outside are not drawn


def _grouped(column: str, numbers: Mapping[str, int]) -> Specification:
    """Show groups by color and, after eight, by outline, in one legend."""
    names, rounds = list(numbers), [number // len(COLORS) for number in numbers.values()]
    return {
        "color": _scaled(column, names, [COLORS[number % len(COLORS)] for number in numbers.values()]),
        "stroke": _scaled(column, names, ["currentColor" if number else "transparent" for number in rounds]),
        "strokeDash": _scaled(column, names, [_DASHES[max(0, number - 1) % len(_DASHES)] for number in rounds]),
    }


def _scaled(column: str, names: Sequence[str], values: Sequence[Any]) -> Specification:
    scale = {"domain": list(names), "range": list(values)}
    return {"field": column, "type": "nominal", "scale": scale, "title": None, "legend": dict(_BELOW)}


def _quantity(field: str) -> Specification:
    return {"field": field, "type": "quantitative"}


def _number(field: str, title: str, *, log: bool = False, zero: bool = False) -> Specification:
    scale = {"type": "log", "nice": False, "padding": 30} if log else {"zero": zero, "padding": 0 if zero else 20}
    axis = {"grid": True, **({"values": _ROUND} if log else {"tickCount": 6})}
    return {**_quantity(field), "title": title, "scale": scale, "axis": axis}


def _hint(field: str, title: str, form: str = "") -> Specification:
    """Make a line of what hovering shows; `form` is for figures."""
    if not form:
        return {"field": field, "type": "nominal", "title": title}
    return {**_quantity(field), "title": title, "format": form}


def _round_sizes(largest: float) -> list[float]:
    """Return three sizes for a legend: about the largest, a quarter and a twentieth of it, to one digit."""
    return [float(f"{largest * part:.0e}") for part in (0.05, 0.25, 0.9)]
