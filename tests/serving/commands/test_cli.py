"""`python -m serving`: answers at once, lists what is there, and ends every error as one paragraph and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving import cli
from serving.errors import RequestError, ServingError
from tests import processes

HEAVY = ("tensorflow", "tensorflow_serving", "keras", "export", "grpc", "rich", "numpy")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return processes.run("-m", "serving", *arguments, cwd=cwd)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in ("doctor", "promote", "rollback"))])
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
from serving.cli import main
sys.argv = ["serving", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = processes.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_command_is_listed_and_there():
    listed = CliRunner().invoke(cli.command, ["--help"]).output
    for name in cli.COMMANDS:
        assert f"\n  {name} " in listed
        assert CliRunner().invoke(cli.command, [name, "--help"]).exit_code == 0


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(cli.COMMANDS, "elsewhere", ("elsewhere.commands:command", "Not there."))
    monkeypatch.setattr(sys, "argv", ["serving", "elsewhere"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "kerascnn[serving]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RequestError("no"), 2, "Error: no\n"),
        (ServingError("failed"), 1, "Error: failed\n"),
        (KeyError("x"), 1, "Error: An unexpected KeyError: 'x'\n"),
        (ModuleNotFoundError("No module", name="grpc"), 2, "kerascnn[serving]"),
        (KeyboardInterrupt(), 130, "Error: Stopped.\n"),
    ],
)
def test_errors_are_one_paragraph_and_an_exit_code(monkeypatch, capsys, error, code, message):
    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(cli.command, "main", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert message in capsys.readouterr().err


def test_exit_codes_reach_the_shell(tmp_path):
    """2 for a folder that is not there; 1 for a model that does not load, with findings and no traceback."""
    done = run("doctor", "--models", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    version = tmp_path / "artifacts/colours/saved_model/1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"damaged")
    done = run("doctor", "--models", str(tmp_path / "artifacts"))
    assert done.returncode == 1
    assert "cannot be read" in done.stdout
    assert done.stderr == ""
