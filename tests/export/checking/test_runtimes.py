"""Artifacts are called as their users call them, logits come out of the artifact, and what is measured is true."""

import time

import keras
import numpy as np
import pytest
from keras import layers

from export.checking import latency as timing
from export.checking.accuracy import Accuracy, accuracy, evaluate
from export.checking.latency import measure_latency
from export.checking.parity import synthetic_images
from export.checking.runtimes import Runtime, TensorSpec, open_keras
from export.errors import ExportError
from export.files import size_of
from export.formats.onnx import write_onnx
from export.formats.precision import PRECISIONS
from export.formats.registry import FORMATS
from export.formats.saved_model import open_saved_model, write_saved_model
from export.formats.tflite import write_tflite
from export.formats.tflite_runtime import open_tflite
from export.job import LabeledPhotos
from export.tracing.graph import trace

SHAPE = (16, 16, 3)
CLASSES = 7


def network(head: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    if head == "pooled":  # SqueezeNet, NIN: the softmax is a layer of its own
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 1)(x))
        outputs = layers.Activation("softmax")(x)
    elif head == "softmax layer":
        outputs = layers.Softmax()(layers.Dense(CLASSES)(layers.Flatten()(x)))
    elif head == "dense":  # ResNet, VGG
        outputs = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    elif head == "convolution":  # OverFeat: fully convolutional, flattened at the very end
        outputs = layers.Flatten()(layers.Conv2D(CLASSES, 14, activation="softmax")(x))
    elif head == "nested":  # a network used as the last layer of another
        inner = keras.Input(x.shape[1:])
        dense = layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(inner))
        outputs = keras.Model(inner, dense)(x)
    elif head == "ensemble":  # an average of softmaxes has no logits
        x = layers.GlobalAveragePooling2D()(x)
        outputs = layers.Average()([layers.Dense(CLASSES, activation="softmax")(x) for _ in range(2)])
    else:
        outputs = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


WITH_SOFTMAX = ("pooled", "softmax layer", "dense", "convolution", "nested")


@pytest.fixture(scope="module", params=[*WITH_SOFTMAX, "ensemble", "none"])
def exported(request, tmp_path_factory):
    """A network with each kind of head, and its artifacts."""
    folder = tmp_path_factory.mktemp("artifacts")
    model = network(request.param)
    traced = trace(model)
    write_saved_model(traced, folder / "saved_model" / "1")
    write_onnx(traced, folder / "model.onnx")
    calibration = synthetic_images(SHAPE, 8, seed=5)
    for precision in ("float32", "float16", "dynamic", "int8", "int8-io"):
        write_tflite(traced, folder / f"{precision}.tflite", precision, calibration)
    return request.param, model, folder


ARTIFACTS = [
    ("saved_model", "saved_model/1", 1e-5),
    ("onnx", "model.onnx", 1e-5),
    ("tflite", "float32.tflite", 1e-5),
    ("tflite", "float16.tflite", 5e-3),
    ("tflite", "dynamic.tflite", 0.1),
    ("tflite", "int8.tflite", 0.1),
    ("tflite", "int8-io.tflite", 0.1),
]


@pytest.mark.parametrize(("format", "file", "tolerance"), ARTIFACTS)
def test_every_artifact_gives_the_networks_output_and_logits(exported, format, file, tolerance):
    """A tap at the wrong tensor, or a forgotten scale or zero point, would make every comparison meaningless."""
    head, model, folder = exported
    images = synthetic_images(SHAPE, 5)
    reference = open_keras(model).predict_with_logits(images)
    runtime = FORMATS[format].open(folder / file, threads=1)
    prediction = runtime.predict_with_logits(images)
    assert prediction.has_softmax == reference.has_softmax == (head in WITH_SOFTMAX)
    assert prediction.output.dtype == prediction.logits.dtype == np.float32
    assert prediction.output.shape == prediction.logits.shape == (5, CLASSES)
    np.testing.assert_allclose(prediction.logits, reference.logits, atol=tolerance * np.abs(reference.logits).max())
    np.testing.assert_array_equal(prediction.output, runtime.predict(images))
    if prediction.has_softmax:
        np.testing.assert_allclose(prediction.output, softmax(prediction.logits), atol=1e-6 + prediction.output_step)
    else:
        np.testing.assert_array_equal(prediction.output, prediction.logits)


