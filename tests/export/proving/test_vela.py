"""Vela's estimate is read as it is written, says what stays on the processor, and cannot end an export."""

import importlib.metadata
import re

import pytest

from export.proving import micro, vela
from export.proving.micro import Micro
from export.proving.vela import estimate
from tests import proofs

pytest.importorskip("ethosu", reason="pip install 'kerascnn[vela]'")


@pytest.mark.parametrize("precision", ["int8-io", "int8"])
def test_a_network_has_an_estimate(tmp_path, precision):
    artifact = proofs.write(tmp_path, "tflite", precision)
    found = estimate(tmp_path / artifact.path)
    assert (found["vela"], found["accelerator"]) == (importlib.metadata.version("ethos-u-vela"), "ethos-u55-128")
    # Of the three convolutions. Their kernels have 5,360 weights, of a byte each.
    multiplications = 22**2 * 16 * 27 + 20**2 * 32 * 16 * 9 + 20**2 * 10 * 32
    assert found["cycles"] > multiplications / 128  # which an ethos-u55-128 does in a cycle
    assert found["milliseconds"] == pytest.approx(found["cycles"] / found["megahertz"] / 1e3)
    assert 20**2 * 32 < found["sram_bytes"] < 3 * 20**2 * 32
    assert 5360 < found["flash_bytes"] < 2 * 5360
    assert found["on_processor"] == ({"DEQUANTIZE": 1, "QUANTIZE": 1} if precision == "int8" else {})
    assert [path.name for path in tmp_path.iterdir()] == [artifact.path]


def test_a_file_that_ends_vela_ends_nothing_else(tmp_path):
    path = tmp_path / proofs.write(tmp_path, "tflite", "int8-io").path
    path.write_bytes(path.read_bytes()[:2000])
    assert estimate(path)["reason"].startswith("Vela ended ")


def test_what_takes_too_long_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(vela, "_SECONDS", 0.001)
    path = tmp_path / proofs.write(tmp_path, "tflite", "int8-io").path
    assert estimate(path)["reason"] == "Vela did not end within 0.001 seconds."


def test_without_vela_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None)
    assert estimate(tmp_path / "net.tflite") is None


@pytest.mark.parametrize(
    ("precision", "found", "words"),
    [
        ("int8-io", {"milliseconds": 1.238}, r"arena [\d,]+ bytes, Vela's estimate 1\.24 ms"),
        ("int8-io", {"reason": "Vela ended by SIGSEGV."}, r"arena [\d,]+ bytes"),
        ("int8-io", None, r"arena [\d,]+ bytes"),
        ("float32", {"milliseconds": 1.238}, r"arena [\d,]+ bytes"),
    ],
)
def test_the_proof_in_tflite_micro_has_it(tmp_path, monkeypatch, precision, found, words):
    pytest.importorskip("tflite_micro", reason="pip install 'kerascnn[micro]'")
    monkeypatch.setattr(micro.vela, "estimate", lambda path: found)
    artifact, evidence = proofs.write(tmp_path, "tflite", precision), proofs.evidence("tflite", precision)
    proof = Micro().prove(tmp_path / artifact.path, artifact, evidence)
    assert proof.status == "proven"
    assert proof.details.get("ethos_u") == (None if precision == "float32" else found)
    assert re.fullmatch(words, Micro().words(proof.details))
