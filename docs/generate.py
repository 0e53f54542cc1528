"""Write docs/architectures: a page for each family, the index, and the figures.

    python docs/generate.py             all; drawing the figures builds their networks, which takes minutes
    python docs/generate.py --pages     the pages alone, within a second
    python docs/generate.py resnet vgg  the figures of these families, and all pages
    python docs/generate.py --check     write nothing; name what is not current, and exit with 1 if anything is

Numbers and words come from the families' records (kerascnn/applications/*.toml), options from the builders' docstrings,
and figures from the built networks. The table [page] of a family has:

    title     of its page
    group     of the index page, one of docs/architectures/index.toml
    place     its order within that group
    figures   variants to draw, which may have options: `googlenet(aux_logits=True)`
    idea      what the page says first, in Markdown
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs" / "architectures"
sys.path.insert(0, str(ROOT))

from kerascnn.analysis.comparing import data_set  # noqa: E402
from kerascnn.registry import PublishedError, Variant, read_families, read_toml, variants  # noqa: E402
from kerascnn.statistics import wilson  # noqa: E402

TEST_IMAGES = {"ImageNet": 50_000, "CIFAR-10": 10_000, "MNIST": 10_000, "GTSRB": 12_630}

NOTICE = "<!-- Written by `python docs/generate.py` from kerascnn/applications. -->"

LEGEND = (
    "Drawn from the built network. A card is a stage, with the maps that leave it, its parameters and "
    "multiply-accumulates and their share of the whole; a dashed frame is a unit that repeats; /2 is a stride."
)


# What there is to write


def families() -> dict[str, list[Variant]]:
    """The variants of each family, in the order of the index page.

    Raises:
        LookupError: a family has no words, or a group that the index does not have.
    """
    by_family: dict[str, list[Variant]] = {}
    for row in variants().values():
        by_family.setdefault(row.family, []).append(row)
    groups = list(index()["groups"])
    for family in by_family:
        if missing := {"title", "group", "place", "figures", "idea"} - read(family).keys():
            raise LookupError(f"[page] of applications/{family}.toml lacks {', '.join(sorted(missing))}.")
        if read(family)["group"] not in groups:
            raise LookupError(
                f"[page] of applications/{family}.toml has the group {read(family)['group']!r}, which "
                f"docs/architectures/index.toml does not. It has {', '.join(groups)}."
            )
    order = sorted(by_family, key=lambda name: (groups.index(read(name)["group"]), read(name)["place"], name))
    return {family: by_family[family] for family in order}


@cache
def index() -> Mapping[str, Any]:
    """The words of the index page: title, intro, and the groups of families in their order."""
    return read_toml(HOME / "index.toml")


def read(family: str) -> Mapping[str, Any]:
    """The words of a family's page."""
    words: Mapping[str, Any] = read_families()[family].get("page", {})
    return words


def figures(chosen: Sequence[str] = ()) -> dict[str, Path]:
    """Return the file of each figure, by what it shows, of all families or of the chosen ones."""
    shown = {}
    for family in families():
        if not chosen or family in chosen:
            for figure in read(family)["figures"]:
                shown[figure] = HOME / "images" / f"{_file(figure)}.svg"
    return shown


def pages() -> dict[Path, str]:
    """Return the text of every page. Builds nothing."""
    written = {HOME / f"{family}.md": page(family, rows) for family, rows in families().items()}
    return {HOME / "README.md": index_page(), **written}


def draw(figure: str) -> str:
    """Draw one figure as SVG, from the graph of the network that it names."""
    import keras

    import kerascnn
    from kerascnn.analysis.diagram import diagram

    keras.backend.clear_session()  # names that Keras numbers begin at one
    name, options = _parse(figure)
    model = kerascnn.create_model(name, **options)
    return diagram(model, title=_figure_title(figure))


def _parse(figure: str) -> tuple[str, dict[str, Any]]:
    call = ast.parse(figure, mode="eval").body
    if isinstance(call, ast.Name):
        return call.id, {}
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"A figure is a variant, such as resnet50 or googlenet(aux_logits=True); this is {figure!r}.")
    return call.func.id, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def _file(figure: str) -> str:
    return re.sub(r"\W+", "_", figure).strip("_")


def _figure_title(figure: str) -> str:
    name, options = _parse(figure)
    words = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return variants()[name].title + (f", {words}" if words else "")


# Pages


def page(family: str, rows: Sequence[Variant]) -> str:
    """Return the page of one family."""
    words = read(family)
    parts = [NOTICE, f"# {words['title']}", words["idea"].strip()]
    for figure in words["figures"]:
        parts.append(f"![{_figure_title(figure)}](images/{_file(figure)}.svg)")
    parts.append(LEGEND)
    parts += ["## Numbers", _numbers(rows), _sources(rows)]
    if any(row.also for row in rows):
        parts += ["With other options:", _also(rows)]
    parts += ["## Published errors", _errors(rows), "## Options", _options(rows), "## Use", _use(rows)]
    papers = dict.fromkeys(row.paper for row in rows)
    parts += ["## Sources", "\n".join(f"- {_linked(paper)}" for paper in papers)]
    return "\n\n".join(parts) + "\n"


