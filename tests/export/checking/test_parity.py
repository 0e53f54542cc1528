"""The gate: healthy artifacts pass, each way of being broken is reported. The broken artifacts are real files."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from export.checking.parity import Demands, Parity, clear_margin, synthetic_images, verify
from export.checking.runtimes import Prediction, Runtime, TensorSpec, open_keras
from export.formats.format import Source
from export.formats.precision import PRECISIONS
from export.formats.registry import FORMATS
from export.formats.tflite import write_tflite
from export.tracing.graph import trace

SHAPE = (24, 24, 3)
CLASSES = 10
SOURCE = TensorSpec("images", (None, *SHAPE), "float32")
TARGET = TensorSpec("probabilities", (None, CLASSES), "float32")
IMAGES = synthetic_images(SHAPE, 12)


def network(classes: int = CLASSES, shape: tuple[int, int, int] = SHAPE, swapped: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input(shape)
    x = inputs[..., ::-1] if swapped else inputs
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Conv2D(classes, 1, kernel_initializer="he_normal")(x)
    return keras.Model(inputs, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


def write(model: keras.Model, format: str, precision: str, path: Path, **names: str) -> Path:
    traced = trace(model, **names)
    source = Source(traced, synthetic_images(traced.input_shape, 20, seed=9))
    FORMATS[format].write(source, path, FORMATS[format].precision(precision))
    return path


@pytest.fixture(scope="module")
def reference() -> Prediction:
    return open_keras(network()).predict_with_logits(IMAGES)


def check(path: Path, format: str, precision: str, reference: Prediction, **options) -> Parity:
    chosen = FORMATS[format].precision(precision)
    demands = replace(Demands(chosen, *FORMATS[format].specifications(chosen, SOURCE, TARGET)), **options)
    return verify(partial(FORMATS[format].open, path), reference, IMAGES, demands)[0]


ARTIFACTS = [
    *((format, "float32") for format in FORMATS),
    ("onnx", "float16"),
    *(("saved_model", precision) for precision in ("float16", "bfloat16")),
    *(("tflite", precision) for precision in ("float16", "dynamic", "int8", "int8-io", "int16x8")),
]
WHOLE = pytest.mark.parametrize(("format", "precision"), ARTIFACTS)
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)


@pytest.mark.smoke
@WHOLE
def test_healthy_artifacts_pass(tmp_path, reference, format, precision):
    parity = check(write(network(), format, precision, tmp_path / "a"), format, precision, reference, real_images=True)
    assert parity.passed, parity.failures
    assert parity.images == len(IMAGES)
    assert parity.sqnr_db > {"float32": 100, "float16": 50, "bfloat16": 30}.get(precision, 25)


@WHOLE
def test_swapped_channels_are_caught(tmp_path, reference, format, precision):
    """A BGR network fed with RGB still answers something plausible."""
    parity = check(write(network(swapped=True), format, precision, tmp_path / "a"), format, precision, reference)
    assert not parity.passed
    assert parity.sqnr_db < 20


@EVERY_FORMAT
def test_nan_in_the_weights_is_caught(tmp_path, reference, format):
    """In the layer that no ReLU follows: TensorFlow's fused convolution and ReLU makes a NaN 0."""
    model = network()
    kernel, bias = model.layers[3].get_weights()
    kernel[0, 0, 0, 0] = np.nan
    model.layers[3].set_weights([kernel, bias])
    parity = check(write(model, format, "float32", tmp_path / "a"), format, "float32", reference)
    assert not parity.passed
    assert "NaN" in parity.failures[0]


@EVERY_FORMAT
def test_a_wrong_number_of_classes_is_caught(tmp_path, reference, format):
    parity = check(write(network(classes=9), format, "float32", tmp_path / "a"), format, "float32", reference)
    assert not parity.passed
    assert any("9" in failure and "output's shape" in failure for failure in parity.failures)


@EVERY_FORMAT
def test_wrong_names_are_caught(tmp_path, reference, format):
    path = write(network(), format, "float32", tmp_path / "a", input_name="pictures", output_name="scores")
    parity = check(path, format, "float32", reference)
    assert parity.failures == (
        "The input's name is 'pictures'; 'images' was expected.",
        "The output's name is 'scores'; 'probabilities' was expected.",
    )


