"""Charts as Vega-Lite specifications of the page's tables; `currentColor` serves light and dark pages alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kerascnn.analysis.pages.vega import (
    BELOW,
    COLORS,
    DASHES,
    QUIET,
    Measure,
    Specification,
    grouped,
    hint,
    number,
    palette,
    quantity,
    round_sizes,
    scaled,
    wilson_ends,
)

LAYER_KINDS = ("convolution", "dense", "normalization", "pooling", "other")
_AREA = 1400  # of the largest circle, in square pixels


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
    legend = {"format": "~s", "values": round_sizes(largest), **BELOW, "columns": 3, "symbolFillColor": QUIET}
    area = {"type": "linear", "domain": [0, largest], "range": [4, _AREA]}
    x = number("macs", "multiply-accumulates for one image, 10⁹ (log scale)", log=True)
    if span[1] < 20 * span[0]:  # or there would be two ticks
        x["axis"]["values"] = [digit * 10.0**power for power in range(-3, 13) for digit in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    x["axis"]["labelExpr"] = "format(datum.value / 1e9, '~g')"
    encoding: Specification = {
        "x": x,
        "y": number("accuracy", f"published top-1 accuracy, {data}, %"),
        "size": {**quantity("parameters"), "title": "parameters", "scale": area, "legend": legend},
        "order": {"field": "parameters", "sort": "descending"},
        "tooltip": [
            hint("name", "network"),
            hint("year", "year"),
            hint("accuracy", "top-1, %", ".2f"),
            hint("macs", "multiply-accumulates", ",d"),
            hint("parameters", "parameters", ",d"),
            hint("source", "published by"),
        ],
    }
    circles: Specification = {"mark": {"type": "circle", "strokeWidth": 1.2}, "encoding": encoding, "name": "points"}
    layers = [circles]
    if highlight is None:
        encoding |= grouped("family", groups)
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
        places = {"x": quantity("macs"), "y": quantity("accuracy")}
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
    hints = [hint("name", "name"), hint("_shown", measure.title, measure.form)]
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
            "encoding": {"x": quantity("_right"), "text": {**quantity("_shown"), "format": measure.form}},
        },
    ]
    if tick is not None:
        transform.append({"calculate": f"datum[{tick[0]!r}] * {measure.factor!r}", "as": "_tick"})
        hints.append(hint("_tick", tick[1], measure.form))
        mark = {"type": "tick", "color": "currentColor", "thickness": 2, "height": {"band": 0.7}}
        layer.append({"mark": mark, "encoding": {"x": quantity("_tick")}})
    axis = {"labelLimit": 170, "ticks": False, "domain": False}
    return {
        "height": 24 * len(names),
        "padding": {"left": 2, "right": 52, "top": 2, "bottom": 2},
        "transform": transform,
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": list(names), "title": None, "axis": axis},
            "x": {**quantity("_shown"), "title": None, "axis": {"tickCount": 5}},
        },
        "layer": layer,
    }


def intervals(measure: Measure, names: Sequence[str], images: int, colors: Sequence[str]) -> Specification:
    """Draw a point for each name, a share of `images` trials, with its 95 % interval (Wilson) as a line.

    The axis spans the intervals, so that differences look no greater than they are.

    Args:
        measure: The shares.
        names: The names of the rows that have one, from top to bottom.
        images: How many trials there were.
        colors: The color of each.
    """
    hints = [hint("name", "name"), hint("_shown", measure.title, measure.form)]
    hints += [hint("_low", "95 % interval from", measure.form), hint("_high", "to", measure.form)]
    scale = {"domain": list(names), "range": list(colors)}
    color = {"field": "name", "type": "nominal", "scale": scale, "legend": None}
    figure = {"type": "text", "align": "left", "dx": 6, "color": "currentColor", "fontSize": 11}
    return {
        "height": 24 * len(names),
        "padding": {"left": 2, "right": 52, "top": 2, "bottom": 2},
        "transform": [
            {"filter": f"isValid(datum[{measure.key!r}]) && indexof({list(names)!r}, datum.name) >= 0"},
            measure.scaled("_shown"),
            *wilson_ends(measure, images),
        ],
        "encoding": {
            "y": {
                "field": "name",
                "type": "nominal",
                "sort": list(names),
                "title": None,
                "axis": {"labelLimit": 170, "ticks": False, "domain": False, "grid": True},
            },
            "x": {**quantity("_shown"), "title": None, "scale": {"zero": False}, "axis": {"tickCount": 5}},
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.7},
                "encoding": {"x": quantity("_low"), "x2": {"field": "_high"}, "color": color, "tooltip": hints},
            },
            {
                "mark": {"type": "circle", "size": 80, "opacity": 1},
                "encoding": {"color": color, "tooltip": hints},
            },
            {
                "mark": figure,
                "encoding": {"x": quantity("_high"), "text": {**quantity("_shown"), "format": measure.form}},
            },
        ],
    }


def layer_bars(measure: Measure, names: Sequence[str], kinds: Collection[str]) -> Specification:
    """Draw a thin bar for each layer.

    Args:
        measure: The figures.
        names: The layers, from image to answer.
        kinds: Those of LAYER_KINDS that the column `group` has.
    """
    colors = dict(zip(LAYER_KINDS, (COLORS[i] for i in (0, 5, 7, 2, 3)), strict=True))
    shown = [kind for kind in LAYER_KINDS if kind in kinds]
    scale = {"domain": shown, "range": [colors[kind] for kind in shown]}
    axis = {"labelAngle": -55, "labelLimit": 110, "labelOverlap": "greedy", "ticks": False, "grid": False}
    return {
        "height": 170,
        "transform": [measure.scaled("_shown"), {"filter": "datum._shown > 0"}],
        "mark": {"type": "bar", "minBandSize": 1, "cornerRadius": 0},
        "encoding": {
            "x": {
                "field": "name",
                "type": "nominal",
                "title": "layers, from image to answer",
                "axis": axis,
                "scale": {"domain": list(names), "padding": 0},
            },
            "y": {**quantity("_shown"), "title": measure.title},
            "color": {"field": "group", "type": "nominal", "scale": scale, "legend": {"title": None, **BELOW}},
            "tooltip": [
                hint("name", "layer"),
                hint("layer", "kind"),
                hint("output", "output"),
                hint("_shown", measure.title, measure.form),
            ],
        },
    }


def lines(x: Measure, y: Measure, names: Sequence[str]) -> Specification:
    """Draw a line for each name over a column of powers of two, with points on it."""
    axis = {"format": "d", "grid": False}
    dash = scaled("name", names, [DASHES[i // len(COLORS) % len(DASHES)] for i in range(len(names))])
    return {
        "height": 260,
        "transform": [{"filter": f"isValid(datum[{y.key!r}])"}],
        "encoding": {
            "x": {
                **quantity(x.key),
                "title": x.title,
                "scale": {"type": "log", "base": 2, "nice": False},
                "axis": axis,
            },
            "y": number(y.key, y.title, zero=True),
            "tooltip": [hint("name", "network"), hint(x.key, x.title), hint(y.key, y.title, y.form)],
            "color": scaled("name", names, list(palette(names).values())),
        },
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"strokeDash": dash}},
            {"mark": {"type": "circle", "size": 60, "opacity": 1}},
        ],
    }


def points(
    x: Measure,
    y: Measure,
    texts: Mapping[str, str],
    colors: Mapping[str, str],
    *,
    join: bool = False,
    images: int | None = None,
) -> Specification:
    """Draw points by two columns, the first on a logarithmic scale.

    Args:
        x: The figures along the page.
        y: The figures upward.
        texts: Columns of text that hovering shows -> what they are called; the first one groups the points.
        colors: Color of each value of the first of these columns.
        join: Whether a line goes through the points of each group, and a legend explains the colors.
        images: Where the second is a share: of how many trials. Its 95 % interval is then a line through the point.
    """
    scale = {"domain": list(colors), "range": list(colors.values())}
    layer: list[Specification] = [{"name": "points", "mark": {"type": "circle", "size": 90, "opacity": 0.95}}]
    if join:
        layer.insert(0, {"mark": {"type": "line", "strokeWidth": 1.5}})
    if images is not None:
        ends = {"y": quantity("_low"), "y2": {"field": "_high"}}
        layer.append({"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.5}, "encoding": ends})
    return {
        "height": 300,
        "transform": [
            {"filter": f"isValid(datum[{x.key!r}]) && isValid(datum[{y.key!r}])"},
            x.scaled("_x"),
            y.scaled("_y"),
            *(wilson_ends(y, images) if images is not None else ()),
        ],
        "encoding": {
            "x": number("_x", x.axis or x.title, log=True),
            "y": number("_y", y.axis or y.title),
            "color": {
                "field": next(iter(texts)),
                "type": "nominal",
                "scale": scale,
                "legend": {"title": None, **BELOW} if join else None,
            },
            "tooltip": [
                *(hint(column, title) for column, title in texts.items()),
                hint("_x", x.title, x.form),
                hint("_y", y.title, y.form),
            ],
        },
        "layer": layer,
    }