@pytest.mark.parametrize(("format", "file", "tolerance"), ARTIFACTS)
def test_artifacts_declare_what_is_expected_of_them(exported, format, file, tolerance):
    _, _, folder = exported
    precision = file.removesuffix(".tflite") if format == "tflite" else "float32"
    source, target = TensorSpec("images", (None, *SHAPE), "float32"), TensorSpec("probabilities", (None, 7), "float32")
    runtime = FORMATS[format].open(folder / file)
    expected = FORMATS[format].specifications(PRECISIONS[precision], source, target)
    assert (runtime.input, runtime.output) == expected
    assert (
        runtime.output_step == pytest.approx(1 / 256) or "int8" not in precision or exported[0] in ("ensemble", "none")
    )
    assert (runtime.output_step > 0) == precision.startswith("int8")


def test_a_softmax_within_the_network_is_not_its_end(tmp_path):
    """Attention uses softmax too; only the last one separates logits from probabilities."""
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Dense(8, activation="softmax")(x)))
    traced = trace(model)
    write_onnx(traced, tmp_path / "m.onnx")
    write_tflite(traced, tmp_path / "m.tflite", "float32")
    write_saved_model(traced, tmp_path / "1")
    images = synthetic_images(SHAPE, 2)
    for runtime in (
        open_keras(model),
        FORMATS["onnx"].open(tmp_path / "m.onnx"),
        open_tflite(tmp_path / "m.tflite"),
        open_saved_model(tmp_path / "1"),
    ):
        assert not runtime.predict_with_logits(images).has_softmax


def test_the_keras_tap_leaves_the_model_alone():
    model = network("dense")
    before, names = model.get_weights(), [layer.name for layer in model.layers]
    open_keras(model).predict_with_logits(synthetic_images(SHAPE, 2))
    assert [layer.name for layer in model.layers] == names
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))


def test_the_tflite_file_is_not_touched(exported):
    _, _, folder = exported
    path = folder / "int8.tflite"
    before = path.read_bytes()
    open_tflite(path).predict_with_logits(synthetic_images(SHAPE, 2))
    assert path.read_bytes() == before


def test_images_of_another_size_are_refused_in_words(exported):
    _, model, folder = exported
    for runtime in (open_keras(model), open_tflite(folder / "float32.tflite")):
        with pytest.raises(ExportError, match="16x16x3"):
            runtime.predict(np.zeros((2, 8, 8, 3), np.float32))


def test_a_saved_model_without_the_serving_signature_is_refused(tmp_path):
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(ExportError, match="serving_default"):
        open_saved_model(tmp_path / "1")


def test_accuracy_counts_the_best_and_the_five_best():
    scores = np.array(
        [[0.5, 0.3, 0.1, 0.04, 0.03, 0.03], [0.1, 0.2, 0.3, 0.15, 0.16, 0.09], [0, 0.1, 0.2, 0.3, 0.4, 0.5]]
    )
    found = accuracy(scores, [0, 1, 0])
    assert (found.top1, found.top5, found.images) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 3)


def test_ties_and_nan_are_no_hits():
    """An int8 softmax may give all classes zero: a sort would then call class 0 right every time."""
    found = accuracy(np.zeros((4, 10)), [0, 0, 9, 5])
    assert (found.top1, found.top5) == (pytest.approx(0.1), pytest.approx(0.5))
    found = accuracy(np.full((4, 10), np.nan), [0, 0, 9, 5])
    assert (found.top1, found.top5) == (0.0, 0.0)