@EVERY_FORMAT
def test_a_wrong_image_size_is_caught(tmp_path, reference, format):
    parity = check(write(network(shape=(32, 32, 3)), format, "float32", tmp_path / "a"), format, "float32", reference)
    assert not parity.passed
    assert "input's shape" in parity.failures[0]


def test_a_float_interface_is_not_taken_for_int8(tmp_path, reference):
    path = write(network(), "tflite", "int8", tmp_path / "a")
    parity = check(path, "tflite", "int8-io", reference)
    assert "The input's dtype is 'float32'; 'int8' was expected." in parity.failures


def test_a_fixed_batch_is_not_taken_for_an_open_one(tmp_path, reference):
    path = write(network(), "tflite", "float32", tmp_path / "a")
    parity = check(path, "tflite", "float32", reference, input=SOURCE)
    assert not parity.passed


def test_a_tflite_without_its_weights_is_caught(tmp_path, reference):
    """Converting a function that was not frozen succeeds, and leaves the weights behind."""
    import tensorflow as tf

    model = network()
    function = tf.function(lambda images: {"probabilities": model(images, training=False)})
    concrete = function.get_concrete_function(tf.TensorSpec((1, *SHAPE), tf.float32, name="images"))
    path = tmp_path / "a.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert())
    parity = check(path, "tflite", "float32", reference)
    assert not parity.passed


def test_a_tflite_that_needs_xnnpack_switched_off_is_caught(tmp_path, reference):
    """Sparse encoding with dynamic quantisation converts, and then no application can load it as it comes."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = network()
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.9), 0, kernel), bias])
    reference = open_keras(model).predict_with_logits(IMAGES)
    folder = write(model, "saved_model", "float32", tmp_path / "1")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    path = tmp_path / "a.tflite"
    path.write_bytes(converter.convert())
    plain = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    plain.allocate_tensors()  # the file itself is sound
    parity = check(path, "tflite", "dynamic", reference)
    assert not parity.passed
    assert "could not be loaded" in parity.failures[-1]


def test_calibration_on_wrong_pixels_is_caught(tmp_path, reference):
    """Images scaled to a tenth of what the network gets: every activation saturates."""
    path = tmp_path / "a.tflite"
    write_tflite(trace(network()), path, "int8", synthetic_images(SHAPE, 20, seed=9) / 10)
    parity = check(path, "tflite", "int8", reference)
    assert not parity.passed
    assert "SQNR" in parity.failures[0]


def test_a_softmax_over_the_wrong_axis_is_caught(tmp_path, reference):
    """The logits are right then, and what the user gets is not."""
    import onnx

    path = write(network(), "onnx", "float32", tmp_path / "a.onnx")
    model = onnx.load(str(path))
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    del softmax.attribute[:]
    softmax.attribute.append(onnx.helper.make_attribute("axis", 0))
    onnx.save(model, str(path))
    parity = check(path, "onnx", "float32", reference)
    assert len(parity.failures) == 1
    assert "softmax of the artifact's own logits" in parity.failures[0]


def test_a_lost_softmax_is_caught(tmp_path, reference):
    model = network()
    path = write(keras.Model(model.inputs[0], model.layers[-1].input), "onnx", "float32", tmp_path / "a.onnx")
    parity = check(path, "onnx", "float32", reference)
    assert parity.failures == ("The model ends in a softmax and the artifact does not.",)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "almost whole", "noise", "another format"])
def test_damaged_files_are_reported(tmp_path, reference, format, damage):
    path = write(network(), format, "float32", tmp_path / "a")
    content = path.read_bytes()
    path.unlink()
    changed = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "almost whole": content[:-200],
        "noise": np.random.default_rng(0).bytes(len(content)),
        "another format": b"PK\x03\x04" + content,
    }
    if damage in changed:
        path.write_bytes(changed[damage])
    parity = check(path, format, "float32", reference)
    assert not parity.passed
    assert all(failure.endswith(".") or ":" in failure for failure in parity.failures)


@pytest.mark.parametrize("damage", ["graph", "variables", "missing"])
def test_damaged_saved_models_are_reported(tmp_path, reference, damage):
    folder = write(network(), "saved_model", "float32", tmp_path / "1")
    if damage == "missing":
        shutil.rmtree(folder)
    else:
        file = folder / "saved_model.pb" if damage == "graph" else folder / "variables/variables.data-00000-of-00001"
        file.write_bytes(file.read_bytes()[:-500])
    assert not check(folder, "saved_model", "float32", reference).passed


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_overwritten_weights_are_caught(tmp_path, reference, format):
    """A file that loads and runs, with one kernel's bytes lost on the way."""
    path = write(network(), format, "float32", tmp_path / "a")
    kernel = network().layers[-3].get_weights()[0]
    # Both formats store this 1 x 1 kernel as output channels by input channels.
    lost = np.ascontiguousarray(kernel[0, 0].T).tobytes()
    content = path.read_bytes()
    assert content.count(lost) == 1
    path.write_bytes(content.replace(lost, bytes(len(lost))))
    parity = check(path, format, "float32", reference)
    assert not parity.passed
    assert parity.relative_error > 0.1


