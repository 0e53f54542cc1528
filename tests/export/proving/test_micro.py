"""TFLite Micro proves files, says what they take, and each planted fault is caught in it; it cannot end an export."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import export
from export import ExportError, RequestError
from export.api import Rejected
from export.formats.tflite_runtime import add_logits, open_tflite
from export.proving import micro, micro_process
from export.proving.micro import Micro, arena_failure
from export.proving.operators import count_operators, resolver
from export.proving.proof import Proof
from export.report.snippets import snippets
from export.request import Request
from tests import proofs

pytest.importorskip("tflite_micro", reason="pip install 'kerascnn[micro]'")

PRECISIONS = ("float32", "int8", "int8-io")


@pytest.fixture(autouse=True)
def no_vela(monkeypatch):
    """Its estimate has tests of its own."""
    monkeypatch.setattr(micro.vela, "estimate", lambda path: None)


def proved(folder, artifact, own=None):
    evidence = proofs.evidence("tflite", artifact.precision)
    return Micro().prove(folder / artifact.path, artifact, evidence if own is None else replace(evidence, own=own))


def changed(path, change):
    """Rewrite a file; `change` gets its flatbuffer as an object."""
    from tensorflow.lite.tools import flatbuffer_utils

    content = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
    change(content)
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(content))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_files_are_proven_in_the_least_arena(tmp_path, precision):
    from tflite_micro.python.tflite_micro.runtime import Interpreter

    artifact = proofs.write(tmp_path, "tflite", precision)
    content = (tmp_path / artifact.path).read_bytes()
    own = open_tflite(tmp_path / artifact.path).predict(proofs.IMAGES)
    proof = proved(tmp_path, artifact, own)
    assert (proof.status, proof.reason, proof.images) == ("proven", "", len(proofs.IMAGES))
    assert proof.sqnr_db == pytest.approx(artifact.parity.sqnr_db, abs=100 if precision == "float32" else 2)
    assert proof.median_ms is None
    size = proof.details["arena_bytes"]
    assert proof.details["activation_bytes"] + proof.details["persistent_bytes"] <= size
    Interpreter.from_bytes(content, arena_size=size)
    with pytest.raises(RuntimeError):
        Interpreter.from_bytes(content, arena_size=size - 1)
    ends = {"DEQUANTIZE": 1, "QUANTIZE": 1} if precision == "int8" else {}
    assert proof.details["operators"] == {"CONV_2D": 3, "MEAN": 1, "SOFTMAX": 1, **ends}
    assert Micro().words(proof.details) == f"arena {size:,} bytes"
    if precision != "float32":
        assert proof.details["from_reference_kernels"]["steps"] <= 1
        assert proof.details["from_litert"]["values"] == own.size


@pytest.mark.parametrize("precision", PRECISIONS)
def test_swapped_channels_are_caught(tmp_path, precision):
    proof = proved(tmp_path, proofs.write(tmp_path, "tflite", precision, "swapped channels"))
    assert proof.status == "wrong"
    assert "The logits" in proof.reason


@pytest.mark.parametrize("precision", PRECISIONS)
def test_lost_weights_are_caught(tmp_path, precision):
    artifact = proofs.write(tmp_path, "tflite", precision)

    def lose(content):
        (graph,) = content.subgraphs
        kernel = content.buffers[graph.tensors[graph.operators[precision == "int8"].inputs[1]].buffer]
        kernel.data = np.zeros_like(kernel.data)

    changed(tmp_path / artifact.path, lose)
    proof = proved(tmp_path, artifact)
    assert proof.status == "wrong"
    assert "The logits" in proof.reason


def test_what_aborts_ends_its_own_process(tmp_path):
    """Where all weights are lost before quantization, their scales are nothing that TFLite Micro computes with."""
    with pytest.raises(ExportError, match="TFLite Micro ended by SIGABRT"):
        proved(tmp_path, proofs.write(tmp_path, "tflite", "int8-io", "lost weights"))


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_a_wrong_scale_is_caught(tmp_path, precision):
    artifact = proofs.write(tmp_path, "tflite", precision)
    proofs.requantized(tmp_path / artifact.path, scale=1.5)
    proof = proved(tmp_path, artifact)
    assert proof.status == "wrong"
    assert "25 dB" in proof.reason


@pytest.mark.parametrize("place", ["inside", "input"])
def test_another_zero_point_is_caught(tmp_path, place):
    """Of an activation, so that most of it no longer fits into a byte; and of what a user writes, by the manifest."""
    artifact = proofs.write(tmp_path, "tflite", "int8-io")

    def shift(content):
        (graph,) = content.subgraphs
        tensor = graph.tensors[graph.operators[1].inputs[0] if place == "inside" else graph.inputs[0]]
        tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint) + (220 if place == "inside" else 1)

    changed(tmp_path / artifact.path, shift)
    proof = proved(tmp_path, artifact)
    assert proof.status == "wrong"
    assert ("25 dB" if place == "inside" else "Scale and zero point of 'images'") in proof.reason


def test_steps_of_the_output_that_a_kernel_does_not_write_are_told(tmp_path):
    artifact = proofs.write(tmp_path, "tflite", "int8-io")

    def shift(content):
        (graph,) = content.subgraphs
        graph.tensors[graph.outputs[0]].quantization.zeroPoint = np.array([-125])

    changed(tmp_path / artifact.path, shift)
    with pytest.raises(ExportError, match="Node SOFTMAX .* failed to prepare"):
        proved(tmp_path, artifact)


@pytest.mark.parametrize("calls", [15, 30])
def test_a_file_that_is_right_at_first_is_caught(tmp_path, monkeypatch, calls):
    """Within the first answers, and after both."""
    artifact, run, left = proofs.write(tmp_path, "tflite", "int8-io"), micro_process.MicroProcess.run, [calls]

    def run_at_first(self, images, copy=False):
        answers = run(self, images, copy)
        left[0] -= not copy
        return answers if left[0] >= 0 or copy else [np.roll(answers[0], 1)]

    monkeypatch.setattr(micro_process.MicroProcess, "run", run_at_first)
    proof = proved(tmp_path, artifact)
    assert proof.status == "wrong"
    assert ("Asked twice" in proof.reason) == (calls == 15)


@pytest.mark.parametrize("steps", [1, 2])
def test_kernels_may_differ_by_one_step(tmp_path, monkeypatch, steps):
    """A kernel that is wrong by little passes the gate of the precision."""
    artifact, run = proofs.write(tmp_path, "tflite", "int8-io"), micro_process.MicroProcess.run

    def run_beside(self, images, copy=False):
        answers = run(self, images, copy)
        if copy:
            answers[-1][0, 3] += steps * self.outputs[-1]["quantization"][0]
        return answers

    monkeypatch.setattr(micro, "_COMPARED", 4)
    monkeypatch.setattr(micro_process.MicroProcess, "run", run_beside)
    monkeypatch.setattr("export.checking.parity._softmax_failures", lambda prediction: [])
    proof = proved(tmp_path, artifact)
    assert proof.status == ("proven" if steps == 1 else "wrong")
    assert ("4 of 40 answers differ" in proof.reason) == (steps == 2)


def test_an_operator_that_it_lacks_is_named(tmp_path):
    artifact = proofs.write(tmp_path, "tflite", "int8-io")

    def rename(content):
        from tensorflow.lite.python import schema_py_generated as schema

        operators = schema.BuiltinOperator
        for code in content.operatorCodes:
            if code.builtinCode == operators.MEAN:
                code.builtinCode = code.deprecatedBuiltinCode = operators.LOCAL_RESPONSE_NORMALIZATION

    changed(tmp_path / artifact.path, rename)
    with pytest.raises(ExportError, match="TFLite Micro has no operator LOCAL_RESPONSE_NORMALIZATION"):
        proved(tmp_path, artifact)


@pytest.mark.parametrize("largest", [16, 1000, 3000, 5000])
def test_a_network_that_does_not_fit_ends_its_own_process(tmp_path, monkeypatch, largest):
    """In some of these arenas TFLite Micro says so, and in some it reads where nothing is."""
    monkeypatch.setattr(micro_process, "LARGEST_ARENA", largest)
    with pytest.raises(ExportError, match=rf"does not fit into an arena of {largest:,} bytes"):
        proved(tmp_path, proofs.write(tmp_path, "tflite", "int8-io"))


def test_what_never_answers_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(micro_process, "_SECONDS", 0.001)
    with pytest.raises(ExportError, match=r"no answer within 0\.001 seconds"):
        proved(tmp_path, proofs.write(tmp_path, "tflite", "int8-io"))


def test_other_precisions_and_large_files_are_declined(tmp_path):
    artifact = proofs.write(tmp_path, "tflite", "int8")
    assert Micro().declines(artifact) is None
    assert "float32, int8, int8-io" in Micro().declines(replace(artifact, precision="dynamic"))
    assert "more than 16,777,216 bytes" in Micro().declines(replace(artifact, bytes=1 << 25))


def test_the_resolver_has_the_methods_of_its_class(tmp_path):
    """All 100 names were compared with micro_mutable_op_resolver.h; these are one of each kind."""
    names = ("L2_POOL_2D", "RELU6", "SPACE_TO_BATCH_ND", "BATCH_MATMUL", "PADV2", "UNIDIRECTIONAL_SEQUENCE_LSTM")
    assert resolver(dict.fromkeys(names, 1)).splitlines() == [
        "tflite::MicroMutableOpResolver<6> resolver;",
        "resolver.AddL2Pool2D();",
        "resolver.AddRelu6();",
        "resolver.AddSpaceToBatchNd();",
        "resolver.AddBatchMatMul();",
        "resolver.AddPadV2();",
        "resolver.AddUnidirectionalSequenceLSTM();",
    ]


def test_an_export_refuses_what_needs_a_larger_arena(tmp_path):
    photos = proofs.synthetic_images((24, 24, 3), 20, seed=9)
    wanted = r"int8: Its arena takes ([\d,]+) bytes, and --max-arena allows 10,000\."
    with pytest.raises(Rejected, match=wanted) as error:
        export.export(
            proofs.network(),
            tmp_path / "net",
            formats=["tflite"],
            precisions=["int8", "int8-io", "dynamic"],
            calibration=photos,
            prove=["micro"],
            max_arena=10_000,
        )
    manifest = error.value.manifest
    assert [row["precision"] for row in manifest["rejected"]] == ["int8", "int8-io"]
    assert sorted(file.name for file in (tmp_path / "net").glob("*.tflite")) == ["net.tflite", "net_dynamic.tflite"]
    written = json.loads((tmp_path / "net/manifest.json").read_text())
    Draft202012Validator(json.loads(Path("docs/manifest.schema.json").read_text())).validate(written)
    proof = written["artifacts"][0]["proofs"][1]
    assert f"arena {proof['details']['arena_bytes']:,} bytes" in (tmp_path / "net/report.md").read_text()
    whole, dynamic = (dict(snippet.codes) for snippet in snippets(manifest).snippets)
    code = whole["C++, TFLite Micro"]
    assert proof["details"]["resolver"] in code
    assert f"arena[{proof['details']['arena_bytes']}]" in code
    assert "C++, TFLite Micro" not in dynamic


def test_what_was_not_measured_is_refused_too(tmp_path):
    artifact = proofs.write(tmp_path, "tflite", "int8")
    proof = Proof("micro", "", "not run", reason="TFLite Micro has no operator X.")
    assert arena_failure(artifact, proof, 100) == (
        "Its arena, which may have 100 bytes, was not measured. TFLite Micro has no operator X."
    )
    assert arena_failure(artifact, proof, None) is None
    assert arena_failure(replace(artifact, precision="dynamic"), proof, 100) is None
    assert arena_failure(artifact, replace(proof, runtime="openvino"), 100) is None
    measured = replace(proof, status="proven", details={"arena_bytes": 100})
    assert arena_failure(artifact, measured, 100) is None
    assert "100 bytes, and --max-arena allows 99." in arena_failure(artifact, measured, 99)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_arena": 0}, "at least one byte; --max-arena .* is 0"),
        ({"prove": ()}, "Add --prove micro"),
        ({"precisions": ["dynamic"]}, "none was asked for. Add --tflite --quantize int8-io"),
        ({"formats": ["onnx"], "precisions": ["int8"], "prove": ["all"]}, "Add --prove micro"),
    ],
)
def test_a_gate_that_judges_nothing_is_refused(wrong, says):
    right = {"formats": ["tflite"], "precisions": ["int8"], "prove": ["micro"], "max_arena": 1000}
    photos = np.zeros((4, 8, 8, 3), np.float32)
    Request(calibration=photos, **right)
    with pytest.raises(RequestError, match=says):
        Request(calibration=photos, **{**right, **wrong})


def test_operators_are_counted_in_the_copy_as_well(tmp_path):
    content = bytearray((tmp_path / proofs.write(tmp_path, "tflite", "int8").path).read_bytes())
    before = count_operators(bytes(content))
    assert add_logits(content)[0]
    assert count_operators(bytes(content)) == before
