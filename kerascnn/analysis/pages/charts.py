"""Charts as Vega-Lite specifications; their data are the rows of the page's tables, by the names of the columns.

Text and lines take the page's colour (`currentColor`), so that light and dark need no second drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Specification = dict[str, Any]

# Told apart under the common colour deficiencies (Okabe & Ito), on white and on black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#7F7F7F")
QUIET = "#9A9A9A"
_AREA = 1400  # of the largest circle, in square pixels
_DASHES = ([1, 0], [5, 3], [2, 2])  # where the colours come again


def bubbles(
    data: str, groups: Sequence[str], *, largest: float, highlight: tuple[str, float] | None = None
) -> Specification:
    """Accuracy against work, a circle's area being parameters, after Canziani et al. 2017 (arXiv:1605.07678).

    Args:
        data: what the errors were measured on.
        groups: the families, each with a colour of its own.
        largest: the most parameters of any.
        highlight: the one network that is coloured and has a ring, and its parameters; the others are grey.
    """
    encoding: Specification = {
        "x": _number("macs", "multiply-accumulates for one image, 10⁹ (log scale)", log=True, label=_BILLIONS),
        "y": _number("accuracy", f"published top-1 accuracy, {data}, %"),
        "size": {
            "field": "parameters",
            "type": "quantitative",
            "title": "parameters",
            "scale": {"type": "linear", "domain": [0, largest], "range": [4, _AREA]},
            "legend": {
                "format": "~s",
                "values": _round_sizes(largest),
                **_BELOW,
                "columns": 3,
                "symbolFillColor": QUIET,
            },
        },
        "order": {"field": "parameters", "sort": "descending"},
        "tooltip": [
            _told("name", "network"),
            _told("year", "year"),
            _told("accuracy", "top-1, %", ".2f"),
            _told("macs", "multiply-accumulates", ",d"),
            _told("parameters", "parameters", ",d"),
            _told("source", "published by"),
        ],
    }
    marks: Specification = {"type": "circle", "strokeWidth": 1.2}
    if highlight is not None:
        chosen = f"datum.name === {highlight[0]!r}"
        encoding["color"] = {"condition": {"test": chosen, "value": COLOURS[5]}, "value": QUIET}
        marks["opacity"] = 0.6
    else:
        encoding |= _grouped("family", groups)
        encoding["opacity"] = {"condition": {"param": "chosen", "value": 0.8}, "value": 0.1}
    layers: list[Specification] = [{"mark": marks, "encoding": encoding, "name": "points"}]
    if highlight is None:
        layers[0]["params"] = [{"name": "chosen", "select": {"type": "point", "fields": ["family"]}, "bind": "legend"}]
    else:
        layers.append(_ring(highlight[0], 250 + 1.3 * _AREA * highlight[1] / largest))
    return {
        "height": 460,
        "transform": [{"filter": f"datum.data === {data!r} && isValid(datum.accuracy)"}],
        "layer": layers,
    }


def _ring(name: str, area: float) -> Specification:
    """Around the one circle that is looked for, which may be a dot."""
    return {
        "transform": [{"filter": f"datum.name === {name!r}"}],
        "mark": {"type": "point", "filled": False, "color": COLOURS[5], "strokeWidth": 2.5, "size": area},
        "encoding": {
            "x": {"field": "macs", "type": "quantitative"},
            "y": {"field": "accuracy", "type": "quantitative"},
        },
    }


def bars(
    value: str,
    title: str,
    names: Sequence[str],
    *,
    form: str,
    factor: float = 1.0,
    tick: tuple[str, str] | None = None,
    colours: Sequence[str] = (),
) -> Specification:
    """A horizontal bar for each name, with its figure written beside it.

    Args:
        value: the column of the figures; title: what hovering calls them.
        names: of the rows that have a figure, in the order of the bars.
        form: of the figures, as d3-format writes it; factor: what they are multiplied by.
        tick: a column whose value is a mark on the bar, and what it is.
        colours: of the bars; all alike by default.
    """
    told = [_told("name", "name"), _told("_shown", title, form)]
    transform: list[Specification] = [
        {"filter": f"isValid(datum[{value!r}]) && indexof({list(names)!r}, datum.name) >= 0"},
        {"calculate": f"datum[{value!r}] * {factor!r}", "as": "_shown"},
        {"calculate": f"max(datum._shown, datum[{(tick or (value,))[0]!r}] * {factor!r})", "as": "_right"},
    ]
    colour: Specification = {"value": COLOURS[0]}
    if colours:
        scale = {"domain": list(names), "range": list(colours)}
        colour = {"field": "name", "type": "nominal", "scale": scale, "legend": None}
    layer: list[Specification] = [
        {"mark": {"type": "bar", "cornerRadiusEnd": 2}, "encoding": {"color": colour, "tooltip": told}},
        {
            "mark": {"type": "text", "align": "left", "dx": 5, "color": "currentColor", "fontSize": 11},
            "encoding": {
                "x": {"field": "_right", "type": "quantitative"},
                "text": {"field": "_shown", "type": "quantitative", "format": form},
            },
        },
    ]
    if tick is not None:
        transform.append({"calculate": f"datum[{tick[0]!r}] * {factor!r}", "as": "_tick"})
        told.append(_told("_tick", tick[1], form))
        mark = {"type": "tick", "color": "currentColor", "thickness": 2, "height": {"band": 0.7}}
        layer.append({"mark": mark, "encoding": {"x": {"field": "_tick", "type": "quantitative"}}})
    axis = {"labelLimit": 170, "ticks": False, "domain": False}
    return {
        "height": 24 * len(names),
        "padding": {"left": 2, "right": 52, "top": 2, "bottom": 2},
        "transform": transform,
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": list(names), "title": None, "axis": axis},
            "x": {"field": "_shown", "type": "quantitative", "title": None, "axis": {"tickCount": 5}},
        },
        "layer": layer,
    }


LAYER_KINDS = ("convolution", "dense", "normalisation", "pooling", "other")


def layer_bars(value: str, title: str, count: int, *, form: str, factor: float) -> Specification:
    """A thin bar for each of `count` layers in the order of the network; the column `group` is of LAYER_KINDS."""
    return {
        "height": 170,
        "transform": [
            {"calculate": f"datum[{value!r}] * {factor!r}", "as": "_shown"},
            {"calculate": "datum._row + 1", "as": "_end"},
            {"filter": "datum._shown > 0"},
        ],
        "mark": {"type": "bar", "binSpacing": 0, "minBandSize": 1, "cornerRadius": 0},
        "encoding": {
            "x": {
                "field": "_row",
                "type": "quantitative",
                "bin": "binned",
                "title": "layers, from image to answer",
                "axis": {"grid": False, "labels": False, "ticks": False},
                "scale": {"nice": False, "domain": [0, count]},
            },
            "x2": {"field": "_end"},
            "y": {"field": "_shown", "type": "quantitative", "title": title},
            "color": {
                "field": "group",
                "type": "nominal",
                "scale": {"domain": list(LAYER_KINDS), "range": [COLOURS[i] for i in (0, 5, 7, 2, 3)]},
                "legend": {"title": None, **_BELOW},
            },
            "tooltip": [
                _told("name", "layer"),
                _told("layer", "kind"),
                _told("output", "output"),
                _told("_shown", title, form),
            ],
        },
    }


def lines(x: str, y: str, titles: tuple[str, str], names: Sequence[str], *, form: str) -> Specification:
    """A line for each name over a column of powers of two, with points on it."""
    encoding: Specification = {
        "x": {
            "field": x,
            "type": "quantitative",
            "title": titles[0],
            "scale": {"type": "log", "base": 2, "nice": False},
            "axis": {"format": "d", "grid": False},
        },
        "y": _number(y, titles[1], zero=True),
        "tooltip": [_told("name", "network"), _told(x, titles[0]), _told(y, titles[1], form)],
    }
    encoding["color"] = _scaled("name", names, list(palette(names).values()))
    dash = _scaled("name", names, [_DASHES[i // len(COLOURS) % len(_DASHES)] for i in range(len(names))])
    return {
        "height": 260,
        "transform": [{"filter": f"isValid(datum[{y!r}])"}],
        "encoding": encoding,
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"strokeDash": dash}},
            {"mark": {"type": "circle", "size": 60, "opacity": 1}},
        ],
    }


def points(
    x: str,
    y: str,
    titles: tuple[str, str],
    *,
    group: str,
    colours: Mapping[str, str],
    told: Sequence[tuple[str, str, str]],
    factor: tuple[float, float],
    join: bool = False,
) -> Specification:
    """Points by two columns, the first on a logarithmic scale.

    Args:
        colours: of each value of the column `group`.
        told: (column, title, format) of what hovering says; `_x` and `_y` are the figures that are drawn.
        factor: what x and y are multiplied by.
        join: a line through the points of each group, and a legend.
    """
    legend = {"title": None, **_BELOW} if join else None
    scale = {"domain": list(colours), "range": list(colours.values())}
    encoding: Specification = {
        "x": _number("_x", titles[0], log=True),
        "y": _number("_y", titles[1]),
        "color": {"field": group, "type": "nominal", "scale": scale, "legend": legend},
        "tooltip": [_told(*words) for words in told],
    }
    layer: list[Specification] = [{"name": "points", "mark": {"type": "circle", "size": 90, "opacity": 0.95}}]
    if join:
        layer.insert(0, {"mark": {"type": "line", "strokeWidth": 1.5}})
    return {
        "height": 300,
        "transform": [
            {"filter": f"isValid(datum[{x!r}]) && isValid(datum[{y!r}])"},
            {"calculate": f"datum[{x!r}] * {factor[0]!r}", "as": "_x"},
            {"calculate": f"datum[{y!r}] * {factor[1]!r}", "as": "_y"},
        ],
        "encoding": encoding,
        "layer": layer,
    }


def palette(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name; after eight, they come again."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


_BELOW = {"orient": "bottom"}  # in as many columns as fit, which the page knows
_BILLIONS = "format(datum.value / 1e9, '~g')"
_ROUND = [digit * 10.0**power for power in range(-3, 13) for digit in (1, 2, 5)]  # ticks; those outside are not drawn


def _grouped(column: str, names: Sequence[str]) -> Mapping[str, Any]:
    """Colour and, after eight, outline of each group, in one legend."""
    rounds = [i // len(COLOURS) for i in range(len(names))]
    return {
        "color": _scaled(column, names, list(palette(names).values())),
        "stroke": _scaled(column, names, ["currentColor" if number else "transparent" for number in rounds]),
        "strokeDash": _scaled(column, names, [_DASHES[max(0, number - 1) % len(_DASHES)] for number in rounds]),
    }


def _scaled(column: str, names: Sequence[str], values: Sequence[Any]) -> Specification:
    scale = {"domain": list(names), "range": list(values)}
    return {"field": column, "type": "nominal", "scale": scale, "title": None, "legend": dict(_BELOW)}


def _number(field: str, title: str, *, log: bool = False, zero: bool = False, label: str = "") -> Specification:
    scale = {"type": "log", "nice": False, "padding": 30} if log else {"zero": zero, "padding": 0 if zero else 20}
    axis: Specification = {"grid": True, **({"values": _ROUND} if log else {"tickCount": 6})}
    if label:
        axis["labelExpr"] = label
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _told(field: str, title: str, form: str = "") -> Specification:
    kind = "quantitative" if form else "nominal"
    return {"field": field, "type": kind, "title": title, **({"format": form} if form else {})}


def _round_sizes(largest: float) -> list[float]:
    """Three sizes for a legend: about the largest, a quarter and a twentieth of it, to one digit."""
    return [float(f"{largest * part:.0e}") for part in (0.05, 0.25, 0.9)]