def _numbers(rows: Sequence[Variant]) -> str:
    lines = [
        (
            f"`{row.name}`",
            row.title,
            row.year,
            _shape(row),
            f"{row.parameters:,}",
            f"{row.statistics:,}",
            f"{_macs(row):,}",
        )
        for row in rows
    ]
    names = ("builder", "network", "year", "input", "-parameters", "-statistics", "-multiply-accumulates")
    note = (
        "Parameters are trained weights; statistics are batch normalization's moving means and variances; "
        "multiply-accumulates are those of convolutions and dense layers for one image of the given size."
    )
    return f"{_table(names, lines)}\n\n{note}"


def _sources(rows: Sequence[Variant]) -> str:
    by_source: dict[str, list[str]] = {}
    for row in rows:
        by_source.setdefault(row.counts_from, []).append(f"`{row.name}`")
    return "How the counts were checked:\n\n" + "\n".join(
        f"- {', '.join(names)}: {text}" for text, names in by_source.items()
    )


def _also(rows: Sequence[Variant]) -> str:
    lines = [
        (
            f"`{row.name}({', '.join(f'{k}={_python(v)}' for k, v in counts.options.items())})`",
            f"{counts.parameters:,}",
            f"{counts.gmacs:.4f}" if counts.gmacs is not None else "",
        )
        for row in rows
        for counts in row.also
    ]
    return _table(("network", "-parameters", "-GMACs"), lines)


