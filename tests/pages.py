"""An HTML report as a reader's browser shows it."""

import re
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

LARGEST = 2_000_000  # bytes
PHONE, DESKTOP = 360, 1280  # pixels


@contextmanager
def opened(browser, file, width=DESKTOP, scheme="light"):
    """The page of a file, its charts drawn. Afterwards: nothing was said on the console, nothing was asked of a net."""
    said, asked = [], []
    # The page forbids foreign scripts, among them those of the test.
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.resolve().as_uri())
    page.wait_for_function("document.querySelectorAll('.chart').length === document.querySelectorAll('.drawn').length")
    try:
        yield page
    finally:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", file.resolve().as_uri()))] == []


def check(browser, file):
    """What holds of every report: size, width, contrast, names of all controls, a chart's marks, both themes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    assert file.stat().st_size < LARGEST
    assert not re.findall(
        r"""(?:src|href)=["'](?!#|data:)[^"']*""", re.sub(r"(?s)<script.*?</script>", "", file.read_text())
    )
    for width, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
        with opened(browser, file, width, scheme) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for chart in page.query_selector_all(".chart"):
                box = chart.query_selector("svg").bounding_box()
                assert box["width"] <= chart.bounding_box()["width"] + 1
                assert chart.query_selector_all("svg .mark-rect path, svg .mark-symbol path")
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


class _Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.cell, self.number = {}, None, None

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "table":
            self.keys, self.rows = [], []
            self.tables[given["id"].removeprefix("table-")] = self.rows
        elif tag == "tr":
            self.row = {}
        elif tag in ("th", "td"):
            self.cell, self.number, self.key = "", None, given.get("data-key")
            self.numeric = given.get("class") == "n"
        elif tag == "data":
            self.number = given["value"]

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            if self.key is not None:
                self.keys.append(self.key)
            else:
                text = self.cell.strip()
                value = text if text != "–" else None
                if self.numeric and value is not None:
                    value = float(self.number if self.number is not None else text.replace(",", ""))
                self.row[self.keys[len(self.row)]] = value
            self.cell = None
        elif tag == "tr" and self.row:
            self.rows.append(self.row)


def tables(text):
    """The tables of a page by name: rows by the columns' keys, numbers in full."""
    reader = _Tables()
    reader.feed(re.sub(r"(?s)<script.*?</script>", "", text))
    return reader.tables
