"""The parts of a page. A chart has no numbers of its own: it shows those of a table on the same page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its name in a row and in a chart's specification.
        title: Its heading.
        show: Writes a value as text.
        numeric: Whether values are numbers; the page holds these as they are too.
    """

    key: str
    title: str
    show: Callable[[Any], str] = str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: By which charts find it.
        title: Its heading.
        columns: Its columns; the first one names the row.
        rows: Mappings from the columns' keys to values; None is an empty cell.
        folded: Whether it is shown only on demand, because charts show its figures.
        cards: Whether narrow screens show a card for each row.
        kind: By which the template finds out what to draw.
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
    """A chart.

    Attributes:
        table: Name of the table whose rows are its data.
        title: Its heading.
        summary: What it shows, for readers who do not see it.
        specification: For Vega-Lite, without data.
        labels: The column whose texts are written beside the marks named "points" where there is room.
        kind: As of a table.
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
    """A few figures in large letters, each as (what it is, value as text)."""

    facts: Sequence[tuple[str, str]]
    kind: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Notes:
    """Sentences, one on each line. `warning` marks what must not be missed."""

    lines: Sequence[str]
    warning: bool = False
    kind: str = field(default="notes", init=False)


@dataclass(frozen=True)
class Answer:
    """What one artifact says of a photo.

    Attributes:
        source: The artifact.
        classes: Its best classes, each with its score as text.
        right: Whether the first class is correct; None if the photo has no label.
    """

    source: str
    classes: Sequence[tuple[str, str]]
    right: bool | None


@dataclass(frozen=True)
class Photo:
    """A photo on which answers differ.

    Attributes:
        name: The name of the file.
        label: Its class.
        picture: As a data URI; "" if it could not be read.
        answers: The answers.
    """

    name: str
    label: str
    picture: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Photos:
    """Photos with what each artifact says of them."""

    photos: Sequence[Photo]
    kind: str = field(default="photos", init=False)


@dataclass(frozen=True)
class Answered:
    """A photo with the classes that one model sees in it, each with its probability."""

    name: str
    picture: str
    classes: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class ContactSheet:
    """Photos in a grid, each with its classes as bars."""

    photos: Sequence[Answered]
    kind: str = field(default="contact_sheet", init=False)


@dataclass(frozen=True)
class Snippet:
    """Code for one artifact.

    Attributes:
        title: What the artifact is called.
        path: Where it is.
        codes: (language, code) in each language.
    """

    title: str
    path: str
    codes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Snippets:
    """Code for artifacts, shown on demand."""

    snippets: Sequence[Snippet]
    kind: str = field(default="snippets", init=False)


Block = Table | Chart | Charts | Facts | Notes | Photos | ContactSheet | Snippets


@dataclass(frozen=True)
class Section:
    """A part of a page. `name` is its place in the address, such as `layers`."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A page. `subtitle` is a line below the title; `footer` says where the page comes from."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str = ""


def count(number: float) -> str:
    """Write a count, such as 25,557,032."""
    return f"{number:,.0f}"


def decimals(places: int, factor: float = 1.0, unit: str = "") -> Callable[[float], str]:
    """Return a function that writes numbers with so many decimals, after multiplication by `factor`."""
    return lambda number: f"{number * factor:,.{places}f}{unit}"
