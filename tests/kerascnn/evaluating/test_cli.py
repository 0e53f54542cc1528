"""`kerascnn evaluate` as a user meets it, on the export of a tiny network, and its refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from kerascnn.data import imagenet_classes

COLORS = ("red", "green", "blue")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def write_network(path, channels=(0, 1, 2)):
    """The mean of each channel, as a softmax."""
    nodes = [
        onnx.helper.make_node("Gather", ["image", "order"], ["ordered"], axis=3),
        onnx.helper.make_node("ReduceMean", ["ordered"], ["means"], axes=[1, 2], keepdims=0),
        onnx.helper.make_node("Softmax", ["means"], ["probabilities"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "colors",
        [onnx.helper.make_tensor_value_info("image", kind, ["n", 8, 8, 3])],
        [onnx.helper.make_tensor_value_info("probabilities", kind, ["n", 3])],
        [onnx.numpy_helper.from_array(np.array(channels, np.int64), "order")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export with a network and one with swapped channels, photos by folder, and the same ones with a list."""
    root = tmp_path_factory.mktemp("evaluated")
    export, photos, flat = root / "export", root / "photos", root / "flat"
    export.mkdir()
    flat.mkdir()
    write_network(export / "colors.onnx")
    write_network(export / "colors_int8.onnx", (1, 0, 2))
    (export / "labels.txt").write_text("\n".join(COLORS))
    artifacts = [
        {"path": "colors_int8.onnx", "format": "onnx", "precision": "int8"},
        {"path": "colors.onnx", "format": "onnx", "precision": "float32"},
    ]
    manifest = {
        "model": {"variant": "resnet20_cifar"},
        "weights": {"source": None},
        "labels": "labels.txt",
        "preprocessing": {"resize": [8, 8], "std": [255.0]},
        "artifacts": artifacts,
        "compression": None,
    }
    (export / "manifest.json").write_text(json.dumps(manifest))
    for place, color in enumerate(COLORS):
        (photos / color).mkdir(parents=True)
        for i in range(10):
            pixels = np.zeros((9, 12, 3), np.uint8)
            pixels[..., place] = 100 + i
            Image.fromarray(pixels).save(photos / color / f"{color}{i}.png")
            shutil.copy(photos / color / f"{color}{i}.png", flat)
    (photos / "red" / "cut.png").write_bytes((photos / "red" / "red0.png").read_bytes()[:50])
    (root / "list.txt").write_text("".join(f"{path.name} {path.name[:-5]}\n" for path in flat.iterdir()))
    return root


def test_an_export_from_table_to_picture(call, folder, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("textalloc")
    arguments = ("evaluate", folder / "export", "--data", folder / "photos")
    code, printed = call(*arguments, "--svg", "a.svg")
    assert code == 0
    rows = [line.split() for line in printed.out.splitlines() if line.strip().startswith("colors")]
    size = (folder / "export" / "colors.onnx").stat().st_size
    assert rows[0][:5] == ["colors.onnx", str(size), "100.00", "88.65-100.00", "100.00"]
    assert rows[1][2] == "33.33"
    assert rows[2][:2] == ["colors_int8.onnx", "-66.67"]
    assert rows[2][-3:] == ["0", "20", "1.91e-06"]
    assert "Left out, neither right nor wrong: 1 photo" in printed.out
    assert "Published top-1: 91.25 (paper, CIFAR-10" in printed.out
    assert "Left out: red/cut.png: " in printed.err
    assert "</svg>" in (tmp_path / "a.svg").read_text()
    assert sorted(path.name for path in (tmp_path / "evaluations" / "photos").iterdir()) == [
        "colors.onnx.jsonl",
        "colors_int8.onnx.jsonl",
    ]
    code, printed = call(*arguments, "--csv")
    first, second = csv.DictReader(io.StringIO(printed.out))
    assert (first["model"], float(first["top1"]), first["difference"]) == ("colors.onnx", 1.0, "")
    assert (float(second["difference"]), second["difference_worse"]) == (pytest.approx(-2 / 3), "20")
    code, printed = call(*arguments, "--json")
    found = json.loads(printed.out)
    assert found["left_out"].keys() == {"red/cut.png"}
    assert found["pairs"][0]["top1"]["worse"] == 20
    assert found["reached"][0]["published"]["source"].startswith("paper")


def test_flat_photos_with_a_list(call, folder):
    network = folder / "export" / "colors.onnx"
    code, printed = call("evaluate", network, "--data", folder / "flat", "--truth", folder / "list.txt", "--json")
    assert code == 0
    assert json.loads(printed.out)["reached"][0]["top1"]["share"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "--data", "nowhere"], "nowhere does not exist. Give a folder or a .zip of photos"),
        (["export", "--data", "export"], "holds no images"),
        (["export", "--data", "flat"], "lie in no folders that are named after classes. Give a list of their classes"),
        (["export", "--data", "flat", "--truth", "export/labels.txt"], "has 3 lines for 30 photos"),
        (["export", "--data", "flat", "--truth", "nowhere.txt"], "There is no list of classes nowhere.txt."),
        (["export", "--data", "other"], "Folder 'n01440764' is no class name, no WordNet id and no class index"),
        (["export", "--data", "photos", "--weights", "imagenet"], "Weights are given for a network by its name"),
        (["export", "--data", "photos", "--labels", "more.txt"], "There are 4 labels, but colors.onnx tells 3 classes"),
        (["export/labels.txt", "--data", "photos"], "is no model that can be asked"),
        (["resnet20_cifr", "--data", "photos"], "There is no model named 'resnet20_cifr'. The nearest names are"),
        (["export", "--data", "photos", "--png", "a.jpg"], "--png writes a file whose name ends in .png"),
    ],
)
def test_refusals(call, folder, tmp_path, arguments, said):
    for name in ("export", "photos", "flat"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "more.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "other" / imagenet_classes()[0][0]).mkdir(parents=True)
    shutil.copy(folder / "photos" / "red" / "red0.png", tmp_path / "other" / "n01440764")
    code, printed = call("evaluate", *arguments)
    assert code == 2
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (tmp_path / "evaluations").exists()
