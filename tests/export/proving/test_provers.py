"""Runtimes are chosen by name; what is wrong in one is removed, what was not run stays, and all of it is told."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

import export
from benchmarks import foreign_models as foreign
from export import RequestError
from export.api import Rejected
from export.formats.registry import FORMATS
from export.proving import provers
from export.proving.proof import Proof
from export.proving.prover import Evidence, Prover
from export.report import proofs as matrix
from export.report import text
from export.request import Request
from tests.proofs import network


class Toy(Prover):
    """A runtime of the tests; `act` says what it does."""

    package, extra = "numpy", "toys"

    def __init__(self, name: str, act: Callable[[Evidence, str], Proof], formats: tuple[str, ...] = ("tflite",)):
        self.name, self.title, self.formats, self.act = name, name.capitalize(), formats, act

    def prove(self, path, artifact, evidence):
        assert path.exists()
        return self.act(evidence, artifact.precision)

    def words(self, details):
        return f"{details['bytes']} bytes"


def careful(evidence: Evidence, precision: str) -> Proof:
    """Proven, but wrong for float16."""
    assert len(evidence.images) == len(evidence.own) == len(evidence.reference.logits)
    assert evidence.precision.name == precision
    status = "wrong" if precision == "float16" else "proven"
    return Proof("careful", "1.0", status, 8, 61.24, 2.5e-7, 1.234, "It lies.", {"bytes": 77})


def broken(evidence: Evidence, precision: str) -> Proof:
    raise OSError("no operator RESIZE")


class Absent(Toy):
    package = "not-there"


class Picky(Toy):
    def declines(self, artifact):
        return f"It takes no {artifact.precision}."


@pytest.fixture
def toys(monkeypatch):
    made = [Toy("careful", careful), Toy("broken", broken), Absent("absent", broken), Picky("picky", broken)]
    elsewhere = Toy("elsewhere", broken, ("saved_model",))
    for name in list(provers.PROVERS):
        monkeypatch.delitem(provers.PROVERS, name)
    for toy in (*made, elsewhere):
        monkeypatch.setitem(provers.PROVERS, toy.name, toy)
        monkeypatch.setitem(matrix.TITLES, toy.name, toy.title)
    return made


@pytest.fixture
def exported(toys, tmp_path):
    with pytest.raises(Rejected, match=r"tflite float16: It is wrong in Careful 1.0. It lies\.") as error:
        export.export(network(), tmp_path / "net", formats=["tflite"], precisions=["float16"], prove=["all"])
    return tmp_path / "net", error.value.manifest


def test_what_is_wrong_is_removed_and_the_rest_is_told(exported):
    folder, manifest = exported
    assert [file.name for file in folder.glob("*.tflite")] == ["net.tflite"]
    assert [(row["precision"], row["reason"]) for row in manifest["rejected"]] == [
        ("float16", "It is wrong in Careful 1.0. It lies.")
    ]
    (artifact,) = manifest["artifacts"]
    own, *others = artifact["proofs"]
    version = manifest["versions"]["ai-edge-litert"]
    assert (own["runtime"], own["status"], own["version"]) == ("litert", "proven", version)
    assert own["sqnr_db"] == artifact["parity"]["sqnr_db"]
    assert own["median_ms"] == artifact["latency"]["median_ms"]
    assert {proof["runtime"]: proof["reason"] for proof in others if proof["status"] == "not run"} == {
        "broken": "Broken broke off: no operator RESIZE",
        "absent": "not-there is not installed: pip install 'kerascnn[toys]'.",
        "picky": "It takes no float32.",
    }
    written = json.loads((folder / "manifest.json").read_text())
    Draft202012Validator(json.loads(Path("docs/manifest.schema.json").read_text())).validate(written)
    assert written["artifacts"][0]["proofs"] == artifact["proofs"]

    headings = "| artifact | LiteRT {ai-edge-litert} | Careful 1.0 | Broken {numpy} | Absent | Picky {numpy} |"
    report = (folder / "report.md").read_text()
    assert headings.format(**manifest["versions"]) in report
    assert "| 2e-07, 1.2 ms, 77 bytes | not run | not run | not run |" in report
    assert "- Not run in Picky: net.tflite: It takes no float32." in report
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(matrix.terminal_table(manifest))
    assert "2e-07, 1.2 ms, 77 bytes" in console.export_text()
    if (folder / "report.html").exists():
        assert "2e-07, 1.2 ms, 77 bytes" in (folder / "report.html").read_text()
    assert "NOT PUBLISHED: tflite float16: It is wrong in Careful 1.0. It lies." in text.notes(manifest)


def test_without_further_runtimes_there_is_no_matrix(toys, tmp_path):
    manifest = export.export(network(), tmp_path / "net", formats=["tflite"], prove=["litert"])
    assert [proof["runtime"] for proof in manifest["artifacts"][0]["proofs"]] == ["litert"]
    assert matrix.terminal_table(manifest) is None
    assert "Proven in" not in (tmp_path / "net/report.md").read_text()


def test_what_earlier_versions_wrote_has_no_proofs(toys, tmp_path):
    export.export(network(), tmp_path / "net", formats=["onnx"])
    manifest = json.loads((tmp_path / "net/manifest.json").read_text())
    del manifest["artifacts"][0]["proofs"]
    (tmp_path / "net/manifest.json").write_text(json.dumps(manifest))
    manifest = export.export(network(), tmp_path / "net", formats=["tflite"], prove=["careful"])
    assert [len(artifact["proofs"]) for artifact in manifest["artifacts"]] == [2, 0]
    assert "| net.onnx |  |  |" in (tmp_path / "net/report.md").read_text()


def test_other_networks_say_that_they_were_not_run(toys, tmp_path):
    manifest = export.export(foreign.MODELS["siamese"](), tmp_path / "net", formats=["tflite"], prove=["all"])
    own, *others = manifest["artifacts"][0]["proofs"]
    assert (own["runtime"], own["status"]) == ("litert", "proven")
    assert {proof["status"] for proof in others} == {"not run"}
    assert "in the runtime of their format alone" in others[0]["reason"]


@pytest.mark.parametrize(
    ("names", "formats", "says"),
    [
        (["carefull"], ["tflite"], "Did you mean careful?"),
        (["toaster"], ["tflite"], "Choose from all, tensorflow, litert, ort, careful"),
        (["careful"], ["onnx"], "careful proves TFLite files, and none was asked for. Add --tflite."),
        (["ort"], ["tflite"], "Add --onnx."),
        (["absent"], ["tflite"], r"Absent: not-there is not installed: pip install 'kerascnn\[toys\]'\."),
        ("all", ["tflite"], "prove is a list of names"),
    ],
)
def test_bad_names_are_refused(toys, names, formats, says):
    with pytest.raises(RequestError, match=says):
        Request(formats=formats, prove=names)


def test_names_choose(toys):
    def names(*chosen, formats=tuple(FORMATS)):
        return [prover.name for prover in Request(formats=formats, prove=chosen).provers]

    assert names() == names("litert", "ort") == []
    assert names("picky", "careful") == ["careful", "picky"]
    assert names("all", formats=["tflite"]) == [toy.name for toy in toys]
    assert names("all", formats=["saved_model"]) == ["elsewhere"]
