"""Stochastic depth: which units are dropped, that these are not computed, and that inference knows nothing of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Unpack, get_type_hints

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications
from kerascnn.building.options import ResidualOptions
from kerascnn.factory import builders
from kerascnn.layers.stochastic_depth import StochasticDepth, StochasticDepthModel
from kerascnn.registry import variants
from tests import ROOT

# one of each kind of unit
KINDS = ("resnet20_cifar", "resnet50", "resnet18_v2", "seresnet18", "wide_resnet16_4_cifar")
NEVER = 1e-6  # a survival probability

# A unit that is left out of a step has no gradient in it, which Keras points out.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def images(count=4, side=32, seed=0):
    return np.random.default_rng(seed).normal(size=(count, side, side, 3)).astype("float32")


def small(name, **options):
    side = max(variants()[name].min_size, 32)
    return kerascnn.create_model(name, input_shape=(side, side, 3), classes=5, **options)


def joins(model):
    return [layer for layer in model.layers if isinstance(layer, StochasticDepth)]


def residual():
    """Every variant whose builder takes `survival_probability`."""
    return {name for name, build in builders().items() if get_type_hints(build)["options"] == Unpack[ResidualOptions]}


def test_every_residual_family_has_it():
    families = {variants()[name].family for name in residual()}
    known = {"resnet", "resnet_v2", "resnext", "wide_resnet", "senet", "inception_resnet", "resnet_cifar"}
    assert known <= families
    assert not {"plain_cifar", "vgg", "densenet", "squeezenet"} & families


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in variants()]
)
def test_it_changes_no_weights_and_no_answers(name):
    if name not in residual():
        pytest.skip("not a residual network")
    plain = small(name, survival_probability=None)
    model = small(name, survival_probability=0.5)
    assert [layer.name for layer in model.layers] == [layer.name for layer in plain.layers]
    assert [(w.path, w.shape) for w in model.weights] == [(w.path, w.shape) for w in plain.weights]
    model.set_weights(plain.get_weights())
    x = images(1, model.input_shape[1])
    np.testing.assert_array_equal(model(x), plain(x))
    # What is not computed is all of each branch: every layer with weights but stem, projections, head and the
    # activation that a projection shares.
    conditional = {layer.name for branch in model._branches.values() for layer in branch}
    outside = [w.path for w in model.weights if w.path.rpartition("/")[0] not in conditional and "block" in w.path]
    assert len(model._branches) == len(joins(model)) > 0
    unit = [path for path in outside if "_0_" not in path and "preact" not in path and "mixed" not in path]
    assert not unit


def test_survival_falls_linearly_to_the_last_unit():
    found = [join.survival_probability for join in joins(applications.resnet20_cifar(survival_probability=0.1))]
    np.testing.assert_allclose(found, [1 - i / 9 * 0.9 for i in range(1, 10)])
    assert not joins(applications.resnet20_cifar(survival_probability=1.0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(({"survival_probability": value}, "above 0 and at most 1") for value in (0, -0.1, 1.5, "half", True)),
        ({"survival_mode": "sample"}, '"batch".*"row"'),
        ({"survival_scaling": "both"}, '"training" or at "inference"'),
    ],
    ids=str,
)
def test_wrong_options(options, says):
    with pytest.raises(ValueError, match=says):
        applications.resnet20_cifar(**{"survival_probability": 0.5, **options})


def test_networks_without_shortcuts_do_not_have_the_option():
    with pytest.raises(TypeError, match="no option 'survival_probability'"):
        applications.plain20_cifar(survival_probability=0.5)
    with pytest.raises(TypeError, match="survival_probability, survival_mode, survival_scaling"):
        applications.resnet20_cifar(survival=0.5)


@pytest.mark.parametrize("scaling", ["training", "inference"])
@pytest.mark.parametrize("mode", ["batch", "row"])
def test_one_unit_is_there_as_often_as_said(mode, scaling):
    layer = StochasticDepth(0.3, mode, scaling, seed=1)
    shortcut, branch = np.full((8, 1, 1, 1), 10.0, "float32"), np.full((8, 1, 1, 1), 3.0, "float32")
    passes = np.concatenate([np.asarray(layer([shortcut, branch], training=True)) for _ in range(200)], axis=1)
    survivor = 10 + (3 / 0.3 if scaling == "training" else 3)
    np.testing.assert_allclose(np.unique(passes), [10, survivor], rtol=1e-6)
    assert (passes == passes[:1]).all() == (mode == "batch")
    inference = float(np.asarray(layer([shortcut, branch]))[0, 0, 0, 0])
    assert inference == pytest.approx(13 if scaling == "training" else 10.9)
    # 200 draws, or 1,600: the mean's standard error is (survivor - 10) * sqrt(0.21 / draws)
    draws = 200 if mode == "batch" else 1600
    assert passes.mean() == pytest.approx(inference, abs=4 * (survivor - 10) * np.sqrt(0.21 / draws))


@pytest.mark.parametrize("scaling", ["training", "inference"])
def test_the_mean_of_many_training_passes_is_the_inference_pass(scaling):
    """Exact where all between the sums is linear, because units are drawn independently; 8,192 passes in one batch."""
    x = first = keras.Input((1, 1, 4))
    for i in range(4):
        y = keras.layers.Conv2D(4, 1, kernel_initializer="he_normal")(x)
        x = StochasticDepth(1 - i / 6, "row", scaling)([x, y])
    model = keras.Model(first, x)
    image = np.random.default_rng(0).normal(size=(1, 1, 1, 4)).astype("float32")
    passes = np.asarray(model(np.repeat(image, 8192, axis=0), training=True))
    error = passes.mean(axis=0) - np.asarray(model(image))[0]
    assert (np.abs(error) <= 4.5 * passes.std(axis=0) / np.sqrt(8192)).all()
    assert (passes.std(axis=0) > 0.1).all()


def test_a_dropped_unit_is_left_out():
    """The network whose units never survive is its stem, shortcuts and head, and trains nothing else."""
    model = applications.resnet20_cifar(survival_probability=NEVER, input_shape=(8, 8, 3))
    last = joins(model)[-1]
    before = {w.path: np.array(w) for w in model.weights}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)  # quicker
    model.train_on_batch(images(side=8), np.arange(4))
    changed = {w.path.rpartition("/")[0] for w in model.weights if (np.array(w) != before[w.path]).any()}
    assert {"conv1_conv", "conv1_bn", "predictions"} <= changed
    last_branch = {layer.name for layer in model._branches[last] if layer.weights}
    assert len(last_branch) == 4
    assert not last_branch & changed


def equal_draws(model, masked, x, rounds=4):
    """Training outputs of the network that skips units, and of the same that computes and masks them."""
    generators = [join.seed_generator.state for join in joins(model)]
    for _ in range(rounds):
        weights = model.get_weights()
        states = [keras.ops.convert_to_numpy(state.value) for state in generators]
        skipped = keras.ops.convert_to_numpy(model(x, training=True))
        moved = model.get_weights()
        for state, old in zip(generators, states, strict=True):
            state.assign(old)
        model.set_weights(weights)
        computed = keras.ops.convert_to_numpy(masked(x, training=True))
        yield skipped, computed, weights, moved, model.get_weights()


def test_skipping_a_unit_gives_what_masking_it_gives():
    model = applications.resnet20_cifar(survival_probability=0.3)
    masked = keras.Model(model.input, model.output)
    assert type(masked) is not StochasticDepthModel
    kept = 0
    for skipped, computed, before, moved, both in equal_draws(model, masked, images()):
        np.testing.assert_allclose(skipped, computed, rtol=1e-5, atol=1e-6)
        for old, new, all_new in zip(before, moved, both, strict=True):
            same = np.array_equal(old, new)  # a unit that was left out keeps its statistics, as in the paper
            kept += same and not np.array_equal(old, all_new)
            assert same or np.allclose(new, all_new, rtol=1e-5, atol=1e-6)
    assert kept > 0


@pytest.mark.slow
def test_training_on_real_images_reaches_every_weight(data):
    x, y = cifar(data, 32)
    model = applications.resnet20_cifar(survival_probability=0.5)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy", run_eagerly=True)
    before = [np.array(weight) for weight in model.weights]
    losses = model.fit(x, y, batch_size=32, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    assert all((np.array(weight) != old).any() for weight, old in zip(model.weights, before, strict=True))


def cifar(data: Path, count: int):
    import io
    import zipfile

    from PIL import Image

    from kerascnn.data import CIFAR10_CLASSES

    with zipfile.ZipFile(data / "cifar10_test_5000.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        names = names[:: len(names) // count][:count]
        x = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    x = np.stack(x).astype("float32") / 127.5 - 1
    return x, np.array([CIFAR10_CLASSES.index(name.split("/")[-2]) for name in names])


def test_draws_follow_the_seed_and_survive_saving(tmp_path):
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        model = applications.resnet20_cifar(survival_probability=0.3)
        outputs.append([np.asarray(model(images(), training=True)) for _ in range(3)])
    np.testing.assert_array_equal(*outputs)
    assert any(not np.array_equal(outputs[0][0], other) for other in outputs[0][1:])

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) is StochasticDepthModel
    np.testing.assert_array_equal(loaded(images()), model(images()))
    clone = keras.models.clone_model(model)
    assert [join.get_config() for join in joins(clone)] == [join.get_config() for join in joins(model)]
    assert len(clone._branches) == 9


def test_mixed_precision_trains_and_keeps_its_weights_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = applications.resnet20_cifar(survival_probability=NEVER)
    finally:
        keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, weight.shape).astype("float32") for weight in model.weights])
    before = model.get_weights()
    model.trainable = False  # a frozen kernel must not come back rounded to float16
    model(images(), training=True)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    model.trainable = True
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images(), np.arange(4)))


@pytest.mark.slow
def test_other_forms_of_the_network_train():
    options = {"survival_probability": 0.5, "input_shape": (32, 32, 3)}
    features = applications.resnet20_cifar(features=True, **options)
    assert list(features(images(), training=True)) == ["stem", "stage1", "stage2", "stage3"]
    assert len(features._branches) == 9
    v2 = applications.resnet18_v2(features=["stage1", "stage3"], **options)
    assert [y.shape[-1] for y in v2(images(), training=True).values()] == [64, 256]
    tensor = keras.layers.Rescaling(2.0)(keras.Input((32, 32, 3)))
    behind = applications.resnet20_cifar(input_tensor=tensor, survival_probability=0.5)
    assert np.isfinite(np.asarray(behind(images(), training=True))).all()
    body = applications.resnet20_cifar(include_top=False, pooling="avg", **options)
    nested = keras.Sequential([body, keras.layers.Dense(3, activation="softmax")])
    nested.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert np.isfinite(nested.train_on_batch(images(), np.array([0, 1, 2, 0])))
    wide = small("wide_resnet16_4_cifar", dropout=0.3, survival_probability=0.5)  # random numbers under a condition
    wide.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    assert np.isfinite([wide.train_on_batch(images(), np.arange(4)) for _ in range(2)]).all()


def operators(model, folder):
    """The operators of each exported file of the model."""
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    from export.formats.onnx import write_onnx
    from export.formats.tflite import write_tflite
    from export.tracing.graph import trace

    traced = trace(model)
    write_onnx(traced, folder / "model.onnx")
    write_tflite(traced, folder / "model.tflite", "float32", None)
    frozen = sorted(node.op for node in traced.frozen.graph_def.node)
    files = sorted(node.op_type for node in onnx.load(folder / "model.onnx").graph.node)
    lite = sorted(op["op_name"] for op in Interpreter(str(folder / "model.tflite"))._get_ops_details())
    return frozen, files, lite


def test_exported_files_know_nothing_of_it(tmp_path):
    shape = {"input_shape": (8, 8, 3)}
    plain = operators(applications.resnet20_cifar(**shape), tmp_path)
    assert operators(applications.resnet20_cifar(survival_probability=0.5, **shape), tmp_path) == plain
    papers = applications.resnet20_cifar(survival_probability=0.5, survival_scaling="inference", **shape)
    paper = operators(papers, tmp_path)
    for found, without in zip(paper, plain, strict=True):  # one constant factor a unit is left, or is folded
        assert set(found) - set(without) <= {"Mul", "MUL"}
        assert len(found) - len(without) <= 2 * 9


def test_the_papers_network_averages_where_the_shape_changes():
    """ResidualDrop.lua: average pooling of 2x2 pixels, then zeros behind the channels."""
    model = applications.resnet110_stochastic_cifar()
    assert len(joins(model)) == 54
    assert sum(join.survival_probability for join in joins(model)) == pytest.approx(40.25)  # "about 40" (section 3)
    source = model.get_layer("conv3_block1_1_conv_pad").input
    x = images(2)[..., :1].repeat(16, -1) * np.arange(16, dtype="float32")
    found = np.asarray(keras.Model(source, model.get_layer("conv3_block1_0_pad").output)(x))
    means = x.reshape(2, 16, 2, 16, 2, 16).mean((2, 4))
    np.testing.assert_allclose(found, np.pad(means, [(0, 0), (0, 0), (0, 0), (0, 16)]), rtol=1e-5, atol=1e-6)
    odd = applications.resnet110_stochastic_cifar(input_shape=(31, 31, 3), survival_probability=None)
    assert odd.output_shape == (None, 10)
    assert not joins(odd)


OTHER_BACKEND = """
import sys, keras, numpy as np
from kerascnn import applications
from tests.kerascnn.layers.test_stochastic_depth import equal_draws, images
assert keras.backend.backend() == sys.argv[1]
keras.utils.set_random_seed(0)
model = applications.resnet20_cifar(survival_probability=0.3, input_shape=(8, 8, 3))
kept = 0
masked = keras.Model(model.input, model.output)
for skipped, computed, before, moved, both in equal_draws(model, masked, images(4, 8), 2):
    np.testing.assert_allclose(skipped, computed, rtol=1e-4, atol=1e-5)
    kept += sum(np.array_equal(a, b) and not np.array_equal(a, c) for a, b, c in zip(before, moved, both))
assert kept > 0
model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "sparse_categorical_crossentropy")
losses = model.fit(images(8, 8), np.arange(8), epochs=30, verbose=0).history["loss"]
assert np.isfinite(losses).all() and np.mean(losses[-5:]) < losses[0], losses
wide = applications.wide_resnet16_4_cifar(dropout=0.3, survival_probability=0.5, input_shape=(8, 8, 3))
wide.compile("sgd", "sparse_categorical_crossentropy")
assert np.isfinite(wide.fit(images(8, 8), np.arange(8), epochs=2, verbose=0).history["loss"]).all()
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_skip_units_too(backend):
    pytest.importorskip(backend)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    command = [sys.executable, "-c", OTHER_BACKEND, backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
