"""An export with a page where something is missing, is asked for wrongly, or is added to: the artifacts come out."""

import json

import pytest
from jsonschema import Draft202012Validator

import export
from export.errors import ExportError
from export.proving.proof import Proof
from export.web import browser, packages, stage
from export.web.packages import PACKAGES, packages_for
from tests.export.test_adding import check
from tests.export.web.conftest import LABELS, small


@pytest.fixture
def stand_ins(tmp_path):
    """A folder that looks like the runtimes."""
    folder = tmp_path / "node_modules"
    for package in packages_for(list(PACKAGES)):
        for file in package.files:
            path = folder / package.name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"version": "0.1"}))
    return folder


@pytest.fixture
def no_chromium(monkeypatch):
    def refuse(folder):
        raise OSError("No Chromium could be started.")

    monkeypatch.setattr(browser, "opened", refuse)
    monkeypatch.setattr("export.web.checking.opened", refuse)


def exported(folder, **options):
    return export.export(small(), folder, formats=(), labels=LABELS, preprocessing="torch", **options)


def test_without_a_browser_the_page_is_published_with_a_warning(stand_ins, no_chromium, tmp_path, request):
    with pytest.warns(
        UserWarning, match=r"small: the page was not tried in a browser\. No Chromium could be started\."
    ):
        exported(tmp_path / "net", web=stand_ins)
    manifest = check(tmp_path / "net")
    schema = json.loads((request.config.rootpath / "docs/manifest.schema.json").read_text())
    Draft202012Validator(schema).validate(manifest)
    assert manifest["web"]["proof"]["status"] == "not run"
    assert manifest["web"]["artifacts"] == ["small.tflite", "small.onnx"]
    assert manifest["web"]["runtimes"] == dict.fromkeys(
        ["@litertjs/core", "@litertjs/wasm-utils", "onnxruntime-web"], "0.1"
    )
    assert {proof["reason"] for row in manifest["artifacts"] for proof in row["proofs"] if proof["reason"]} == {
        "No Chromium could be started."
    }
    assert "Page for browsers: web/index.html" in (tmp_path / "net/report.md").read_text()


@pytest.mark.filterwarnings("ignore:small. the page was not tried")
def test_an_export_to_the_folder_renews_its_page(stand_ins, no_chromium, tmp_path, monkeypatch):
    folder = tmp_path / "net"
    exported(folder, web=stand_ins)
    monkeypatch.setenv("PATH", "")  # npm is not needed again
    export.export(small(), folder, formats=["tflite"], precisions=["dynamic"])
    manifest = check(folder)
    paths = ["small.tflite", "small_dynamic.tflite", "small.onnx"]
    assert manifest["web"]["artifacts"] == paths
    described = json.loads((folder / "web/model.json").read_text())
    assert [row["path"] for row in described["artifacts"]] == [f"models/{path}" for path in paths]
    assert described["labels"] == list(LABELS)


def test_without_npm_the_artifacts_are_published(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match=r"web page: The runtimes of the page come from npm, which is not installed"):
        exported(tmp_path / "net", web=True)
    manifest = check(tmp_path / "net")
    assert [row["path"] for row in manifest["artifacts"]] == ["small.tflite", "small.onnx"]
    assert manifest["web"] is None
    assert not (tmp_path / "net/web").exists()


def test_a_page_that_is_wrong_is_not_published(stand_ins, no_chromium, tmp_path, monkeypatch):
    wrong = Proof("web", "1", "wrong", reason="It is upside down.")
    monkeypatch.setattr(stage, "check_page", lambda *arguments: wrong)
    with pytest.raises(ExportError, match=r"web page: It is wrong in Chromium 1\. It is upside down\."):
        exported(tmp_path / "net", web=stand_ins)
    manifest = check(tmp_path / "net")
    assert manifest["web"] is None
    assert len(manifest["artifacts"]) == 2