def test_a_model_that_answers_nan_is_told_apart_from_a_bad_artifact(tmp_path, reference):
    path = write(network(), "onnx", "float32", tmp_path / "a")
    bad = Prediction(reference.output, np.full_like(reference.logits, np.nan))
    assert "Keras model itself" in check(path, "onnx", "float32", bad).failures[0]


def judged(ours: np.ndarray, theirs: np.ndarray, precision: str = "int8") -> Parity:
    """Verify a stand-in that answers `theirs` where the model answers `ours`; each image is its own row number."""
    spec = TensorSpec("images", (None, 1, 1, 1), "float32")
    images = np.arange(len(ours), dtype=np.float32).reshape(-1, 1, 1, 1)
    runtime = Runtime(spec, spec, lambda batch: theirs[batch[:, 0, 0, 0].astype(int)], lambda: None)
    reference = Prediction(ours, ours, has_softmax=False)
    return verify(lambda: runtime, reference, images, Demands(PRECISIONS[precision], spec, spec, real_images=True))[0]


def test_only_disagreements_beyond_the_noise_count():
    """Real int8 artifacts disagree on 5 to 9 % of photos, nearly all of them photos the model itself is torn about."""
    random = np.random.default_rng(0)
    ours = random.normal(size=(200, 50)).astype(np.float32)
    ours[:, 0] = ours[:, 2:].max(axis=1) + 4
    ours[:, 1] = ours[:, 0] - 2
    torn, sure = ours.copy(), ours.copy()
    torn[:20, 1] = ours[:20, 0] - 0.02
    theirs = torn.copy()
    theirs[:20, 1] += 0.05
    assert 0.05 < clear_margin(torn) < 2
    parity = judged(torn, theirs)
    assert parity.passed
    assert parity.top1_agreement == pytest.approx(0.9)
    assert parity.clear_agreement == 1.0
    assert parity.clear_images == 180

    theirs = sure.copy()
    theirs[:5, 1] = ours[:5, 0] + 0.1  # 2.5 % of the sure ones, in logits whose SQNR is fine
    parity = judged(sure, theirs)
    assert parity.sqnr_db > 25
    assert "differs on 5 of the 200 images that the model is sure of" in parity.failures[0]


def test_noise_cannot_widen_its_own_margin():
    """The margin is the reference's: an artifact that guesses is not excused by being noisy."""
    random = np.random.default_rng(0)
    ours = random.normal(size=(100, 50)).astype(np.float32)
    parity = judged(ours, random.normal(size=(100, 50)).astype(np.float32))
    assert len(parity.failures) == 2
    assert parity.clear_images > 50


def test_equal_numbers_give_a_finite_sqnr():
    """Infinity would end up in the manifest, where JSON has no word for it."""
    logits = np.ones((4, 3), np.float32)
    assert judged(logits, logits, "float32").sqnr_db == 200.0


def test_synthetic_images_are_like_photos_repeatable_and_within_range():
    images = synthetic_images((None, 32, 41, 3), 4, low=-120, high=130)
    assert images.shape == (4, 32, 41, 3)
    assert images.dtype == np.float32
    assert images.min() >= -120
    assert images.max() <= 130
    assert images.std(axis=(1, 2, 3)).min() > 40
    np.testing.assert_array_equal(images, synthetic_images((32, 41, 3), 4, low=-120, high=130))
    assert np.abs(np.diff(images, axis=2)).mean() < images.std() / 2  # neighbours belong together
    means = images.mean(axis=(1, 2))
    assert (np.diff(means, axis=1) > 10).all()  # the channels differ in level
    for shape in ((8, 8, 1), (1, 1, 3), (5, 1, 2)):
        assert np.isfinite(synthetic_images(shape, 2)).all()
