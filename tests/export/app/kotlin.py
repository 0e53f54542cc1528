"""The Kotlin compiler, where it is at hand. Its folder is called kotlin-compiler in npm."""

import shutil
import subprocess

import pytest

from export.app.project import PLATFORMS

SOURCES = PLATFORMS["android"].files / "app/src/main/kotlin"


def compiled(target, *sources):
    """Compile files and folders to a .jar file; no warning is let pass."""
    kotlinc = shutil.which("kotlinc")
    if kotlinc is None or shutil.which("java") is None:
        pytest.skip("kotlinc or java is not installed")
    command = [kotlinc, "-Werror", "-include-runtime", "-d", str(target), *map(str, sources)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return target
