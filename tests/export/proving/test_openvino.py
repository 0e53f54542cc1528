"""OpenVINO proves whole files of every precision, and each planted fault is caught in it."""

from dataclasses import replace

import numpy as np
import pytest

from export.proving.judging import judge
from export.proving.provers import PROVERS
from tests import proofs

pytest.importorskip("openvino", reason="pip install 'kerascnn[openvino]'")
from export.proving.openvino import open_openvino

PROVER = PROVERS["openvino"]
FILES = [
    *(("onnx", precision) for precision in ("float32", "float16", "int8")),
    *(("tflite", precision) for precision in ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")),
]


def proved(folder, artifact, activation="softmax"):
    return PROVER.prove(
        folder / artifact.path, artifact, proofs.evidence(artifact.format, artifact.precision, activation)
    )


@pytest.mark.parametrize(("format", "precision"), FILES)
def test_whole_files_are_proven(tmp_path, format, precision):
    proof = proved(tmp_path, proofs.write(tmp_path, format, precision))
    assert (proof.status, proof.reason, proof.images) == ("proven", "", len(proofs.IMAGES))
    assert proof.sqnr_db > {"float32": 100, "float16": 50}.get(precision, 25)
    assert proof.median_ms > 0
    assert proof.details == {"device": "CPU", "threads": 2, "inference_precision": "f32", "ir": "same answers"}
    assert PROVER.words(proof.details) == ""


def test_a_network_without_softmax_is_compared_by_its_output(tmp_path):
    proof = proved(tmp_path, proofs.write(tmp_path, "onnx", "float32", activation="linear"), "linear")
    assert proof.status == "proven"
    assert proof.relative_error < 1e-5


@pytest.mark.parametrize("kind", proofs.MODELS[1:])
@pytest.mark.parametrize(("format", "precision"), [("onnx", "float32"), ("onnx", "int8"), ("tflite", "float16")])
def test_faults_of_converters_are_caught(tmp_path, format, precision, kind):
    proof = proved(tmp_path, proofs.write(tmp_path, format, precision, kind))
    assert proof.status == "wrong"
    assert "The logits" in proof.reason


@pytest.mark.parametrize(("format", "precision"), [("onnx", "int8"), ("tflite", "int8-io")])
@pytest.mark.parametrize("change", [{"scale": 1.5}, {"shift": 20}], ids=["wrong scale", "zero point"])
def test_wrong_steps_are_caught(tmp_path, format, precision, change):
    artifact = proofs.write(tmp_path, format, precision)
    proofs.requantized(tmp_path / artifact.path)
    assert proved(tmp_path, artifact).status == "proven"
    proofs.requantized(tmp_path / artifact.path, **change)
    proof = proved(tmp_path, artifact)
    assert proof.status == "wrong"
    assert "25 dB" in proof.reason


@pytest.mark.parametrize("calls", [1, 3, 4])
def test_a_file_that_is_right_at_first_is_caught(tmp_path, calls):
    """Within the first answers, within the second, and after both; the images are two batches."""
    artifact = proofs.write(tmp_path, "onnx", "float32")
    runtime = open_openvino(tmp_path / artifact.path, {})
    evidence = proofs.evidence("onnx", "float32")
    assert judge(PROVER, runtime, artifact, evidence).status == "proven"
    proof = judge(PROVER, replace(runtime, run=proofs.RightAtFirst(runtime.run, calls)), artifact, evidence)
    assert proof.status == "wrong"
    assert ("Asked twice" in proof.reason) == (calls < 4)


def test_a_file_that_always_gives_its_first_answer_is_caught(tmp_path):
    """Asked again about the same images it answers the same, and so does the copy that has the logits."""
    artifact = proofs.write(tmp_path, "tflite", "float32")
    runtime = open_openvino(tmp_path / artifact.path, {})
    first = runtime.run(proofs.IMAGES[:1])
    proof = judge(PROVER, replace(runtime, run=lambda images: first), artifact, proofs.evidence("tflite", "float32"))
    assert proof.status == "wrong"
    assert "softmax" in proof.reason


def test_another_interface_is_wrong(tmp_path):
    artifact = proofs.write(tmp_path, "onnx", "float32")
    proof = proved(tmp_path, replace(artifact, output=replace(artifact.output, name="scores")))
    assert proof.status == "wrong"
    assert "'scores' was expected" in proof.reason


def test_what_is_not_loaded_is_not_run(tmp_path):
    artifact = proofs.write(tmp_path, "onnx", "float32")
    (tmp_path / artifact.path).write_bytes(b"no model")
    proof = proved(tmp_path, artifact)
    assert (proof.status, proof.version) == ("not run", PROVER.version)
    assert proof.reason.startswith("OpenVINO does not load it: ")


def test_not_a_number_is_wrong(tmp_path):
    artifact = proofs.write(tmp_path, "onnx", "float32")
    runtime = open_openvino(tmp_path / artifact.path, {})
    broken = replace(runtime, run=lambda images: runtime.run(images) * np.nan)
    assert judge(PROVER, broken, artifact, proofs.evidence("onnx", "float32")).status == "wrong"
