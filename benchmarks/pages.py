"""Figures within a page of the documentation: between two marks, replaced whenever they are measured again."""

from __future__ import annotations

from pathlib import Path


def figures(page: Path, mark: str) -> str:
    """Return what is between `<!-- MARK -->` and `<!-- end of the MARK -->`."""
    return page.read_text(encoding="utf-8").split(_begin(mark))[1].split(_end(mark))[0]


def replace_figures(page: Path, mark: str, text: str) -> None:
    """Put text between the marks, and keep what is around them."""
    before, rest = page.read_text(encoding="utf-8").split(_begin(mark))
    _, after = rest.split(_end(mark))
    page.write_text(f"{before}{_begin(mark)}{text.rstrip()}\n{_end(mark)}{after}", encoding="utf-8")


def _begin(mark: str) -> str:
    return f"<!-- {mark} -->\n"


def _end(mark: str) -> str:
    return f"<!-- end of the {mark} -->\n"
