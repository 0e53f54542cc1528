"""Where the JavaScript runtimes come from: npm, once, or a folder; and what is said where there are none."""

import json
import subprocess
import sys

import pytest

from export.errors import ExportError, RequestError
from export.web import packages
from export.web.packages import PACKAGES, Package, copy, packages_for, provide

ONE = Package("@scope/one", "1.2.3", ("package.json", "dist/one.js"))
NPM = """#!{python}
import io, json, sys, tarfile
assert sys.argv[1:3] == ["pack", "--ignore-scripts"]
assert sys.argv[-1] == "@scope/one@1.2.3"
with tarfile.open("scope-one-1.2.3.tgz", "w:gz") as archive:
    for name, text in {files}.items():
        entry = tarfile.TarInfo(f"package/{{name}}")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
"""
FILES = {"package.json": json.dumps({"version": "1.2.3"}), "dist/one.js": "export {}", "dist/other.js": "unused"}


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program named npm on an otherwise empty PATH."""

    def install(text):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(text)
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


def test_packages_are_fetched_once(npm, cache, monkeypatch, tmp_path):
    npm(NPM.format(python=sys.executable, files=FILES))
    told = []
    folder = provide([ONE], None, told.append)
    assert told == ["fetching @scope/one 1.2.3 by npm"]
    monkeypatch.setenv("PATH", "")  # offline, and npm is gone
    assert provide([ONE], None, told.append) == folder
    assert len(told) == 1
    assert copy([ONE], folder, tmp_path / "page") == {"@scope/one": "1.2.3"}
    assert sorted(path.name for path in (tmp_path / "page").rglob("*.*")) == ["one.js", "package.json"]
    assert [path.name for path in folder.iterdir()] == ["@scope"]  # nothing half-written


def test_another_version_in_the_cache_is_replaced(npm, cache):
    (cache / "web/@scope/one/dist").mkdir(parents=True)
    (cache / "web/@scope/one/dist/one.js").touch()
    (cache / "web/@scope/one/package.json").write_text('{"version": "1.0.0"}')
    npm(NPM.format(python=sys.executable, files=FILES))
    assert ONE.found(provide([ONE], None, print)) == "1.2.3"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (None, "npm, which is not installed"),
        ("#!/bin/sh\nprintf 'npm error code E\\nnpm error network no answer\\n' >&2\nexit 1", "network no answer"),
        ("#!/bin/sh\nexit 1", "no reason given"),
        ("#!/bin/sh\n", "not as expected"),
        (NPM.format(python=sys.executable, files={"package.json": "{}"}), "not as expected"),
    ],
    ids=["no npm", "no registry", "silent", "no archive", "other archive"],
)  # fmt: skip
def test_what_npm_cannot_do_is_said_in_a_paragraph(npm, cache, monkeypatch, program, says):
    if program is None:
        monkeypatch.setenv("PATH", "")
    else:
        npm(program)
    with pytest.raises(ExportError, match=says) as failed:
        provide([ONE], None, print)
    assert "\n" not in str(failed.value)
    assert not list(cache.glob("web/@scope"))


def test_a_registry_that_does_not_answer_in_time(cache, monkeypatch):
    def slow(*arguments, **options):
        raise subprocess.TimeoutExpired("npm", options["timeout"])

    monkeypatch.setattr(packages.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(packages.subprocess, "run", slow)
    with pytest.raises(ExportError, match=r"within 300 seconds\. Where there is a network"):
        provide([ONE], None, print)


def test_a_folder_that_lacks_something_is_refused(tmp_path):
    with pytest.raises(
        RequestError, match=r"does not hold @litertjs/core .*`npm install --ignore-scripts @litertjs/core@"
    ):
        provide(packages_for(["tflite"]), tmp_path, print)


@pytest.mark.slow
def test_npm_has_what_the_page_takes(runtimes):
    for package in (package for group in PACKAGES.values() for package in group):
        assert package.found(runtimes) == package.version
