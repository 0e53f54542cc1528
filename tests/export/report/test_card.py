"""README.md: its front matter is what the Hugging Face hub reads, its figures are the manifest's."""

import copy
import json

import pytest

from export.report.card import card, front_matter

yaml = pytest.importorskip("yaml")
# The fields of huggingface_hub's ModelCardData that a card has, as the hub spells them.
FIELDS = {"license": str, "library_name": str, "pipeline_tag": str, "tags": list, "datasets": list, "metrics": list}


def front(text):
    _, matter, body = text.split("---\n", 2)
    return yaml.safe_load(matter), body


def test_the_front_matter_is_what_the_hub_reads(exported):
    folder, manifest = exported
    matter, body = front((folder / "README.md").read_text())
    assert matter == front_matter(manifest)
    index = matter.pop("model-index")
    assert {key: type(value) for key, value in matter.items()} == FIELDS
    assert matter["license"] == "apache-2.0"
    assert matter["datasets"] == ["ylecun/mnist"]
    assert matter["library_name"] == "tflite"
    (result,) = index[0]["results"]
    assert index[0]["name"] == manifest["model"]["name"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"]["name"].endswith("(10 photos)")
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    for artifact in manifest["artifacts"]:
        assert values[f"top-1, {artifact['path']}"] == round(artifact["accuracy"]["top1"], 4)
        assert f"| {artifact['path']} | {artifact['precision']} | {artifact['bytes']:,} |" in body
    assert "| Keras model | float32 |" in body
    assert "LiteRT" in body.split("## Proven in")[1].split("##")[0]
    assert "README.md" in json.loads((folder / "manifest.json").read_text())["files"]
    assert "UNTRAINED" not in body


def test_the_hub_s_own_reader_takes_it(exported):
    hub = pytest.importorskip("huggingface_hub")
    loaded = hub.ModelCard.load(exported[0] / "README.md")
    assert loaded.data.license == "apache-2.0"
    assert len(loaded.data.eval_results) == 6  # top-1 and top-5 of Keras and of two files
    assert not loaded.data.to_dict().keys() - {*FIELDS, "model-index"}


def test_what_is_not_known_is_said(exported):
    manifest = copy.deepcopy(exported[1])
    manifest["weights"] = {"trained": None, "source": None}
    manifest["model"]["variant"] = None
    manifest["evaluation"] = None
    for artifact in manifest["artifacts"]:
        artifact["accuracy"] = None
    matter, body = front(card(manifest))
    assert matter["license"] == "unknown"
    assert not {"datasets", "model-index", "metrics"} & matter.keys()
    assert "Their origin is not known." in body
    assert "The accuracy of these files is not known" in body
    manifest["weights"] = {"trained": True, "source": {"file": "a.keras", "sha256": "0" * 64, "licence": "not stated"}}
    assert "License: not known" in card(manifest)


def test_what_became_of_the_network_and_of_the_page_is_said(exported):
    manifest = copy.deepcopy(exported[1])
    manifest["compression"] = {"path": "lenet5.kdc", "bytes": 1234}
    manifest["web"] = {"path": "web/index.html", "proof": {"status": "proven", "version": "140.0"}}
    text = card(manifest)
    assert "It was made smaller first" in text
    assert "| lenet5.kdc | coded | 1,234 | exact | as the Keras model |" in text
    assert "- web/index.html: Chromium 140.0" in text
    assert "Published top-1 error" not in text


def test_a_file_that_takes_one_image_alone_is_named(exported):
    manifest = copy.deepcopy(exported[1])
    details = manifest["artifacts"][0]["proofs"][0]["details"]
    assert details == {"batches": [1, 3, 5]}
    assert "one image at a time" not in card(manifest)
    details |= {"batches": [1], "reason": "It answers otherwise in a batch of 3 than one by one."}
    assert "- lenet5.tflite takes one image at a time. It answers otherwise in a batch of 3" in card(manifest)


def test_an_untrained_network_says_so_first(exported):
    manifest = copy.deepcopy(exported[1])
    manifest["weights"] = {"trained": False, "source": None}
    matter, body = front(card(manifest))
    assert "model-index" not in matter
    assert body.split("\n\n")[1].startswith("> **UNTRAINED.**")
