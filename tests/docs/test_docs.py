"""The pages of docs/: written by docs/generate.py, current, and with links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil

import keras
import pytest

from kerascnn.registry import read_families, variants
from tests import ROOT

QUICK = ("lenet5_1998", "resnet20_cifar", "squeezenet")  # figures that take a second each

spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)

AGAIN = "run `python docs/generate.py` and look at what changed"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The generator at work on a copy."""
    shutil.copytree(generate.HOME, tmp_path / "architectures", ignore=shutil.ignore_patterns("*.svg"))
    monkeypatch.setattr(generate, "HOME", tmp_path / "architectures")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    generate.index.cache_clear()
    yield tmp_path / "architectures"
    generate.index.cache_clear()


def test_pages_are_current():
    assert [path.name for path in generate.stale(generate.pages())] == [], AGAIN
    assert generate.strays() == []


def test_every_family_has_words_and_a_figure():
    assert set(generate.families()) == {row.family for row in variants().values()}
    for family, rows in generate.families().items():
        shown = [generate._parse(figure)[0] for figure in generate.read(family)["figures"]]
        assert shown, family
        assert set(shown) <= {row.name for row in rows}
        assert 3 <= len(re.findall(r"[.:!?](?:\s|$)", generate.read(family)["idea"])) <= 16, family


def test_every_network_is_on_its_page_and_in_the_index():
    pages = {path.stem: text for path, text in generate.pages().items()}
    for row in variants().values():
        assert f"`{row.name}`" in pages["README"]
        assert f"| `{row.name}` " in pages[row.family]
        assert f"{row.parameters:,} | {row.statistics:,} | " in pages[row.family]


def test_every_option_is_explained():
    for path, text in generate.pages().items():
        for option, networks, words in re.findall(r"^\| `(\w+)` \| (all|`.*?`) \| ?(.*?) ?\|$", text, re.MULTILINE):
            if option not in variants():
                assert words, f"{path.name}: the docstrings say nothing of {option} ({networks})"


@pytest.mark.parametrize(
    ("words", "says"),
    [({}, "vgg.toml lacks figures, group, idea"), ({"group": "small"}, "'small'.* has digits, larger")],
)
def test_a_family_without_words_is_named(words, says, monkeypatch):
    page = {**generate.read("vgg"), **words} if words else {}
    files = {**read_families(), "vgg": {**read_families()["vgg"], "page": page}}
    monkeypatch.setattr(generate, "read_families", lambda: files)
    with pytest.raises(LookupError, match=says):
        generate.families()


def test_check_finds_what_is_not_current_and_changes_nothing(copy, capsys, monkeypatch):
    built = {row.name: ((), "ModelOptions", {}) for row in variants().values()}
    monkeypatch.setattr(generate, "_builders", lambda: built)
    monkeypatch.setattr(generate, "_options_docstring", lambda name: "")
    generate.main(["--pages"])
    assert generate.main(["--pages", "--check"]) == 0
    (copy / "vgg.md").write_text("old")
    (copy / "lost.md").write_text("of no family")
    capsys.readouterr()
    assert generate.main(["--pages", "--check"]) == 1
    said = capsys.readouterr().out
    assert "vgg.md is not current" in said
    assert "lost.md belongs to no family" in said
    assert (copy / "vgg.md").read_text() == "old"
    with pytest.raises(SystemExit):
        generate.main(["vggg"])


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def assert_current(figure):
    keras.utils.set_random_seed(0)
    assert generate.stale({generate.figures()[figure]: generate.draw(figure)}) == [], AGAIN
    keras.backend.clear_session()


@pytest.mark.parametrize("figure", QUICK)
def test_figures_are_current(figure):
    assert_current(figure)


@pytest.mark.slow
@pytest.mark.parametrize("figure", [figure for figure in generate.figures() if figure not in QUICK])
def test_the_other_figures_are_current(figure):
    assert_current(figure)


def test_each_row_of_fidelity_names_a_test_that_exists():
    rows = [
        line for line in (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8").splitlines() if "::test_" in line
    ]
    assert len(rows) > 15
    for row in rows:
        path, _, name = row.rsplit("`", 2)[1].partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), row
