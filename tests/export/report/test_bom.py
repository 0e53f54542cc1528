"""bom.cdx.json: valid against CycloneDX's own schema; digests, license, data and accuracy are the manifest's."""

import copy
import json

import pytest

from export.files import digest_of
from export.report.bom import BOM, bom
from kerascnn.registry import variants
from kerascnn.statistics import wilson


@pytest.fixture(scope="module")
def problems():
    """Say what CycloneDX's validator finds in a bill."""
    json_validation = pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.schema import SchemaVersion

    validator = json_validation.JsonStrictValidator(SchemaVersion.V1_6)
    return lambda made: validator.validate_str(json.dumps(made))


def test_what_is_written_says_what_the_manifest_says(exported):
    folder, manifest = exported
    made = json.loads((folder / BOM).read_text())
    assert made == json.loads(json.dumps(bom(manifest, folder)))
    assert BOM in json.loads((folder / "manifest.json").read_text())["files"]
    network, parts = made["metadata"]["component"], {part["name"]: part for part in made["components"]}
    assert network["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert network["pedigree"]["ancestors"][0]["hashes"][0]["content"] == manifest["weights"]["source"]["sha256"]
    assert network["modelCard"]["modelParameters"]["datasets"] == [{"ref": "ylecun/mnist"}]
    assert network["modelCard"]["modelParameters"]["inputs"] == [{"format": "images: float32 [batch, 32, 32, 1]"}]
    assert parts["ylecun/mnist"]["type"] == "data"
    assert parts["LiteRT"]["version"] == manifest["versions"]["ai-edge-litert"]
    tools = {tool["name"]: tool["version"] for tool in made["metadata"]["tools"]["components"]}
    assert tools == manifest["versions"]
    for artifact in manifest["artifacts"]:
        part, top1 = parts[artifact["path"]], artifact["accuracy"]["top1"]
        assert part["hashes"] == [{"alg": "SHA-256", "content": digest_of(folder / artifact["path"])}]
        metric = part["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]
        assert float(metric["value"]) == pytest.approx(top1, abs=1e-4)
        assert float(metric["confidenceInterval"]["lowerBound"]) == pytest.approx(wilson(top1, 10)[0], abs=1e-4)


def test_it_is_valid(exported, problems):
    folder, manifest = exported
    assert problems(bom(manifest, folder)) is None
    bare = copy.deepcopy(manifest)
    bare |= {"weights": {"trained": None, "source": None}, "evaluation": None, "labels": None}
    bare["model"]["variant"] = None
    bare["compression"] = {"path": "net.kdc", "sha256": "0" * 64}
    bare["web"] = {"path": "web/index.html", "proof": {"runtime": "web", "version": "140", "status": "proven"}}
    for artifact in bare["artifacts"]:
        artifact["accuracy"] = None
    assert problems(bom(bare, folder)) is None
    wrong = bom(manifest, folder)
    wrong["metadata"]["component"]["modelCard"]["accuracy"] = 1
    assert "accuracy" in str(problems(wrong))


def test_every_license_on_record_is_one_that_the_schema_knows(exported, problems):
    folder, manifest = exported
    stated = {record.licence for variant in variants().values() for record in variant.weights}
    assert len(stated) > 3
    for licence in stated:
        other = copy.deepcopy(manifest)
        other["weights"]["source"]["licence"] = licence
        assert problems(bom(other, folder)) is None, licence


def test_the_files_of_a_folder_have_digests(exported, tmp_path):
    manifest = copy.deepcopy(exported[1])
    manifest["artifacts"] = manifest["artifacts"][:1]
    manifest["artifacts"][0]["path"] = "saved_model/1"
    (tmp_path / "saved_model/1").mkdir(parents=True)
    (tmp_path / "saved_model/1/saved_model.pb").write_bytes(b"graph")
    (file,) = bom(manifest, tmp_path)["components"][0]["components"]
    assert file["name"] == "saved_model/1/saved_model.pb"
    assert file["hashes"][0]["content"] == digest_of(tmp_path / file["name"])
