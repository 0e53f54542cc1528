"""Networks that are not one image in and one answer out: their artifacts, run by the plain runtimes; and refusals."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from keras import layers
from PIL import Image

import export
from benchmarks import foreign_models as foreign
from export import ExportError, RequestError
from export.checking.runtimes import TensorSpec
from export.formats.precision import PRECISIONS
from export.general.comparing import compare
from export.general.network import is_general, network_of
from export.general.runtimes import NamedRuntime
from export.general.samples import samples
from tests import ROOT

ALL = ("saved_model", "tflite", "onnx")


@pytest.fixture(scope="module")
def towers():
    """An image and a vector in, two answers out, in a dictionary."""
    keras.utils.set_random_seed(0)
    image, numbers = keras.Input((12, 12, 3), name="image"), keras.Input((4,), name="numbers")
    x = layers.concatenate([layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image)), numbers])
    outputs = {"score": layers.Dense(1, activation="sigmoid")(x), "kind": layers.Dense(3, activation="softmax")(x)}
    return foreign.moved(keras.Model([image, numbers], outputs, name="towers"))


@pytest.fixture(scope="module")
def exported(towers, tmp_path_factory):
    """Its export, calibrated with arrays by name."""
    folder = tmp_path_factory.mktemp("exports") / "towers"
    calibration = samples(network_of(towers), None)
    precisions = ("float16", "dynamic", "int8", "int8-io")
    export.export(towers, folder, formats=ALL, precisions=precisions, calibration=calibration)
    return folder


@pytest.mark.smoke
def test_plain_runtimes_answer_as_keras_does(towers, exported):
    import onnxruntime
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    given = {name: values[:1] for name, values in samples(network_of(towers), None).items()}
    wanted = towers([given["image"], given["numbers"]])
    runner = Interpreter(str(exported / "towers.tflite")).get_signature_runner("serving_default")
    session = onnxruntime.InferenceSession(exported / "towers.onnx")
    served = tf.saved_model.load(str(exported / "saved_model/1")).signatures["serving_default"]
    names = [output.name for output in session.get_outputs()]
    answers = {
        "tflite": runner(**given),
        "onnx": dict(zip(names, session.run(names, given), strict=True)),
        "saved_model": served(**{name: tf.constant(values) for name, values in given.items()}),
    }
    for format, found in answers.items():
        assert set(found) == {"score", "kind"}
        for name in found:
            np.testing.assert_allclose(found[name], wanted[name], atol=1e-6, err_msg=f"{format} {name}")


def test_the_manifest_names_all_inputs_and_outputs(exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    Draft202012Validator(json.loads((ROOT / "docs/manifest.schema.json").read_text())).validate(manifest)
    assert [spec["name"] for spec in manifest["signature"]["inputs"]] == ["image", "numbers"]
    assert manifest["verification"]["source"] == "calibration inputs"
    found = {f"{artifact['format']} {artifact['precision']}": artifact for artifact in manifest["artifacts"]}
    assert len(found) == 9  # SavedModel, five of TFLite, three of ONNX
    whole = found["tflite int8-io"]
    assert {spec["dtype"] for spec in [*whole["inputs"], *whole["outputs"]]} == {"int8"}
    assert set(whole["steps"]) == {"image", "numbers", "score", "kind"}
    assert (exported / "report.md").read_text().startswith("# towers")


def test_more_precisions_are_added_to_the_same_folder(towers, tmp_path):
    export.export(towers, tmp_path / "towers", formats=["onnx"])
    manifest = export.export(towers, tmp_path / "towers", formats=["tflite"], precisions=["dynamic"])
    assert [artifact["path"] for artifact in manifest["artifacts"]] == [
        "towers.tflite",
        "towers_dynamic.tflite",
        "towers.onnx",
    ]


@pytest.mark.parametrize("name", ["transformer", "lstm", "siamese", "volume"])
def test_words_sequences_twins_and_volumes(name, tmp_path):
    """Whole numbers and booleans stay what they are, loops and shared layers come through."""
    model = foreign.moved(foreign.MODELS[name]())
    manifest = export.export(model, tmp_path / name, formats=ALL)
    assert [artifact["format"] for artifact in manifest["artifacts"]] == list(ALL)
    declared = {spec["name"]: spec["dtype"] for spec in manifest["signature"]["inputs"]}
    assert (
        declared
        == {
            "transformer": {"tokens": "int32", "padding_mask": "bool"},
            "lstm": {"measurements": "float32"},
            "siamese": {"left": "float32", "right": "float32"},
            "volume": {"slices": "float32"},
        }[name]
    )


def test_a_shared_layer_in_int8_and_a_map_of_scores_in_half_precision_reach_onnx(tmp_path):
    towers, scores = foreign.moved(foreign.siamese()), foreign.moved(foreign.unet())
    pairs = {name: np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype("float32") for name in ("left", "right")}
    export.export(towers, tmp_path / "towers", formats=["onnx"], precisions=["int8"], calibration=pairs)
    manifest = export.export(scores, tmp_path / "scores", formats=["onnx"], precisions=["float16"])
    assert [artifact["precision"] for artifact in manifest["artifacts"]] == ["float32", "float16"]


def test_half_precision_with_channels_first_is_refused_with_its_reason(tmp_path):
    with pytest.raises(export.ExportError, match="saved_model bfloat16: .* data_format='channels_last'") as refused:
        export.export(foreign.channels_first(), tmp_path, formats=["saved_model"], precisions=["bfloat16"])
    assert [artifact["precision"] for artifact in refused.value.manifest["artifacts"]] == ["float32"]


def test_bytes_stay_bytes_and_photos_are_scored(tmp_path):
    keras.utils.set_random_seed(0)
    for index, label in enumerate(("dark", "light")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (40, 30), (60 + 120 * index + i,) * 3).save(tmp_path / "photos" / label / f"{i}.png")
    photo = keras.Input((16, 16, 3), dtype="uint8", name="photo")
    bright = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(photo))
    model = keras.Model(photo, layers.Dense(2, activation="softmax")(bright), name="bytes")
    model.layers[-1].set_weights([np.array([[-9, 9]] * 3, np.float32), np.array([13.5, -13.5], np.float32)])
    manifest = export.export(
        model,
        tmp_path / "bytes",
        formats=ALL,
        precisions=["int8"],
        calibration=tmp_path / "photos",
        evaluate=tmp_path / "photos",
        labels=["dark", "light"],
        preprocessing="none",
    )
    assert {artifact["input"]["dtype"] for artifact in manifest["artifacts"]} == {"uint8"}
    assert {artifact["accuracy"]["top1"] for artifact in manifest["artifacts"]} == {1.0}
    assert (tmp_path / "bytes/labels.txt").read_text() == "dark\nlight\n"


def test_gelu_reaches_onnx(tmp_path):
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="gelu")(image))
    manifest = export.export(keras.Model(image, layers.Dense(3)(x), name="gelu"), tmp_path / "gelu", formats=["onnx"])
    assert manifest["artifacts"][0]["parity"]["relative_error"] < 1e-5


def test_any_size_is_given_one(tmp_path):
    image = keras.Input((None, None, 3), name="photo")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(3)(x), name="open")
    with pytest.raises(RequestError, match="--input-size HxW"):
        export.export(model, tmp_path / "open", formats=["onnx"])
    manifest = export.export(model, tmp_path / "open", formats=["onnx"], input_size=(20, 24))
    assert manifest["signature"]["input"]["shape"] == (None, 20, 24, 3)
    with pytest.raises(RequestError, match="takes 12x12"):
        export.export(
            keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(1, 3)]), tmp_path / "x", input_size=(9, 9)
        )


def vector(name="vector", **options):
    numbers = keras.Input((4,), name="numbers")
    return keras.Model(numbers, layers.Dense(3, **options)(numbers), name=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": True, "calibration": {"numbers": np.ones((4, 4))}}, "cannot be compressed"),
        ({"include_preprocessing": True}, "--include-preprocessing is for networks that take one"),
        ({"preprocessing": "torch"}, "which photos and their preprocessing are not for"),
        ({"labels": ["a", "b"]}, "2 labels do not fit vector"),
        ({"calibration": np.ones((4, 5))}, r"have the shape \(4, 5\)"),
        ({"calibration": {"other": np.ones((4, 4))}}, "takes numbers: float32"),
        ({"calibration": {"numbers": np.full((4, 4), np.nan)}}, "hold NaN or infinity"),
        ({"precisions": ["int8"]}, "are needed to choose the steps of int8"),
    ],
)
def test_requests_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(RequestError, match=message):
        export.export(vector(), tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_int4_is_refused(tmp_path):
    test_requests_that_do_not_fit(
        tmp_path,
        {"precisions": ["int4"], "calibration": {"numbers": np.ones((4, 4))}},
        "int4 is for networks that take one",
    )


def test_models_that_cannot_be(tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    words = keras.Input((), dtype="string", name="words")
    cases = {
        "Own cannot be exported": Own(),
        "a str was given. A saved one is loaded with kerascnn.load_model": "mine.keras",
        "'words' of string, which no artifact can hold": keras.Model(words, layers.Identity()(words)),
        "only the batch may be open": keras.Model(x := keras.Input((None, 4)), layers.LSTM(2)(x)),
    }
    for message, model in cases.items():
        with pytest.raises(RequestError, match=message.replace("(", r"\(")):
            export.export(model, tmp_path / "out", formats=["onnx"])
    assert not list(tmp_path.iterdir())


def test_ranges_within_a_loop_are_refused_by_name(tmp_path):
    model = foreign.lstm()
    calibration = samples(network_of(model), None)
    with pytest.raises(ExportError, match="loop of lstm.* cannot be measured") as error:
        export.export(model, tmp_path / "out", formats=["tflite"], precisions=["int8"], calibration=calibration)
    assert [artifact["precision"] for artifact in error.value.manifest["artifacts"]] == ["float32"]


def test_a_single_float_image_takes_the_usual_way():
    assert not is_general(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(1, 3)]))
    assert is_general(vector())


def test_an_image_of_floats_is_calibrated_with_as_it_is(tmp_path):
    """An answer in a dictionary takes the general way; photos between 0 and 1 are no whole numbers there."""
    image = keras.Input((8, 8, 3), name="image")
    score = layers.Dense(2, activation="softmax")(layers.Flatten()(layers.Conv2D(4, 3)(image)))
    model = keras.Model(image, {"score": score}, name="named")
    random = np.random.default_rng(0)
    for place in range(20):
        (tmp_path / "photos" / str(place % 2)).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / str(place % 2) / f"{place}.png")
    photos = tmp_path / "photos"
    manifest = export.export(
        model, tmp_path / "out", formats=["onnx"], evaluate=photos, preprocessing="unit", labels=["0", "1"]
    )
    files = sorted(photos.rglob("*.png"))
    answers = model.predict(np.stack([np.asarray(Image.open(file)) for file in files]) / 255.0, verbose=0)["score"]
    right = np.mean([answer.argmax() == int(file.parent.name) for answer, file in zip(answers, files, strict=True)])
    rounded = np.round(np.stack([np.asarray(Image.open(file)) for file in files]) / 255.0)
    assert np.abs(model.predict(rounded, verbose=0)["score"] - answers).max() > 0.01
    assert manifest["evaluation"]["keras"]["top1"] == pytest.approx(right)
    (row,) = manifest["artifacts"]
    assert row["accuracy"]["top1"] == pytest.approx(right)


SPEC = TensorSpec("numbers", (None, 4), "float32")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": lambda found: {name: values[:, ::-1] for name, values in found.items()}}, "differs by"),
        ({"run": lambda found: {name: values * np.nan for name, values in found.items()}}, "has NaN or infinity"),
        ({"run": lambda found: {name: values[:, :2] for name, values in found.items()}}, "The shape of outputs"),
        ({"inputs": (replace(SPEC, dtype="float16"),)}, "The input numbers is float16"),
        ({"inputs": (replace(SPEC, name="other"),)}, "Its inputs are other"),
        ({"inputs": (replace(SPEC, shape=(None, 5)),)}, "has the shape"),
    ],
)
def test_a_wrong_artifact_is_caught(change, message):
    network = network_of(vector())
    tried = samples(network, None)

    def answer(given):
        return {name: np.asarray(values) for name, values in network.answer(given).items()}

    spoil = change.get("run", lambda found: found)
    runtime = NamedRuntime(change.get("inputs", network.inputs), network.outputs, lambda given: spoil(answer(given)))
    right = NamedRuntime(network.inputs, network.outputs, answer)
    assert compare(lambda: right, network, PRECISIONS["float32"], tried, answer(tried)).passed
    parity = compare(lambda: runtime, network, PRECISIONS["float32"], tried, answer(tried))
    assert not parity.passed
    assert message in parity.failures[0]
