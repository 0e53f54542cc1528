"""Tables keep their figures, however narrow a terminal is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kerascnn.analysis import printing

NAME, FIGURES = "resnet20_cifar_auto.tflite", ("1,086,999", "85.00", "77.53-90.30")


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, terminal: bool) -> list[list[str]]:
    """The words of each line under the heading."""
    screen = Console(width=width, file=io.StringIO(), force_terminal=terminal, color_system=None)
    monkeypatch.setattr(printing, "console", lambda: screen)
    made = printing.table("model|bytes|top-1|95 %", 3)
    made.add_row(NAME, *FIGURES)
    printing.draw(made)
    assert isinstance(screen.file, io.StringIO)
    return [line.split() for line in screen.file.getvalue().splitlines()[3:] if line.strip()]


def test_names_go_on_in_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = drawn(monkeypatch, 52, terminal=True)
    assert tuple(first[1:]) == FIGURES
    assert first[0] + "".join(word for line in rest for word in line) == NAME


@pytest.mark.parametrize(("width", "terminal"), [(80, True), (20, False)], ids=["wide", "no terminal"])
def test_a_row_is_one_line_where_there_is_room(monkeypatch: pytest.MonkeyPatch, width: int, terminal: bool) -> None:
    assert drawn(monkeypatch, width, terminal) == [[NAME, *FIGURES]]


def test_figures_are_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(drawn(monkeypatch, 20, terminal=True)[0][1:]) == FIGURES
