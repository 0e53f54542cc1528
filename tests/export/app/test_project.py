"""An export with apps: their projects are whole, stay current, and are refused where they could not work."""

import json
import re
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

import export
from export import RequestError
from export.app import stage
from export.app.project import PLATFORMS, _put_names
from export.errors import ExportError
from export.formats.precision import PRECISIONS
from export.quantization.goal import Goal
from export.request import Request
from tests.export.test_adding import check
from tests.export.web.conftest import LABELS, small

APPS = ("android", "ios")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export with both apps, with float and quantized files."""
    import numpy as np

    folder = tmp_path_factory.mktemp("artifacts") / "small"
    inputs = np.random.default_rng(0).normal(0, 1, (32, 20, 24, 3)).astype("float32")
    export.export(
        small(),
        folder,
        formats=["tflite"],
        precisions=["int8-io"],
        calibration=inputs,
        labels=LABELS,
        preprocessing="torch",
        apps=APPS,
    )
    return folder


def model(folder, platform):
    return json.loads((folder / platform / PLATFORMS[platform].assets / "model.json").read_text())


def test_the_projects_are_whole(exported, request):
    manifest = check(exported)
    Draft202012Validator(json.loads((request.config.rootpath / "docs/manifest.schema.json").read_text())).validate(
        manifest
    )
    paths = ["small.tflite", "small_int8-io.tflite"]
    assert [(app["platform"], app["path"], app["artifacts"]) for app in manifest["apps"]] == [
        (n, n, paths) for n in APPS
    ]
    for platform in PLATFORMS.values():
        project = exported / platform.name
        for path in paths:
            assert (project / platform.assets / path).read_bytes() == (exported / path).read_bytes()
        texts = [path.read_text() for path in project.rglob("*") if path.is_file() and path.suffix != ".tflite"]
        assert not any("{{" in text for text in texts)
        assert any("com.example.small" in text for text in texts)
        assert any(platform.version in text for text in texts)
    assert "Project of an app: ios/, for iOS. It was not built here." in (exported / "report.md").read_text()


def test_the_apps_know_labels_preprocessing_and_steps(exported):
    described = model(exported, "android")
    assert described == model(exported, "ios")
    assert described["labels"] == list(LABELS)
    assert described["reading"] == {
        "resize": [20, 24],
        "crop": [],
        "interpolation": "bilinear",
        "channel_order": "rgb",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }
    plain, quantized = described["artifacts"]
    assert plain["input"] is plain["output"] is None
    manifest = check(exported)
    row = manifest["artifacts"][1]
    assert [quantized[part] for part in ("input", "output")] == [
        row["steps"][row[part]["name"]] for part in ("input", "output")
    ]
    assert quantized["output"] == [pytest.approx(1 / 256), -128]


def test_an_export_to_the_folder_renews_its_apps(tmp_path):
    folder = tmp_path / "net"
    export.export(small(), folder, formats=(), labels=LABELS, preprocessing="torch", apps=["android"])
    export.export(small(), folder, formats=["tflite"], precisions=["dynamic"])
    assert [app["artifacts"] for app in check(folder)["apps"]] == [["small.tflite", "small_dynamic.tflite"]]
    assert model(folder, "android")["labels"] == list(LABELS)


def test_a_project_that_fails_leaves_the_artifacts(tmp_path, monkeypatch):
    def fail(*arguments):
        raise ExportError("No room.")

    monkeypatch.setattr(stage, "write_app", fail)
    with pytest.raises(ExportError, match=r"ios app: No room\."):
        export.export(small(), tmp_path / "net", formats=(), preprocessing="torch", apps=["ios"])
    manifest = check(tmp_path / "net")
    assert manifest["apps"] == []
    assert len(manifest["artifacts"]) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"apps": ["windows"], "formats": ["tflite"]}, r"no platform 'windows'. Choose from android, ios"),
        ({"apps": ["androd"], "formats": []}, r"Did you mean android\?"),
        ({"apps": "ios"}, r"apps is a list of names"),
        ({"apps": ["ios"], "formats": ["onnx"]}, r"An app runs \.tflite files, and none was asked for\. Add --tflite"),
    ],
)
def test_requests_that_no_app_comes_of_are_refused(options, says):
    with pytest.raises(RequestError, match=says):
        Request(**options)


@pytest.mark.parametrize(("precision", "ends"), [("int4", r"int4 kernels\."), ("auto", "which they may need")])
def test_a_precision_that_a_phone_cannot_run_is_refused(precision, ends):
    goal = Goal(None, 1000) if precision == "auto" else None
    options = {"formats": ["tflite"], "precisions": [precision], "calibration": {}, "goal": goal}
    with pytest.raises(
        RequestError, match=rf"An app for iOS cannot run {precision} files: TensorFlowLiteSwift 2\.17\.0 .*{ends}"
    ):
        Request(apps=["ios"], **options)
    assert Request(apps=["android"], **options).apps == ["android"]
    assert not any(PLATFORMS["android"].declines(precision) for precision in PRECISIONS.values())


def test_the_command_line_refuses_in_one_paragraph(tmp_path):
    command = [sys.executable, "-m", "export", "--model", "lenet5", "--onnx", "--app", "ios", "--output", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert re.fullmatch(r"Error: An app runs \.tflite files, .*\n", ended.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "label", "identifier"),
    [
        ("squeezenet", "squeezenet", "com.example.squeezenet"),
        ("resnet20_cifar", "resnet20_cifar", "com.example.resnet20cifar"),
        ("5 <Bäume> \"&'", "5 Bäume", "com.example.net5bume"),
        ("{{id}}$", "id", "com.example.id"),
        ("***", "Classifier", "com.example.net"),
    ],
)
def test_any_name_fits_into_the_files(name, label, identifier, tmp_path):
    platform = PLATFORMS["android"]
    for path in platform.marked:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((platform.files / path).read_bytes())
    _put_names(tmp_path, platform, name)
    assert f'android:label="{label}"' in (tmp_path / "app/src/main/AndroidManifest.xml").read_text()
    assert f'applicationId = "{identifier}"' in (tmp_path / "app/build.gradle.kts").read_text()
