"""Measures the structure of the three packages, for git revisions side by side.

    python benchmarks/structure.py main        # one revision
    python benchmarks/structure.py v1 .        # two of them; `.` is the working tree

Counts lines, files over 300 lines, functions over 60, parameters over 6, uses of `Any`, and files in import circles.
tests/test_structure.py reads the imports with the same functions.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("kerascnn", "export", "serving")
LONG_FILE, LONG_FUNCTION, MANY_PARAMETERS = 300, 60, 6


@dataclass(frozen=True)
class Module:
    """A source file.

    Attributes:
        name: Its dotted name; a package has the name of its folder.
        path: Relative to the repository.
        text: Its source.
        tree: Its syntax tree.
    """

    name: str
    path: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """One module's reference to another name.

    Attributes:
        source: The dotted name of the module that imports.
        target: The dotted name that is imported: a module, or a name within one.
        line: Where.
        at_import: Whether it runs when `source` is imported, that is, outside functions.
        statement: False where the target is a string, as in a table of lazy attributes.
    """

    source: str
    target: str
    line: int
    at_import: bool
    statement: bool = True


def modules(sources: Mapping[str, str]) -> dict[str, Module]:
    """Parse sources.

    Args:
        sources: Texts by path.

    Returns:
        Modules by dotted name.
    """
    parsed = {}
    for path, text in sorted(sources.items()):
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        parsed[name] = Module(name, path, text, ast.parse(text, path))
    return parsed


def working_tree(root: Path = ROOT) -> dict[str, str]:
    """Read the packages' sources as they lie in a folder."""
    files = (file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in files}


def revision(name: str) -> dict[str, str]:
    """Read the packages' sources of a git revision."""
    archive = subprocess.run(["git", "archive", name, *PACKAGES], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {
            entry.name: opened.read().decode()
            for entry in files
            if entry.name.endswith(".py") and (opened := files.extractfile(entry))
        }


def imports(module: Module) -> Iterator[Import]:
    """List what a module imports, within functions too; blocks for type checkers are left out.

    A string that has a dot counts: tables of lazy attributes and `import_module` name modules that way.
    """
    yield from _imports(module, module.tree, at_import=True)


def _imports(module: Module, node: ast.AST, at_import: bool) -> Iterator[Import]:
    docstrings = _docstrings(node)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module.name, alias.name, child.lineno, at_import)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute("." * child.level + (child.module or ""), module.package)
            for alias in child.names:
                yield Import(module.name, f"{base}.{alias.name}", child.lineno, at_import)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            if child not in docstrings and "." in child.value.rstrip(".") and " " not in child.value:
                target = _absolute(child.value, module.package)
                yield Import(module.name, target, child.lineno, at_import=False, statement=False)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from _imports(module, other, at_import)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(module, child, at_import=False)
        else:
            yield from _imports(module, child, at_import)


def _docstrings(node: ast.AST) -> list[ast.AST]:
    return [node.value] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else []


def _absolute(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parent = package.split(".")
    return ".".join([*parent[: len(parent) - level + 1], *filter(None, [name[level:]])])


def files(target: str, known: Mapping[str, Module]) -> list[str]:
    """Find the modules that an import's target stands for.

    Args:
        target: A module; a name within a module; or a prefix that ends with a dot, as in f"package.{name}", which
            stands for everything below it.
        known: Modules by name.

    Returns:
        Names of modules; none for other packages'.
    """
    if target.endswith("."):
        return [name for name in known if name.rpartition(".")[0] == target[:-1]]
    while target and target not in known:
        target = target.rpartition(".")[0]
    return [target] if target else []


def graph(known: Mapping[str, Module]) -> dict[str, set[str]]:
    """Draw an arrow from each module to those that it imports.

    That Python imports the packages around a module first is no arrow: it would be a circle with each `__init__.py`.
    """
    arrows: dict[str, set[str]] = {}
    for name, module in known.items():
        arrows[name] = set()
        for found in imports(module):
            exact = found.statement or found.target.endswith(".") or found.target in known
            arrows[name].update(files(found.target, known) if exact else [])
        arrows[name].discard(name)
    return arrows


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Find the groups of modules that reach each other, the largest first (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for other in sorted(arrows[name]):
            if other not in order:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], order[other])
        if lowest[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in order:
            visit(name)
    return sorted(found, key=len, reverse=True)


def code_lines(module: Module) -> int:
    """Count the lines that hold code: not blank, no comment, no docstring."""
    prose: set[int] = set()
    for node in ast.walk(module.tree):
        for docstring in _docstrings(node):
            assert isinstance(docstring, ast.Constant)
            prose.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def measure(chosen: Sequence[Module], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Measure some modules, given the circles of all."""
    functions = [
        node
        for module in chosen
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names = {module.name for module in chosen}
    return {
        "files": len(chosen),
        "lines": sum(len(module.text.splitlines()) for module in chosen),
        "lines of code": sum(map(code_lines, chosen)),
        f"files over {LONG_FILE} lines": sum(len(module.text.splitlines()) > LONG_FILE for module in chosen),
        f"functions over {LONG_FUNCTION} lines": sum(
            (node.end_lineno or node.lineno) - node.lineno + 1 > LONG_FUNCTION for node in functions
        ),
        f"functions of over {MANY_PARAMETERS} parameters": sum(
            len(parameters(node)) > MANY_PARAMETERS for node in functions
        ),
        "uses of Any": sum(
            isinstance(node, ast.Name) and node.id == "Any" for module in chosen for node in ast.walk(module.tree)
        ),
        "files in circles": sum(name in names for group in groups for name in group),
        "files in the largest circle": max((len(names & set(group)) for group in groups), default=0),
    }


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """List a function's parameters, `self` and `cls` aside."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def measurements(sources: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """Measure each package, and all: numbers by package and measure."""
    known = modules(sources)
    groups = circles(graph(known))
    found = {}
    for package in (*PACKAGES, "all"):
        chosen = [module for name, module in known.items() if package in ("all", name.partition(".")[0])]
        found.update({(package, name): value for name, value in measure(chosen, groups).items()})
    return found


def main(names: Sequence[str]) -> None:
    """Print a Markdown table with a column a revision."""
    columns = [measurements(working_tree() if name == "." else revision(name)) for name in names]
    print("| package | measure |", " | ".join(names), "|")
    print("|---|---|" + "---:|" * len(names))
    for package, measured in columns[0]:
        values = [f"{column[package, measured]:,}" for column in columns]
        print(f"| {package} | {measured} |", " | ".join(values), "|")


if __name__ == "__main__":
    main(sys.argv[1:] or ["."])
