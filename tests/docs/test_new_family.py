"""A family is added as docs/adding_a_family.md says, and nothing else has to change."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests import ROOT

PAGE = (ROOT / "docs" / "adding_a_family.md").read_text(encoding="utf-8")

# Builds, lists, exports and documents the toy, in the folder of the copy.
USE = """
import json, runpy, sys

import kerascnn
from kerascnn import analysis, registry
from kerascnn.training import recipe_for

row = registry.variant("toy")
assert kerascnn.list_models("toy*") == ["toy"], kerascnn.__file__
assert "toy" in kerascnn.applications.__all__
assert recipe_for("toy").epochs == 5
model = kerascnn.create_model("toy")
assert analysis.count_parameters(model).trained == row.parameters
assert analysis.count_macs(model) == row.macs[32]
(counts,) = row.also
wide = kerascnn.applications.toy(wide=True)
assert analysis.count_parameters(wide).trained == counts.parameters
assert round(analysis.count_macs(wide) / 1e9, 4) == counts.gmacs
features = kerascnn.applications.toy(features=True)
assert {stage: x.shape[-1] for stage, x in features.output.items()} == {s: c for s, (c, _) in row.stages.items()}
try:
    kerascnn.create_model("toy", widee=True)
except TypeError as error:
    assert "Its options are: include_top" in str(error) and "wide" in str(error)

sys.argv = ["docs/generate.py", "toy"]
try:
    runpy.run_path("docs/generate.py", run_name="__main__")
except SystemExit as exit:
    assert not exit.code

sys.argv = ["export", "--model", "toy", "--tflite", "--output", "artifacts"]
runpy.run_module("export", run_name="__main__")
"""


def block(file: str) -> str:
    """The code block that the page gives for a file."""
    found = re.search(rf"`{re.escape(file)}`:\n\n(?:<!--[^\n]*\n)?```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/adding_a_family.md has no code block after {file}"
    return found[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The packages and the documentation, with the family that the page adds."""
    folder = tmp_path_factory.mktemp("with_toy")
    for name in ("kerascnn", "export", "serving", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("kerascnn/applications/toy.py", "kerascnn/applications/toy.toml"):
        (folder / file).write_text(block(file), encoding="utf-8")
    line = block("kerascnn/applications/__init__.py")
    families = folder / "kerascnn/applications/__init__.py"
    before, marker, after = families.read_text(encoding="utf-8").partition("from kerascnn.registry")
    families.write_text(before + line + marker + after, encoding="utf-8")
    return folder


def test_it_is_built_listed_documented_and_exported(copy):
    environment = {"PATH": "", "PYTHONPATH": str(copy), "HOME": str(copy), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", USE], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (copy / "docs/architectures/toy.md").read_text(encoding="utf-8")
    assert "| `toy` | Toy | 2026 |" in page
    assert "| `wide` | all | True doubles the number of filters" in page
    assert "`toy`" in (copy / "docs/architectures/README.md").read_text(encoding="utf-8")
    assert "<svg" in (copy / "docs/architectures/images/toy.svg").read_text(encoding="utf-8")
    manifest = json.loads((copy / "artifacts/toy/manifest.json").read_text(encoding="utf-8"))
    assert [path.suffix for path in (copy / "artifacts/toy").glob("*.tflite")] == [".tflite"]
    assert manifest["model"]["name"] == "toy"
