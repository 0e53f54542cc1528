"""The documentation site: built strictly, complete, and readable from disk without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from kerascnn.registry import variants

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built once; a dead link or a page that the navigation lacks is an error."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site):
    for page in ROOT.glob("docs/**/*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / (name.with_name("index.html") if name.stem == "README" else name)).is_file()
    for name in ("index", "serve", "contributing", "changelog"):
        assert (site / f"{name}.html").is_file()


def test_every_builder_is_in_the_reference(site):
    text = (site / "reference/applications.html").read_text()
    for row in variants().values():
        assert re.search(rf'id="kerascnn\.applications\.\w+\.{row.name}"', text), row.name


def test_links_lead_to_files_of_the_site(site):
    for page in site.glob("**/*.html"):
        if page.name != "404.html":  # its links are relative to wherever a server shows it
            for target in re.findall(r'(?:href|src)="(?!https?:|data:|#)([^"#?]+)', page.read_text()):
                assert (page.parent / unquote(target)).exists(), f"{page.relative_to(site)}: {target}"


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.glob("**/*.html"):
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(https?:[^\">\s]+)", page.read_text())
        assert loaded == [], page
    for style in site.glob("**/*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?https?:[^)]*", style.read_text()) == [], style


@pytest.mark.usefixtures("browser")
def test_pages_open_from_disk_and_can_be_searched(site, browser):
    context = browser.new_context()
    page, said, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "first_steps.html").as_uri())
    page.get_by_role("textbox", name="Search").press_sequentially("SqueezeNet")
    page.wait_for_selector(".md-search-result__link")
    page.locator(".md-search-result__link").first.click()
    page.wait_for_load_state()
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
