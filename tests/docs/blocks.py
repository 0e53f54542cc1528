"""The code blocks of the README and of the documentation, and what they need in order to run."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "serving/README.md")),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("docs/architectures/*.md"),
    ]
)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_PROGRAMS = {  # command -> the package whose command line it is
    **{f"kerascnn-{name}": name for name in ("export", "serving")},
    "kerascnn": "kerascnn",
}
# What a block may do besides: nothing of it is ours, and all of it is well known.
_SETTING_UP = ("python3", "pip", "export", "cd", "mkdir", ".", "mkdocs", "pre-commit")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: The file that it is in.
        line: The number of its first line there.
        language: What the fence says: "python", "sh" or "text"; "" counts as "sh".
        code: The text between the fences.
        reason: Why it is not run; "" where it is.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, at.start("code")) + 1, at["language"] or "sh", at["code"], at["reason"] or "")
        for at in _BLOCK.finditer(text)
    ]


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a shell block as lists of words, without comments and settings of the environment."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("&|;()<>"):
                while command and re.match(r"[A-Z_]+=", command[0]):
                    command.pop(0)
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def check(words: list[str]) -> bool:
    """Check a command as far as that can be done without running it.

    Returns:
        Whether it is a command that can be checked.

    Raises:
        click.UsageError: It has an option or a value that its command line does not take.
        AssertionError: It names a file, an extra or an option that does not exist.
    """
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "python" and arguments[0] == "-m":
        program, *arguments = arguments[1:]
        if program in ("export", "serving", "kerascnn"):
            parse(program, arguments)
        else:
            assert program == "pytest" or (ROOT / program.replace(".", "/")).exists(), program
    elif program == "python":
        text = (ROOT / arguments[0]).read_text(encoding="utf-8")
        for option in (word for word in arguments if word.startswith("--")):
            assert f'"{option}"' in text, f"{arguments[0]} has no option {option}"
    elif program in _PROGRAMS:
        parse(_PROGRAMS[program], arguments)
    elif program == "pip":
        for extra in re.findall(r"\w+", "".join(re.findall(r"\[(.+?)\]", " ".join(arguments)))):
            assert extra in EXTRAS, extra
    elif program.startswith(".ci/"):
        assert (ROOT / program).is_file()
    else:
        return program in _SETTING_UP
    return True


def parse(package: str, arguments: list[str]) -> click.Context:
    """Parse a command line of ours, in a folder that has the files which it names."""
    command = importlib.import_module(f"{package}.cli").command
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"python -m {package} has no command {name}"
        command = found
    expanded = [str(path) for word in arguments for path in (sorted(Path().glob(word)) if "/*" in word else [word])]
    return command.make_context(package, expanded)


class WithoutFetching(ast.NodeTransformer):
    """Take random weights instead of those that would be fetched or that a reader has trained.

    Names that are not on record fail, so that a page names none that there is not.
    """

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Replace `weights="NAME"` in the call of a builder."""
        from kerascnn.registry import variant

        self.generic_visit(node)
        for word in node.keywords:
            if word.arg == "weights" and isinstance(word.value, ast.Constant | ast.JoinedStr):
                name = word.value.value if isinstance(word.value, ast.Constant) else None
                if isinstance(name, str) and "." not in name and isinstance(node.func, ast.Attribute):
                    records = variant(node.func.attr).weights
                    record = next((r for r in records if name in (r.name, *r.aliases)), None)
                    assert record is not None, f"{node.func.attr} has no weights {name}"
                    if record.packaged:
                        continue
                word.value = ast.Constant(None)
        return node