def test_evaluation_in_chunks_equals_evaluation_at_once(exported):
    _, model, _ = exported
    images, runtimes = synthetic_images(SHAPE, 10), {"keras": open_keras(model)}
    labels = runtimes["keras"].predict(images).argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % CLASSES
    names = tuple("abcdefghij")
    whole = LabeledPhotos(images, list(labels), names, 1)
    parts = [LabeledPhotos(images[i : i + 4], list(labels[i : i + 4]), names[i : i + 4], i // 8) for i in (0, 4, 8)]
    unreadable = LabeledPhotos(np.zeros((0, 1, 1, 1), np.float32), [], (), 3)
    assert evaluate(parts, runtimes) == evaluate([whole], runtimes)
    scores = evaluate([whole, unreadable], runtimes)
    assert (scores.skipped, scores.disagreements) == (4, {"photos": 0, "shown": []})
    assert scores.accuracies == {"keras": Accuracy(pytest.approx(0.7), scores.accuracies["keras"].top5, 10)}
    assert evaluate([unreadable], runtimes) is None


def test_latency_is_timed_one_image_at_a_time_after_warm_up():
    sizes = []
    spec = TensorSpec("images", (None, 2, 2, 1), "float32")
    runtime = Runtime(spec, spec, lambda batch: (sizes.append(len(batch)), batch)[1], lambda: None, threads=2)
    latency = measure_latency(runtime, np.zeros((2, 2, 1), np.float32), runs=5, warm_up=2)
    assert sizes == [1] * 7
    assert 0 < latency.median_ms <= latency.p90_ms
    assert (latency.runs, latency.threads) == (5, 2)


def test_the_size_of_a_saved_model_counts_its_variables(exported):
    _, _, folder = exported
    whole = size_of(folder / "saved_model")
    assert whole > size_of(folder / "saved_model/1/variables/variables.data-00000-of-00001") > 0
    assert whole > size_of(folder / "saved_model/1/saved_model.pb") > 0


def test_slow_artifacts_are_timed_for_about_a_second(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.05)
    runs = []
    timed = timing.time_runs(lambda: (runs.append(1), time.sleep(0.03)), None, runs=20, warm_up=3)
    assert len(runs) == timing.FEWEST
    assert timed.runs == timing.FEWEST - 1


@pytest.mark.parametrize(("off", "runs"), [(0.0, 1), (1e-3, 4)])
def test_a_copy_that_answers_otherwise_is_not_believed(off, runs):
    """The outputs of the copy stand for those of the file only where the two are seen to agree."""
    spec, asked = TensorSpec("images", (1, 2, 2, 1), "float32"), []

    def run(batch):
        asked.append(1)
        return batch.reshape(1, 4)

    runtime = Runtime(spec, spec, run, lambda: lambda batch: (batch.reshape(1, 4) + off, 2 * batch.reshape(1, 4)))
    images = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32)
    prediction = runtime.predict_with_logits(images)
    np.testing.assert_array_equal(prediction.output, images.reshape(3, 4))
    np.testing.assert_array_equal(prediction.logits, 2 * prediction.output)
    assert len(asked) == runs


def test_what_is_known_is_not_asked_again():
    spec, asked = TensorSpec("images", (None, 2), "float32"), []

    def run(batch):
        asked.append(len(batch))
        return batch

    images = np.random.default_rng(0).random((5, 2)).astype(np.float32)
    photos, runtimes = (
        LabeledPhotos(images, [0, 1, 1, 0, 1], tuple("abcde"), 0),
        {"keras": Runtime(spec, spec, run, None)},
    )
    whole = evaluate([photos], runtimes)
    known = {"keras": {name: images["abcde".index(name)] for name in "ace"}}
    assert evaluate([photos], runtimes, known=known) == whole
    assert asked == [5, 2]
    known["keras"] |= {"b": images[0], "d": images[0]}
    assert evaluate([photos], runtimes, known=known) != whole
    assert asked == [5, 2]
