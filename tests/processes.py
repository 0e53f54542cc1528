"""Commands of the package: in this process, or in one of its own where the subject is a start, a backend or a death."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from tests import ROOT


def in_process(main: Callable[[], object], *arguments: object) -> int | str:
    """Run a command line here, as if it had been called with `arguments`, its name first; return its exit code."""
    with mock.patch.object(sys, "argv", [str(argument) for argument in arguments]):
        try:
            main()
        except SystemExit as error:
            return error.code or 0
    return 0


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with the same packages to import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **variables}


def start(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
    """Start `python ARGUMENTS`.

    Args:
        *arguments: Of the interpreter, as for a command line.
        cwd: Where it runs.
        **variables: Of its environment.
    """
    command = [sys.executable, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=environment(**variables), stdout=pipe, stderr=pipe, text=True)


def run(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end; arguments as for `start`."""
    process = start(*arguments, cwd=cwd, **variables)
    printed, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)
