"""`compare --html` and `summary --html`: one file each, which shows what the table of facts and the graph say."""

import json

import pytest

from kerascnn.analysis import Measured, compare
from kerascnn.analysis.pages import rendering
from kerascnn.analysis.pages.blocks import Chart, Charts
from tests import pages

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("vl_convert", reason="the extra report is not installed")


@pytest.fixture
def measured(monkeypatch):
    """Measuring costs nothing and gives figures by the batch size."""
    from kerascnn.analysis import comparing

    def figures(name, batch_sizes):
        return tuple(Measured(size, 10.0 * size, 2.5 * size, None, "2026-01-01") for size in batch_sizes)

    monkeypatch.setattr(comparing, "measured", figures)


@pytest.fixture
def comparison(call, measured, tmp_path):
    code, printed = call("compare", "resnet??", "vgg16", "lenet5", "--measure", "--html", "networks.html", "--json")
    assert (code, printed.err) == (0, "Written: networks.html\n")
    return tmp_path / "networks.html", json.loads(printed.out)


def test_the_page_has_the_numbers_of_the_command(comparison):
    file, rows = comparison
    found = pages.tables(file.read_text())
    shown = {row["name"]: row for row in found["networks"]}
    assert list(shown) == [row["name"] for row in rows]
    for row in rows:
        for key in ("parameters", "macs", "accuracy", "error5", "accuracy_per_million", "side", "source"):
            assert shown[row["name"]][key] == row[key] or not row[key]
    passes = {(row["name"], row["batch"]): row["milliseconds"] for row in found["measured"]}
    assert passes == {(row["name"], one["batch"]): one["milliseconds"] for row in rows for one in row["measured"]}


def test_comparison_in_a_browser(comparison, browser):
    file, rows = comparison
    pages.check(browser, file)
    with pages.opened(browser, file) as page:
        circles = page.query_selector("figure").query_selector_all(".mark-symbol.role-mark path")
        published = [row for row in rows if row["data"] == "ImageNet" and row["accuracy"] is not None]
        assert len(circles) == len(published)
        largest = max(published, key=lambda row: row["parameters"])
        sizes = [circle.bounding_box()["width"] for circle in circles]
        circles[sizes.index(max(sizes))].hover()
        told = page.inner_text("#vg-tooltip-element")
        assert largest["name"] in told
        assert f"{largest['parameters']:,}" in told


def test_theme_and_keyboard(comparison, browser):
    with pages.opened(browser, comparison[0]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Tab")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.keyboard.press("Enter")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert page.get_attribute("#theme", "aria-label") == "Switch to the light theme"
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_layers_in_a_browser(call, browser, tmp_path):
    code, printed = call("summary", "lenet5", "--html", "lenet5.html", "--json")
    assert code == 0
    totals = json.loads(printed.out)
    file = tmp_path / "lenet5.html"
    pages.check(browser, file)
    rows = pages.tables(file.read_text())["layers"]
    assert [row["name"] for row in rows] == [layer["name"] for layer in totals["layers"]]
    assert sum(row["macs"] for row in rows) == totals["macs"]
    assert [row["memory"] / 1024 for row in rows] == [layer["memory_kib"] for layer in totals["layers"]]
    with pages.opened(browser, file) as page:
        assert "61,706" in page.inner_text(".facts")
        bars = page.query_selector("figure").query_selector_all(".mark-rect path")
        assert len(bars) == sum(row["macs"] > 0 for row in rows)
        page.focus("summary")
        page.keyboard.press("Enter")
        assert page.is_visible("#table-layers")


@pytest.mark.slow
def test_the_deepest_network_fits(call, browser, tmp_path):
    """4,000 layers, 12,000 bars."""
    assert call("summary", "resnet1202_cifar", "--html", "deep.html", "--json")[0] == 0
    pages.check(browser, tmp_path / "deep.html")


def test_charts_are_of_columns_that_their_tables_have():
    """A misspelt column draws an empty chart and no error."""
    from kerascnn.analysis.pages.comparison import comparison

    page = comparison(compare(["resnet*", "densenet*"]))
    blocks = [block for section in page.sections for block in section.blocks]
    drawn = [one for block in blocks for one in (block.charts if isinstance(block, Charts) else [block])]
    keys = {column.key for block in blocks if block.kind == "table" for column in block.columns}
    for chart in (one for one in drawn if isinstance(one, Chart)):
        fields = set(_fields(chart.specification))
        assert {field for field in fields if not field.startswith("_")} <= keys


def _fields(part):
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "field":
                yield value
            yield from _fields(value)
    elif isinstance(part, list):
        for value in part:
            yield from _fields(value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "vgg16", "--html", "page.txt"], "--html writes a file whose name ends in .html"),
        (["compare", "vgg16", "--html", "nowhere/page.html"], "no folder 'nowhere'"),
        (["compare", "vgg16", "--measure", "--batch-sizes", "1,x"], "--batch-sizes are whole numbers"),
        (["compare", "vgg16", "--measure", "--batch-sizes", "0"], "whole numbers from 1 on"),
    ],
)
def test_refusals_come_before_the_work(call, arguments, says):
    code, printed = call(*arguments)
    assert code == 2
    assert says in printed.err
    assert printed.out == ""


def test_a_missing_extra_is_named_before_the_work(call, monkeypatch):
    monkeypatch.setattr(rendering, "available", lambda: False)
    code, printed = call("compare", "vgg16", "--html", "page.html")
    assert code == 1
    assert "pip install 'kerascnn[report]'" in printed.err
