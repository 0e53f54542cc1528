"""report.html: the figures are the manifest's, the photos those on which artifacts disagree, and a browser shows it."""

import copy
import json
import re

import keras
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import export
from export.checking.disagreements import disagreements, summary
from export.compression.frontier import Row, draw
from export.images import find_images
from tests import pages, pictures

CLASSES = ("red", "green", "blue")


def small():
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x), name="small")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five photos of each colour, one of them with a name that HTML could take for its own."""
    folder = pictures.write(tmp_path_factory.mktemp("photos"), CLASSES, 5, pictures.colored)
    (folder / "red" / "0.png").rename(folder / "red" / "<b>&0.png")
    return folder


@pytest.fixture(scope="module")
def exported(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts") / "small"
    manifest = export.export(
        small(),
        folder,
        formats=("tflite", "onnx"),
        precisions=("float16",),
        evaluate=photos,
        labels=CLASSES,
        preprocessing="tf",
    )
    return folder, manifest


def needs_report():
    pytest.importorskip("jinja2", reason="the extra report is not installed")
    pytest.importorskip("vl_convert", reason="the extra report is not installed")


def test_photos_that_artifacts_answer_otherwise_are_found():
    scores = {
        "keras": np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7]]),
        "tied.tflite": np.array([[0.5, 0.5, 0.0], [0.4, 0.5, 0.1], [0.4, 0.5, 0.1], [0.1, 0.2, 0.7]]),
        "lost.onnx": np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1], [np.nan] * 3]),
    }
    found = disagreements(["a", "b", "c", "d"], [0, 1, 1, 2], scores)
    assert [(row["photo"], row["disagree"]) for row in found] == [
        ("b", ["tied.tflite", "lost.onnx"]),
        ("d", ["lost.onnx"]),
    ]
    assert found[0]["answers"]["lost.onnx"] == [[2, 0.7], [1, 0.2], [0, 0.1]]
    assert found[1]["answers"]["lost.onnx"][0][1] is None
    assert summary(found[::-1] * 20)["photos"] == 40
    assert [row["photo"] for row in summary(found[::-1] * 20)["shown"]] == ["b"] * 12


def test_the_page_has_the_figures_of_the_manifest(exported):
    needs_report()
    folder, manifest = exported
    assert "report.html" in json.loads((folder / "manifest.json").read_text())["files"]
    rows = {row["path"]: row for row in pages.tables((folder / "report.html").read_text())["artifacts"]}
    assert rows.pop(None)["top1"] == manifest["evaluation"]["keras"]["top1"]
    assert list(rows) == [artifact["path"] for artifact in manifest["artifacts"]]
    for artifact in manifest["artifacts"]:
        row = rows[artifact["path"]]
        expected = {
            "bytes": artifact["bytes"],
            **{key: artifact["latency"][key] for key in ("median_ms", "p90_ms")},
            **{key: artifact["parity"][key] for key in ("relative_error", "sqnr_db", "top1_agreement")},
            "top1": artifact["accuracy"]["top1"],
        }
        assert {key: row[key] for key in expected} == expected
        assert "top5" not in row  # of three classes
        low, high = map(float, re.fullmatch(r"([\d.]+) to ([\d.]+) %", row["interval"]).groups())
        assert low < 100 * row["top1"] <= high + 0.05


def test_the_page_in_a_browser(exported, browser):
    needs_report()
    folder, manifest = exported
    pages.check(browser, folder / "report.html")
    with pages.opened(browser, folder / "report.html") as page:
        sizes, _, accuracies, _ = page.query_selector_all("#made ~ .row .chart")
        bars = [float(text.text_content()) for text in sizes.query_selector_all(".mark-text.role-mark text")]
        assert bars == pytest.approx([artifact["bytes"] / 1e6 for artifact in manifest["artifacts"]], rel=0.005)
        for mark in (".mark-symbol path", ".mark-rule line"):  # the accuracy and its interval
            assert len(accuracies.query_selector_all(mark)) >= 1 + len(manifest["artifacts"])
        assert "Layer by layer" in page.inner_text("nav")


@pytest.fixture(scope="module")
def disputed(exported, photos, tmp_path_factory):
    """The page of the same export, had the float16 file answered otherwise on two photos, and after a compression."""
    needs_report()
    from export.report.page import html

    manifest = copy.deepcopy(exported[1])
    source = find_images(photos)
    scores = np.tile([0.8, 0.15, 0.05], (15, 1))
    other = scores.copy()
    other[[0, 5]] = [0.1, 0.2, 0.7]
    answers = {artifact["path"]: scores for artifact in manifest["artifacts"]}
    labels = [CLASSES.index(name.split("/")[0]) for name in source.names]
    given = {"keras": scores, **answers, "small_float16.tflite": other}
    found = disagreements(source.names, labels, given)
    manifest["evaluation"]["disagreements"] = summary(found)
    states = [
        {"bytes": size, "sparsity": zeros, "values": {"conv": 9, "dense": 4}, "accuracy": {**accuracy, "images": 15}}
        for size, zeros, accuracy in (
            (9000, 0.0, {"top1": 0.9, "top5": 1.0}),
            (5000, 0.5, {"top1": 0.8, "top5": 1.0}),
            (2000, 0.5, {"top1": 0.7, "top5": 1.0}),
        )
    ]
    steps = [("prune", states[0], states[1]), ("share", states[1], states[2])]
    manifest["compression"] = {
        "path": "small.kdc",
        "bytes": 2000,
        "sha256": "0" * 64,
        "float32_bytes": 20_000,
        "photos": 15,
        "steps": [{"name": name, "options": {}, "before": one, "after": two} for name, one, two in steps],
        "divergence": 0.0123,
        "top1_agreement": 0.9,
        "original": states[0]["accuracy"],
        "difference": {"top1": -0.2, "top5": 0.0},
        "left_out": [],
    }
    file = tmp_path_factory.mktemp("disputed") / "report.html"
    file.write_text(html(manifest, photos=source, labels=CLASSES))
    return file, manifest


def test_disputed_photos_and_compression_in_a_browser(disputed, browser):
    file, _ = disputed
    pages.check(browser, file)
    steps = pages.tables(file.read_text())["steps"]
    assert [(row["bytes"], row["zeros"], row["top1"]) for row in steps] == [
        (9000, 0.0, 0.9),
        (5000, 0.5, 0.8),
        (2000, 0.5, 0.7),
    ]
    with pages.opened(browser, file) as page:
        first, second = page.query_selector_all(".photos article")
        assert first.query_selector(".file").inner_text() == "blue/0.png"
        assert second.query_selector(".file").inner_text() == "green/0.png"
        agreeing, alone = (answer.inner_text() for answer in first.query_selector_all("dt"))
        assert agreeing == "Keras model, TFLite float32, ONNX float32, ONNX float16 ✗ wrong"
        assert alone == "TFLite float16 ✓ right"
        best = [one.inner_text().strip() for one in first.query_selector_all("dd:last-of-type li")]
        assert best == ["blue 70.0 %", "green 20.0 %", "red 10.0 %"]
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_what_the_report_shows_of_photos_is_in_the_schema(disputed, request):
    schema = json.loads((request.config.rootpath / "docs/manifest.schema.json").read_text())
    part = schema["properties"]["evaluation"]["properties"]["disagreements"]
    Draft202012Validator(part).validate(json.loads(json.dumps(disputed[1]["evaluation"]["disagreements"])))


def test_names_of_photos_are_not_taken_for_html(photos):
    needs_report()
    from kerascnn.analysis.pages.blocks import Page, Photo, Photos, Section
    from kerascnn.analysis.pages.rendering import render

    shown = Photos([Photo("red/<b>&0.png", "red", "", [])])
    text = render(Page("small", "", [Section("photos", "Photos", [shown])]))
    assert "red/&lt;b&gt;&amp;0.png" in text
    assert "<b>" not in text


def test_the_frontier_of_a_sweep_in_a_browser(browser, tmp_path):
    needs_report()
    rows = [
        Row(sparsity, bits, int(1000 * bits * (1.5 - sparsity)), sparsity, 0.01 / bits, 0.9, 0.5 + bits / 20, 0.9)
        for sparsity in (0.0, 0.5)
        for bits in (3, 5, 8)
    ]
    draw(rows, tmp_path / "frontier.html")
    pages.check(browser, tmp_path / "frontier.html")
    found = pages.tables((tmp_path / "frontier.html").read_text())["frontier"]
    assert sorted((row["sparsity"], row["bits"], row["bytes"], row["top1"]) for row in found) == [
        (row.sparsity, row.bits, row.bytes, row.top1) for row in rows
    ]


def test_an_export_without_the_extra_says_how_to_get_the_report(photos, tmp_path, monkeypatch, capsys):
    from export import printing
    from export.report import page

    monkeypatch.setattr(page, "available", lambda: False)
    manifest = export.export(small(), tmp_path / "small", formats=["tflite"])
    assert not (tmp_path / "small" / "report.html").exists()
    assert manifest["artifacts"]
    printing.print_results([(tmp_path / "small", manifest)], as_json=False)
    assert "pip install 'kerascnn[report]'" in capsys.readouterr().out
