"""`python -m kerascnn` as a user meets it: what it prints, draws and refuses, and that it starts at once."""

import csv
import io
import json

import keras
import pytest
from keras import layers

from kerascnn.analysis import compare
from kerascnn.registry import variants
from tests import processes


def run(*arguments, cwd=None):
    """The command in a process of its own."""
    return processes.run("-m", "kerascnn", *arguments, cwd=cwd)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["compare", "vgg*"], ["summary", "resnet5"], ["summary", "-h"]]
)
def test_help_lists_comparisons_and_refusals_import_no_keras(arguments):
    heavy = ("keras", "tensorflow", "jax", "torch", "matplotlib", "PIL")
    code = f"""
import sys
from kerascnn.cli import main
sys.argv = ["kerascnn", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules])
"""
    done = processes.run("-c", code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.smoke
def test_list(call):
    code, printed = call("list")
    assert code == 0
    assert len(printed.out.splitlines()) == 1 + len(variants())
    code, printed = call("list", "vgg1[16]", "--json")
    assert [row["name"] for row in json.loads(printed.out)] == ["vgg11", "vgg16"]
    assert json.loads(printed.out)[1]["macs"] == 15_470_264_320


def test_summary_prints_the_same_numbers_in_every_form(call):
    code, printed = call("summary", "lenet5")
    assert code == 0
    assert "61,706" in printed.out
    assert "416,520" in printed.out
    assert "in the order that needs least" in printed.out
    _, printed = call("summary", "lenet5", "--json", "--dtype", "float16")
    found = json.loads(printed.out)
    assert (found["parameters"], found["macs"], found["unknown"]) == (61_706, 416_520, [])
    assert found["weights_kib"] == 61_706 * 2 / 1024
    _, printed = call("summary", "lenet5", "--csv")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["name"] for row in rows] == [row["name"] for row in found["layers"]]
    assert sum(int(row["macs"]) for row in rows) == 416_520
    assert rows[1]["output"] == "28x28x6"


def test_summary_of_a_file_names_what_it_cannot_count(call, tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.Conv2D(2, 1, name="end")(layers.RandomFlip(name="flip")(x))
    keras.Model(image, x, name="own").save(tmp_path / "own.keras")
    code, printed = call("summary", "own.keras")
    assert code == 2
    assert "has the shape (None, None, 3)" in printed.err
    code, printed = call("summary", "own.keras", "--input-size", "10x12")
    assert code == 0
    assert "NOT COUNTED  flip" in printed.out


def test_receptive_field_table_and_picture(call, tmp_path):
    pytest.importorskip("matplotlib")
    code, printed = call(
        "receptive-field", "lenet5", "--images", 1, "--png", "field.png", "--svg", "field.svg", "--json"
    )
    assert code == 0
    rows = {row["name"]: row for row in json.loads(printed.out)}
    assert rows["c3"]["receptive_field"] == [14, 14]
    assert (tmp_path / "field.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "field.svg").read_text()
    code, printed = call("receptive-field", "lenet5", "--layer", "c9")
    assert (code, "no layer 'c9'" in printed.err) == (2, True)


def test_comparison_and_its_picture(call, tmp_path):
    pytest.importorskip("matplotlib")
    code, printed = call("compare", "resnet*", "vgg16", "--csv", "--png", "networks.png")
    assert code == 0
    assert (tmp_path / "networks.png").stat().st_size > 20_000
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(printed.out))}
    assert float(rows["vgg16"]["accuracy"]) == 71.5
    assert float(rows["vgg16"]["accuracy_per_million"]) == pytest.approx(71.5 / 138.357544)
    assert rows["resnet101_v2"]["accuracy"] == ""  # nobody published one that we know


def test_compare_sorts_by_error_within_one_set_of_data():
    rows = compare(["resnet18", "resnet20_cifar", "resnet50", "resnet110_cifar", "resnet18"])
    assert [row.name for row in rows] == ["resnet110_cifar", "resnet20_cifar", "resnet50", "resnet18"]
    assert [row.data for row in rows] == ["CIFAR-10", "CIFAR-10", "ImageNet", "ImageNet"]
    assert {row.data for row in compare(["*"])} <= {"ImageNet", "CIFAR-10", "MNIST", "GTSRB"}
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([])
    with pytest.raises(TypeError, match=r"\['resnet50'\]"):
        compare("resnet50")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["summary", "resnot50"], "The nearest names are: resnet50"),
        (["summary", "no.keras"], "no file 'no.keras'"),
        (["summary", "lenet5", "--dtype", "int4"], "dtype is one of"),
        (["summary", "lenet5", "--input-size", "big"], "--input-size is one number or HEIGHTxWIDTH"),
        (["summary"], "Missing argument"),
        (["sumary"], "No such command"),
        (["compare"], "nothing to compare"),
        (["compare", "vit*"], "No model matches 'vit*'"),
        (["compare", "vgg16", "--png", "picture.jpg"], "ends in .png"),
        (["compare", "vgg16", "--png", "nowhere/picture.png"], "no folder 'nowhere'"),
        (["compare", "resnet152_v2", "--png", "picture.png"], "has a published top-1 error"),
    ],
)
def test_refusals_are_one_sentence_and_code_2(call, arguments, says):
    code, printed = call(*arguments)
    assert code == 2
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert printed.err.startswith("Error: ")


def test_a_file_with_classes_of_its_own_is_refused_by_their_name(call, tmp_path):
    class Own(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = layers.Dense(2)

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model.build((None, 4))
    model.save(tmp_path / "own.keras")
    code, printed = call("summary", "own.keras")
    assert code == 2
    assert "own.keras holds Own, a class of your own" in printed.err


def test_a_broken_file_is_one_sentence_and_no_traceback(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    done = run("summary", "broken.keras", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
