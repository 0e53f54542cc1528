"""Artifacts proven in Chromium, and planted faults: wrong in the file, or right on the first run alone."""

import shutil

import numpy as np
import pytest
from PIL import Image

import export
from export.checking.parity import synthetic_images
from export.checking.runtimes import open_keras
from export.errors import ExportError
from export.formats.precision import PRECISIONS
from export.proving import web
from export.proving.proof import Proof
from export.proving.prover import Evidence
from export.proving.web import RUNS, Web
from export.web import browser as browsers
from export.web import page
from tests.export.web.conftest import LABELS, described, small

pytestmark = pytest.mark.usefixtures("browser")


@pytest.fixture(scope="module")
def evidence():
    images = synthetic_images((20, 24, 3), 4, low=-2, high=2)
    reference = open_keras(small()).predict_with_logits(images)
    return Evidence(images, reference, reference.output, PRECISIONS["float32"])


@pytest.fixture
def prove(exported, runtimes, evidence, tmp_path):
    """Prove an artifact of the export, whose bytes are changed first."""

    def proven(name, change=lambda content: content):
        row = next(row for row in exported.manifest["artifacts"] if row["path"] == name)
        path = tmp_path / name
        path.write_bytes(change((exported.folder / name).read_bytes()))
        return Web(runtimes).prove(path, described(row), evidence)

    return proven


def swapped(content):
    """Swap the channels of the first kernel."""
    kernel = small().layers[1].kernel.numpy().transpose(3, 0, 1, 2)  # as .tflite files have it
    assert content.count(kernel.tobytes()) == 1
    return content.replace(kernel.tobytes(), kernel[..., ::-1].tobytes())


def lost(content):
    """Set the weights of the last layer to zero."""
    kernel = small().layers[-1].kernel.numpy().T.tobytes()
    assert content.count(kernel) == 1
    return content.replace(kernel, bytes(len(kernel)))


def scaled(content):
    kernel = small().layers[-1].kernel.numpy().T
    return content.replace(kernel.tobytes(), (kernel * np.float32(1.01)).tobytes())


def test_an_export_says_what_became_of_its_artifacts_in_chromium(exported):
    proofs = [proof for row in exported.manifest["artifacts"] for proof in row["proofs"] if proof["runtime"] == "web"]
    assert [proof["status"] for proof in proofs] == ["proven", "proven"]
    for proof in proofs:
        assert proof["relative_error"] <= 1e-4
        assert proof["details"]["equal_runs"] == RUNS == 20
        assert proof["version"] == browsers.version()
        assert proof["median_ms"] >= 0
    assert [next(iter(proof["details"]["runtimes"])) for proof in proofs] == ["@litertjs/core", "onnxruntime-web"]
    assert exported.manifest["web"]["proof"]["status"] == "proven"


@pytest.mark.parametrize(
    "fault", [swapped, pytest.param(lost, marks=pytest.mark.slow), pytest.param(scaled, marks=pytest.mark.slow)]
)
def test_a_file_that_is_wrong_is_caught(prove, fault):
    proof = prove("small.tflite", fault)
    assert (proof.status, proof.images) == ("wrong", 4)
    assert "The logits differ by" in proof.reason


@pytest.mark.parametrize(
    ("right", "says"),
    [
        pytest.param(1, "The output differs from the softmax", marks=pytest.mark.slow),
        (9, f"{RUNS} of {RUNS} further runs on one image gave another answer"),
    ],
)
def test_a_file_that_is_right_on_the_first_runs_alone_is_caught(prove, monkeypatch, tmp_path, right, says):
    folder = tmp_path / "page"
    shutil.copytree(page.FILES, folder)
    text = (folder / "runtimes.js").read_text()
    wrong = f".map((x) => x + ((globalThis.count = (globalThis.count ?? 0) + 1) > {right * len(LABELS)} ? 1e-3 : 0))"
    (folder / "runtimes.js").write_text(text.replace(".slice()", f".slice(){wrong}"))
    monkeypatch.setattr(page, "FILES", folder)
    proof = prove("small.tflite")
    assert proof.status == "wrong"
    assert says in proof.reason


@pytest.mark.slow
def test_a_gpu_is_proven_too(prove, monkeypatch):
    """The processor plays the GPU, by Chromium's own rasterizer."""
    assert prove("small.tflite").details["webgpu"] is None
    monkeypatch.setattr(browsers, "ARGUMENTS", (*browsers.ARGUMENTS, "--use-webgpu-adapter=swiftshader"))
    monkeypatch.setattr(web, "_SOFTWARE", ())
    found = prove("small.tflite").details["webgpu"]
    assert (found["status"], found["gpu"], found["equal_runs"]) == ("proven", "swiftshader", RUNS)
    assert found["relative_error"] <= 1e-4


def test_a_file_that_the_runtime_does_not_load_is_not_run(prove, exported):
    proof = prove("small.tflite", lambda content: content[:2000])
    assert proof.status == "not run"
    assert proof.reason.startswith("It cannot be loaded: ")
    assert proof.details["refused"]


@pytest.mark.slow
def test_a_wrong_artifact_is_neither_published_nor_in_the_page(runtimes, tmp_path, monkeypatch):
    """The others are; so it is with a page that is wrong itself."""
    proof = Proof("web", "1", "wrong", reason="Planted.")
    right = Web.prove

    def planted(self, path, artifact, evidence):
        return proof if path.suffix == ".onnx" else right(self, path, artifact, evidence)

    monkeypatch.setattr(Web, "prove", planted)
    with pytest.raises(ExportError, match=r"onnx float32: It is wrong in Chromium 1\. Planted\.") as failed:
        export.export(small(), tmp_path / "net", formats=(), preprocessing="torch", web=runtimes)
    assert failed.value.manifest["web"]["artifacts"] == ["small.tflite"]
    assert not list((tmp_path / "net").rglob("*.onnx"))
    assert not (tmp_path / "net/web/runtimes/onnxruntime-web").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8", "int8-io", "int16x8"])
def test_quantized_files(runtimes, tmp_path, precision):
    """Each passes the gate that it passed in Python; int8 inputs are refused with the reason."""
    photos, random = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(20):
        pixels = random.integers(0, 256, (5, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((50, 40)).save(photos / f"{number}.png")
    formats = ["tflite", "onnx"] if precision in ("float16", "int8") else ["tflite"]
    manifest = export.export(
        small(),
        tmp_path / "net",
        formats=formats,
        precisions=[precision],
        calibration=photos,
        preprocessing="torch",
        web=runtimes,
    )
    rows = [row for row in manifest["artifacts"] if row["precision"] == precision]
    assert len(rows) == len(formats)
    for row in rows:
        proof = row["proofs"][-1]
        assert proof["status"] == ("not run" if precision == "int8-io" else "proven")
        assert proof["reason"] == ("LiteRT.js takes no int8 input." if precision == "int8-io" else "")
        assert (row["path"] in manifest["web"]["artifacts"]) == (precision != "int8-io")
