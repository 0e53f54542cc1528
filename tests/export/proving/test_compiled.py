"""CompiledModel proves whole files of every precision, and each planted fault is caught in it."""

from contextlib import ExitStack

import pytest

from export.proving.compiled import open_compiled
from export.proving.provers import PROVERS
from tests import proofs

pytest.importorskip("ai_edge_litert.compiled_model")
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")


def proved(folder, artifact):
    return PROVERS["compiled"].prove(folder / artifact.path, artifact, proofs.evidence("tflite", artifact.precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_files_are_proven(tmp_path, precision, capfd):
    proof = proved(tmp_path, proofs.write(tmp_path, "tflite", precision))
    assert (proof.status, proof.reason, proof.images) == ("proven", "", len(proofs.IMAGES))
    assert proof.median_ms > 0
    assert "ccelerator" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", proofs.MODELS[1:])
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_faults_of_converters_are_caught(tmp_path, precision, kind):
    proof = proved(tmp_path, proofs.write(tmp_path, "tflite", precision, kind))
    assert proof.status == "wrong"
    assert "The logits" in proof.reason


@pytest.mark.parametrize("change", [{"scale": 1.5}, {"shift": 20}], ids=["wrong scale", "zero point"])
def test_wrong_steps_are_caught(tmp_path, change):
    artifact = proofs.write(tmp_path, "tflite", "int8-io")
    proofs.requantized(tmp_path / artifact.path, **change)
    assert proved(tmp_path, artifact).status == "wrong"


def test_answers_are_those_of_the_interpreter(tmp_path):
    from export.formats.tflite_runtime import open_tflite

    artifact = proofs.write(tmp_path, "tflite", "float32")
    with ExitStack() as closing:
        mine = open_compiled(tmp_path / artifact.path, closing).predict(proofs.IMAGES)
    assert mine == pytest.approx(open_tflite(tmp_path / artifact.path).predict(proofs.IMAGES), abs=1e-6)


def test_a_file_that_it_does_not_load_is_not_run(tmp_path, monkeypatch):
    def refuse(path, closing):
        raise RuntimeError("Failed to compile model")

    monkeypatch.setattr("export.proving.compiled.open_compiled", refuse)
    proof = proved(tmp_path, proofs.write(tmp_path, "tflite", "float32"))
    assert (proof.status, proof.reason) == ("not run", "LiteRT CompiledModel does not load it: Failed to compile model")
