"""What charts share: colors, measures, and the parts of Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerascnn.statistics import Z

Specification = dict[str, Any]

# Distinct under the common color deficiencies (Okabe & Ito), on white and on black.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#7F7F7F")
QUIET = "#9A9A9A"
DASHES = ([1, 0], [5, 3], [2, 2])  # for names after the eighth, whose colors repeat
BELOW = {"orient": "bottom"}  # in as many columns as fit, which the page knows
_ROUND = [digit * 10.0**power for power in range(-3, 13) for digit in (1, 2, 5)]  # ticks; those outside are not drawn


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


def palette(names: Iterable[str]) -> dict[str, str]:
    """Give each name a color; after eight, they repeat."""
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(dict.fromkeys(names))}


def grouped(column: str, numbers: Mapping[str, int]) -> Specification:
    """Show groups by color and, after eight, by outline, in one legend."""
    names, rounds = list(numbers), [number // len(COLORS) for number in numbers.values()]
    return {
        "color": scaled(column, names, [COLORS[number % len(COLORS)] for number in numbers.values()]),
        "stroke": scaled(column, names, ["currentColor" if number else "transparent" for number in rounds]),
        "strokeDash": scaled(column, names, [DASHES[max(0, number - 1) % len(DASHES)] for number in rounds]),
    }


def scaled(column: str, names: Sequence[str], values: Sequence[Any]) -> Specification:
    """Give each name of a column a value of its own, with a legend."""
    scale = {"domain": list(names), "range": list(values)}
    return {"field": column, "type": "nominal", "scale": scale, "title": None, "legend": dict(BELOW)}


def quantity(field: str) -> Specification:
    """Show a field of figures."""
    return {"field": field, "type": "quantitative"}


def number(field: str, title: str, *, log: bool = False, zero: bool = False) -> Specification:
    """Show a field of figures on an axis with a grid, which is logarithmic or may have to begin with zero."""
    scale = {"type": "log", "nice": False, "padding": 30} if log else {"zero": zero, "padding": 0 if zero else 20}
    axis = {"grid": True, **({"values": _ROUND} if log else {"tickCount": 6})}
    return {**quantity(field), "title": title, "scale": scale, "axis": axis}


def hint(field: str, title: str, form: str = "") -> Specification:
    """Make a line of what hovering shows; `form` is for figures."""
    if not form:
        return {"field": field, "type": "nominal", "title": title}
    return {**quantity(field), "title": title, "format": form}


def wilson_ends(measure: Measure, images: int) -> list[Specification]:
    """Return the transformations that make the ends of the interval the fields `_low` and `_high`."""
    share, spread = f"datum[{measure.key!r}]", 1 + Z**2 / images
    center = f"({share} + {Z**2 / (2 * images)!r}) / {spread!r}"
    half = f"{Z / spread!r} * sqrt({share} * (1 - {share}) / {images} + {Z**2 / (4 * images**2)!r})"
    return [
        {"calculate": f"{measure.factor!r} * ({center} {sign} {half})", "as": name}
        for sign, name in (("-", "_low"), ("+", "_high"))
    ]


def round_sizes(largest: float) -> list[float]:
    """Return three sizes for a legend: about the largest, a quarter and a twentieth of it, to one digit."""
    return [float(f"{largest * part:.0e}") for part in (0.05, 0.25, 0.9)]
