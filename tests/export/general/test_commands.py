"""Saved models of one's own on the command line: modules that are imported, sizes, arrays, and what is refused."""

import json
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers

from export import cli
from kerascnn.training.finetuning import replace_head
from tests.processes import in_process

LAYER = """
import keras

@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with saved models, and the module of a layer of one's own."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "layers_of_mine.py").write_text(textwrap.dedent(LAYER))
    sys.path.insert(0, str(folder))
    import layers_of_mine

    numbers, photo = keras.Input((4,), name="numbers"), keras.Input((None, None, 3), name="photo")
    towers = layers.concatenate([numbers, layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(photo))])
    own = keras.Model(numbers, layers.Dense(2)(layers_of_mine.Doubled()(numbers)))
    own.save(folder / "own.keras")
    keras.Model([numbers, photo], {"a": layers.Dense(2)(towers), "b": towers}).save(folder / "towers.keras")
    keras.Model(numbers, layers.Lambda(lambda x: x + 1)(numbers)).save(folder / "lambda.keras")
    words = keras.Input((), dtype="string", name="words")
    keras.Model(words, layers.Identity()(words)).save(folder / "words.keras")
    image = keras.Input((8, 8, 3), name="image")
    lines = layers.LSTM(2, name="reader")(layers.Reshape((8, 24))(image))
    keras.Model(image, layers.Dense(2)(lines)).save(folder / "lines.keras")
    (folder / "cut.keras").write_bytes((folder / "own.keras").read_bytes()[:2000])
    head = replace_head("squeezenet_cifar", "cifar10", 2, labels=["newt", "crab"], input_shape=(32, 32, 3))
    head.save(folder / "head.keras")
    np.savez(folder / "inputs.npz", numbers=np.ones((4, 4), np.float32), photo=np.ones((4, 16, 16, 3), np.float32))
    np.savez(folder / "others.npz", letters=np.ones((4, 4), np.float32))
    (folder / "broken.npz").write_text("none")
    (folder / "broken_module.py").write_text("import nothing_of_that_name")
    sys.path.remove(str(folder))
    del sys.modules["layers_of_mine"]
    keras.saving.get_custom_objects().pop("tests>Doubled")
    return folder


@pytest.fixture
def call(models, monkeypatch, capsys, tmp_path):
    def invoke(*arguments):
        monkeypatch.chdir(models)
        return in_process(cli.main, "export", *arguments, "--output", tmp_path / "out"), capsys.readouterr()

    yield invoke
    sys.modules.pop("layers_of_mine", None)
    keras.saving.get_custom_objects().pop("tests>Doubled", None)


def test_a_layer_of_ones_own_is_imported(call):
    code, printed = call("--model", "own.keras", "--onnx", "--import", "layers_of_mine", "--json")
    assert code == 0, printed.err
    (manifest,) = json.loads(printed.out)
    assert manifest["signature"]["input"]["shape"] == [None, 4]


def test_sizes_and_arrays_are_given(call):
    arguments = ("--model", "towers.keras", "--input-size", "16", "--tflite", "--onnx", "--quantize", "int8")
    code, printed = call(*arguments, "--calibration-data", "inputs.npz", "--json")
    assert code == 0, printed.err
    (manifest,) = json.loads(printed.out)
    assert {spec["name"] for spec in manifest["signature"]["outputs"]} == {"a", "b"}
    assert [artifact["precision"] for artifact in manifest["artifacts"]] == ["float32", "int8", "float32", "int8"]


def test_a_dry_run_lists_what_will_be_there(call, tmp_path):
    """A SavedModel in half precision is for networks with one image, so it is not on the list."""
    arguments = ("--model", "own.keras", "--import", "layers_of_mine", "--all", "--quantize", "float16", "--json")
    code, printed = call(*arguments, "--dry-run")
    assert code == 0, printed.err
    (plan,) = json.loads(printed.out)
    code, printed = call(*arguments)
    assert code == 0, printed.err
    (manifest,) = json.loads(printed.out)
    folder = tmp_path / "out/own"
    assert sorted(plan["files"]) == sorted(str(folder / artifact["path"]) for artifact in manifest["artifacts"])


def test_a_model_that_remembers_needs_no_more_words(call, tmp_path):
    code, printed = call("--model", "head.keras", "--onnx", "--json")
    assert code == 0, printed.err
    (manifest,) = json.loads(printed.out)
    assert manifest["model"]["variant"] == "squeezenet_cifar"
    assert manifest["preprocessing"]["crop"] == [32, 32]
    assert manifest["weights"]["source"]["made_from"]["file"] == "squeezenet_cifar-cifar10.kdc"
    assert (tmp_path / "out/head/labels.txt").read_text() == "newt\ncrab\n"


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["", "dry"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["own.keras"], "holds the class Doubled, which is not known here. Give --import MODULE"),
        (["own.keras", "--import", "nowhere"], "--import nowhere: the module cannot be imported"),
        (["own.keras", "--import", "broken_module"], "No module named 'nothing_of_that_name'"),
        (["towers.keras"], "Give --input-size HxW"),
        (["lambda.keras"], "holds a Lambda layer"),
        (["words.keras"], "of string, which no artifact can hold"),
        (["cut.keras"], "cut.keras is damaged"),
        (["lines.keras"], "has a recurrent layer, 'reader'. Such a network is exported as a SavedModel, not as TFLite"),
        (["head.keras", "--input-size", "64"], "takes 32x32"),
        (["head.keras", "--crop", "16"], "gives images of 16x16, the network takes 32x32"),
        (["towers.keras", "--input-size", "16", "--labels", "layers_of_mine.py"], "do not fit"),
        (["towers.keras", "--input-size", "16", "--preprocessing", "torch"], "photos and their preprocessing"),
        (["towers.keras", "--input-size", "16", "--quantize", "int8", "--calibration-data", "others.npz"], "letters"),
        (["towers.keras", "--input-size", "16", "--quantize", "int8", "--calibration-data", "broken.npz"], ".npz"),
        (["towers.keras", "--input-size", "16", "--quantize", "int8"], "are needed"),
        (["towers.keras", "--input-size", "16", "--quantize", "int4", "--calibration-data", "inputs.npz"], "int4"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_in_a_dry_run_too(call, tmp_path, arguments, says, dry):
    code, printed = call("--model", *arguments, "--tflite", *dry)
    assert code == 2, printed.err
    assert says in printed.err
    assert printed.err.startswith("Error: ")
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
