"""The files beside the code say the same as the code: version, license, console scripts, workflows, hooks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import kerascnn

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_license():
    assert PROJECT["license"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
    for name in PROJECT["license-files"]:
        assert (ROOT / name).is_file(), name


def test_one_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == kerascnn.__version__
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == kerascnn.__version__


def test_every_package_has_a_console_script_and_types():
    assert set(PROJECT["scripts"].values()) == {f"{name}.cli:main" for name in ("kerascnn", "export", "serving")}
    for name in ("kerascnn", "export", "serving"):
        assert (ROOT / name / "py.typed").is_file()


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.name)
def test_workflows_run_scripts_that_exist(path):
    workflow = yaml.safe_load(path.read_text())
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if step.get("run", "").startswith(".ci/"):
                assert (ROOT / step["run"].split()[0]).is_file(), step["run"]


def test_ci_takes_every_supported_python():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert tested == named