def _python(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def _errors(rows: Sequence[Variant]) -> str:
    lines = [
        (f"`{row.name}`", _percent(error), _interval(error, row), error.source) for row in rows for error in row.errors
    ]
    if not lines:
        return "None is on record, because none could be read at its source."
    ours = _table(("network", "-error", "-95 %", "who published it"), lines)
    what = (
        "top-1, or top-1 / top-5, in percent" if any(e.top5 is not None for r in rows for e in r.errors) else "percent"
    )
    images = " and ".join(f"{TEST_IMAGES[name]:,} of {name}" for name in dict.fromkeys(map(data_set, rows)))
    return (
        f"{ours}\n\nErrors in {what}, on the validation or test set of the network's own data; the interval is that of "
        f"top-1 (Wilson) on its images, {images}."
    )


def _interval(error: PublishedError, row: Variant) -> str:
    low, high = wilson(error.top1 / 100, TEST_IMAGES[data_set(row)])
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _percent(error: PublishedError) -> str:
    return " / ".join(str(float(value)) for value in (error.top1, error.top5) if value is not None)


def _use(rows: Sequence[Variant]) -> str:
    name = rows[0].name
    weights = [record for row in rows for record in row.weights]
    code = f"""\
```python
import kerascnn

model = kerascnn.applications.{name}()  # random weights
features = kerascnn.applications.{name}(features=True)  # a map of each stage
```

```sh
python -m export --model {name} --all  # SavedModel, TFLite and ONNX, each checked against the Keras model
```"""
    if not weights:
        return (
            f"{code}\n\nNo trained weights of {'this network' if len(rows) == 1 else 'these networks'} are on record."
        )
    first = weights[0]
    choice = first.aliases[0] if first.aliases else first.name
    lines = [
        (
            f"`{record.variant}`",
            " or ".join(f"`{name}`" for name in (record.name, *record.aliases)),
            record.source,
            record.licence,
            _percent(record.errors) if record.errors else "",
        )
        for record in weights
    ]
    code = code.replace(
        "\n```\n\n```sh",
        f'\ntrained = kerascnn.applications.{first.variant}(weights="{choice}")\n```\n\n```sh',
    )
    return f"{code}\n\nTrained weights on record:\n\n" + _table(
        ("network", "weights", "from", "licence", "-error"), lines
    )


def index_page() -> str:
    """Return the index: every network in the order of the lectures."""
    parts = [NOTICE, f"# {index()['title']}", index()["intro"].strip()]
    by_family = families()
    for name, group in index()["groups"].items():
        parts += [f"## {group['title']}", group["words"].strip()]
        lines = []
        for family in (family for family in by_family if read(family)["group"] == name):
            pictures = {_parse(figure)[0]: figure for figure in reversed(read(family)["figures"])}
            for row in by_family[family]:
                picture = ""
                if row.name in pictures:
                    figure = pictures[row.name]
                    picture = (
                        f'<a href="{family}.md"><img src="images/{_file(figure)}.svg" width="130" '
                        f'alt="{_figure_title(figure)}"></a><br>'
                    )
                error = _percent(row.errors[0]).replace(" ", _NO_BREAK) if row.errors else ""
                network = f"{picture}[{row.title}]({family}.md)<br>`{row.name}`"
                lines.append((network, row.year, _shape(row), _short(row.parameters), _short(_macs(row)), error))
        parts.append(_table(("network", "year", "input", "-parameters", "-MACs", "-error, %"), lines))
    return "\n\n".join(parts) + "\n"


_NO_BREAK = "\N{NO-BREAK SPACE}"  # narrow screens would put each number on a line of its own


def _shape(row: Variant) -> str:
    return f"{_NO_BREAK}×{_NO_BREAK}".join(map(str, row.input_shape))


def _macs(row: Variant) -> int:
    return row.macs[row.input_shape[0]]


def _short(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{_NO_BREAK}{unit}"
    return str(number)


def _table(names: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Write a Markdown table. A minus in front of a column's name aligns it right."""
    head = [name.removeprefix("-") for name in names]
    rule = ["---:" if name.startswith("-") else "---" for name in names]
    rows = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _linked(paper: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


# Options, read from the source so that nothing is imported


def _options(rows: Sequence[Variant]) -> str:
    builders = _builders()
    shared = "[What every builder takes](../models.md)"
    takers: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for row in rows:
        own, rest, documented = builders[row.name]
        more = _entries(_options_docstring(rest)) if rest != "ModelOptions" else {}
        for option in (*own, *more):
            takers.setdefault(option, []).append(row.name)
            if text := documented.get(option) or more.get(option):
                words.setdefault(option, text)
    if not takers:
        return f"{shared}, and none of its own."
    for option in takers:  # documented at a builder of another family, which the docstring refers to
        for _, _, documented in builders.values():
            if option in documented:
                words.setdefault(option, documented[option])
    lines = [
        (
            f"`{option}`",
            "all" if len(names) == len(rows) else ", ".join(f"`{name}`" for name in names),
            words.get(option, ""),
        )
        for option, names in takers.items()
    ]
    return f"{shared}, and:\n\n" + _table(("option", "networks", "what it does"), lines)


@cache
def _builders() -> dict[str, tuple[tuple[str, ...], str, dict[str, str]]]:
    """Return of each builder: its own options, the class of the others, and what its docstring says of its own."""
    builders = {}
    for path in sorted((ROOT / "kerascnn" / "applications").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name in variants():
                own = tuple(argument.arg for argument in node.args.kwonlyargs)
                rest = re.sub(r"Unpack\[(\w+)\]", r"\1", ast.unparse(node.args.kwarg.annotation))  # type: ignore
                builders[node.name] = (own, rest, _entries(ast.get_docstring(node) or ""))
    return builders


@cache
def _options_docstring(name: str) -> str:
    """Return the docstring of a class of options."""
    tree = ast.parse((ROOT / "kerascnn" / "building" / "options.py").read_text(encoding="utf-8"))
    return next(ast.get_docstring(n) or "" for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)


def _entries(docstring: str) -> dict[str, str]:
    """Return what a docstring says of each argument or attribute: `name: words`."""
    section = re.search(r"^(?:Args|Attributes):\n((?:(?: .*)?(?:\n|$))*)", docstring, flags=re.MULTILINE)
    text = inspect.cleandoc(section[1]) if section else ""
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


# The command line


def stale(expected: dict[Path, str]) -> list[Path]:
    """Return the files that do not have the expected text."""
    return [path for path, text in expected.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def strays() -> list[Path]:
    """Return the pages and figures that belong to no family."""
    wanted = {*pages(), *figures().values()}
    there = [*HOME.glob("*.md"), *(HOME / "images").glob("*")]
    return sorted(path for path in there if path not in wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check, as the top of this file says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", help="families whose figures are drawn; all by default")
    parser.add_argument("--pages", action="store_true", help="leave the figures alone")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not current")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.families) - set(families())):
        parser.error(f"there is no family {', '.join(unknown)}; there are {', '.join(families())}")
    changed = []
    for path, text in pages().items():
        changed += _settle(path, text, given.check)
    for figure, path in ({} if given.pages else figures(given.families)).items():
        changed += _settle(path, draw(figure), given.check)
    for path in strays():
        print(f"{path.relative_to(ROOT)} belongs to no family: remove it")
    for path in changed:
        print(f"{path.relative_to(ROOT)} {'is not current' if given.check else 'written'}")
    return 1 if given.check and (changed or strays()) else 0


def _settle(path: Path, text: str, check: bool) -> list[Path]:
    changed = stale({path: text})
    if changed and not check:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return changed


if __name__ == "__main__":
    raise SystemExit(main())
