"""What stands on a page. A chart has no numbers of its own: it shows those of a table of the same page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of a table. show: the text for a value; a number also stands on the page as it is.

    key: the value's name in a row and in a chart's specification.
    """

    key: str
    title: str
    show: Callable[[Any], str] = str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows as mappings from the columns' keys to values; None is an empty cell. The first column names the row.

    folded: shown on demand, because charts show it. cards: a card for each row on narrow screens.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    folded: bool = False
    cards: bool = False
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification whose data are the rows of the table `table`.

    summary: what it shows, for readers who do not see it. labels: the column whose texts are written beside the marks
    named "points" where there is room.
    """

    table: str
    title: str
    summary: str
    specification: Mapping[str, Any]
    labels: str = ""
    kind: str = field(default="chart", init=False)


@dataclass(frozen=True)
class Charts:
    """Charts side by side where there is room."""

    charts: Sequence[Chart]
    kind: str = field(default="charts", init=False)


@dataclass(frozen=True)
class Facts:
    """A few figures in large letters: (what it is, value as text)."""

    facts: Sequence[tuple[str, str]]
    kind: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Notes:
    """Sentences, one a line. warning: what must not be missed."""

    lines: Sequence[str]
    warning: bool = False
    kind: str = field(default="notes", init=False)


@dataclass(frozen=True)
class Answer:
    """What one artifact says of a photo: its best classes with their scores as texts, and whether the first is right.

    right: None where the photo has no label.
    """

    source: str
    classes: Sequence[tuple[str, str]]
    right: bool | None


@dataclass(frozen=True)
class Photo:
    """A photo as a data URI, or "" where it could not be read, with the answers that differ on it."""

    name: str
    label: str
    picture: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Photos:
    """Photos with what each artifact says of them."""

    photos: Sequence[Photo]
    kind: str = field(default="photos", init=False)


Block = Table | Chart | Charts | Facts | Notes | Photos


@dataclass(frozen=True)
class Section:
    """A part of a page. name: its place in the address, such as `layers`."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """One file. subtitle: a line below the title; footer: where it comes from."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str = ""


def count(number: float) -> str:
    """25,557,032."""
    return f"{number:,.0f}"


def decimals(places: int, factor: float = 1.0, unit: str = "") -> Callable[[float], str]:
    """A text with so many decimals, after multiplication by `factor`."""
    return lambda number: f"{number * factor:,.{places}f}{unit}"
