"""Compression: what pruning, sharing and fine-tuning promise, the file beside the artifacts, and what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests import ROOT

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

import export  # noqa: E402
from export import RequestError  # noqa: E402
from export.compression import (  # noqa: E402  # noqa: E402
    PruningSchedule,
    Sensitivity,
    cluster,
    clustering,
    compress,
    copy,
    fine_tune,
    measure,
    networks,
    prune,
    sensitivity,
    state,
    sweep,
)
from export.compression.sequence import Reference, cluster_in_sequence  # noqa: E402
from export.quantization.calibration import check_photos  # noqa: E402
from export.request import Compression, Request  # noqa: E402
from kerascnn import create_model  # noqa: E402
from kerascnn.build_info import build_info  # noqa: E402
from kerascnn.weights import container  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers
SCHEMA = ROOT / "docs/manifest.schema.json"


def fires() -> keras.Model:
    """Convolutions of every kind that is compressed, two of which feed a Concatenate as in a Fire module."""
    keras.utils.set_random_seed(5)
    image = keras.Input((20, 20, 4))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    sides = [
        layers.Conv2D(16, k, padding="same", activation="relu", name=f"expand{k}", bias_initializer="uniform")(x)
        for k in (1, 3)
    ]
    x = layers.Concatenate()(sides)
    x = layers.Conv2D(16, 3, groups=4, activation="relu", dilation_rate=2, name="grouped")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Dense(5, name="odd_inputs")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5, activation="softmax", name="odd")(x), name="fires")


def smooth(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 20, 20, 4)).cumsum(axis=1).cumsum(axis=2).astype(np.float32) / 8


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {path: np.array(kernel) for path, kernel in networks.kernels(model).items()}


def divergence(model: keras.Model, other: keras.Model, images: np.ndarray) -> float:
    p, q = model.predict(images, verbose=0), other.predict(images, verbose=0)
    return float((p * np.log(p / q)).sum(axis=1).mean())


@pytest.mark.parametrize("whole", [False, True])
def test_pruning_takes_the_smallest_weights(whole: bool) -> None:
    model = fires()
    before = kernels(model)
    prune(model, 0.75, whole=whole)
    zeros = {path: float((kernel == 0).mean()) for path, kernel in kernels(model).items()}
    total = sum((kernel == 0).sum() for kernel in kernels(model).values()) / sum(k.size for k in before.values())
    assert total == pytest.approx(0.75, abs=0.01)
    assert whole or all(share == pytest.approx(0.75, abs=0.02) for share in zeros.values())
    for path, kernel in kernels(model).items():
        kept = kernel != 0
        assert (kernel[kept] == before[path][kept]).all()
        if kept.any() and not kept.all():
            assert np.abs(before[path][kept]).min() >= np.abs(before[path][~kept]).max()


def test_patterns_leave_what_hardware_expects() -> None:
    model = fires()
    prune(model, {"expand3": 0.5}, pattern="2:4")
    groups = kernels(model)["expand3/kernel"].reshape(3, 3, 4, 4, 16)
    assert ((groups != 0).sum(axis=3) == 2).all()
    prune(model, {"expand1": 0.5}, pattern="block")
    blocks = (kernels(model)["expand1/kernel"].reshape(1, 1, 4, 4, 16) != 0).sum(axis=3)
    assert set(np.unique(blocks)) == {0, 4}
    assert (blocks == 0).mean() == pytest.approx(0.5)


def test_training_follows_the_schedule_and_keeps_zeros() -> None:
    model = fires()
    x, y = smooth(64), np.arange(64) % 5
    model.compile("adam", "sparse_categorical_crossentropy")
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(state(model).sparsity))
    model.fit(
        x, y, batch_size=8, epochs=3, verbose=0, callbacks=[PruningSchedule(0.8, begin=4, end=16, every=4), watch]
    )
    assert seen[3] == 0
    assert np.diff(seen).min() >= -1e-9
    assert seen[16] == pytest.approx(0.8, abs=0.02)
    assert state(model).sparsity == pytest.approx(0.8, abs=0.02)


def test_fine_tuning_moves_towards_the_teacher_and_keeps_the_structure() -> None:
    teacher = fires()
    model = copy(teacher)
    prune(model, 0.6)
    cluster(model, {"stem": 3, "expand3": 2, "odd": 3})
    images, before, kept = smooth(64), kernels(model), kernels(model)
    start = divergence(teacher, model, images)
    fine_tune(model, images, teacher=teacher, steps=60, rate=3e-3)
    assert divergence(teacher, model, images) < 0.7 * start
    for path, kernel in kernels(model).items():
        assert ((kernel == 0) == (kept[path] == 0)).all()
        _, indices = np.unique(before[path], return_inverse=True)
        if len(np.unique(before[path])) <= 8:
            members = [np.unique(kernel.ravel()[indices.ravel() == i]) for i in range(indices.max() + 1)]
            assert all(len(values) == 1 for values in members)


@pytest.mark.slow
def test_fine_tuning_on_labels_is_the_same_every_time() -> None:
    found = []
    for _ in range(2):
        model = fires()
        cluster(model, 3)
        fine_tune(model, smooth(24), labels=np.arange(24) % 5, steps=6, rate=1e-2, batch=8, seed=3)
        found.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_the_expected_divergence_is_what_comes_out() -> None:
    """What the price is weighed against: the estimate must hold, for grouped and dilated layers too."""
    teacher, images = fires(), smooth(64)
    measured = measure(teacher, images)
    assert set(measured) == set(networks.kernels(teacher))
    for name in ("stem", "expand3", "grouped", "depthwise", "odd"):
        model = copy(teacher)
        kernel = model.get_layer(name).kernel
        noise = np.random.default_rng(0).normal(size=kernel.shape).astype(np.float32) * 0.03 * np.std(kernel)
        kernel.assign(np.array(kernel) + noise)
        expected = measured[f"{name}/kernel"].divergence(noise)
        assert expected / 2.5 < divergence(teacher, model, images) < expected * 2.5, name


def test_inputs_are_those_that_the_kernel_meets() -> None:
    """A layer's output is its inputs, as sampled for the moments, times its kernel."""
    model = fires()
    for name in ("stem", "grouped"):
        layer = model.get_layer(name)
        tap = keras.Model(model.inputs[0], [layer.input, layer.output])
        values, wanted = (np.array(value) for value in tap(smooth(1)))
        random = np.random.default_rng(0)
        places = random.integers(wanted.shape[1] * wanted.shape[2], size=50)
        rows = sensitivity.rows_of(values, layer, 50, np.random.default_rng(0))
        kernel = np.array(layer.kernel).reshape(rows.shape[2], rows.shape[0], -1)
        found = np.concatenate([rows[g] @ kernel[:, g] for g in range(len(rows))], axis=1) + np.array(layer.bias)
        assert np.allclose(np.maximum(found, 0), wanted.reshape(-1, wanted.shape[-1])[places], atol=1e-4), name


def test_making_up_for_errors_beats_the_nearest_value() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(2000, 8)) @ random.normal(size=(8, 72))  # strongly correlated
    moments = (inputs.T @ inputs / len(inputs)).astype(np.float32)[None]
    kernel = random.normal(size=(3, 3, 8, 32)).astype(np.float32) * (random.random((3, 3, 8, 32)) < 0.5)
    ours = clustering.share(kernel, 8, 0.0, Sensitivity(moments, 1.0))
    book = clustering._centers(kernel.reshape(72, 32), 8)
    nearest = book[np.abs(kernel[..., None] - book).argmin(axis=-1)]
    sensitive = Sensitivity(moments, 1.0)
    assert sensitive.divergence(kernel - ours) < 0.5 * sensitive.divergence(kernel - nearest)
    assert len(np.unique(ours)) <= 8
    assert (ours[kernel == 0] == 0).all()


def test_layers_make_up_for_what_came_before_them() -> None:
    """Sharing in order diverges less than sharing each layer on the original inputs, after pruning above all."""
    teacher, images, others = fires(), smooth(24), smooth(64, seed=1)
    measured = measure(teacher, images)
    found = []
    for in_order in (False, True):
        model = copy(teacher)
        prune(model, 0.5, whole=True, sensitivities=measured)
        zeros = {path: kernel == 0 for path, kernel in kernels(model).items()}
        if in_order:
            cluster_in_sequence(model, Reference(teacher, images, measured), 4, price=0.0)
        else:
            cluster(model, 4, sensitivities=measured)
        found.append(divergence(teacher, model, others))
        for path, kernel in kernels(model).items():
            assert (kernel[zeros[path]] == 0).all()
            assert len(np.unique(kernel)) <= 16
    assert found[1] < 0.7 * found[0]


def test_a_higher_price_makes_a_smaller_file() -> None:
    measured = measure(fires(), smooth(32))
    sizes = []
    for price in (1e-8, 1e-7, 1e-6):
        model = fires()
        cluster(model, 8, price=price, sensitivities=measured)
        sizes.append(state(model).bytes)
    assert sizes[0] > 1.1 * sizes[1] > 1.1 * 1.1 * sizes[2]


def test_the_steps_of_a_compression_to_a_size() -> None:
    model = create_model("lenet5", input_shape=(32, 32, 1), classes=4)
    images = np.random.default_rng(0).uniform(-1, 1, (16, 32, 32, 1)).astype(np.float32)
    before = state(model).bytes
    steps = compress(model, images, sparsity=0.5, target_bytes=16_000, tuning_steps=2)
    assert [step.name for step in steps] == ["prune", "cluster", "fine-tune"]
    assert steps[0].before.bytes == before
    assert steps[0].after.sparsity == pytest.approx(0.5, abs=0.001)
    assert 13_000 < steps[1].after.bytes <= 16_000
    assert steps[-1].after.bytes <= 16_000
    assert max(steps[-1].after.values.values()) <= 256


@pytest.fixture(scope="module")
def photos(tmp_path_factory: Any) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("photos") / "photos.zip"
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(20):
            file = path.with_suffix(".png")
            Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).resize((64, 64)).save(file)
            archive.write(file, f"{i % 4}/{i}.png")
    return path


def test_an_export_with_compression(tmp_path: Path, photos: Path) -> None:
    model = create_model("lenet5", input_shape=(32, 32, 1), classes=4)
    original = model.get_weights()
    target = tmp_path / "out"
    manifest = export.export(
        model,
        target,
        formats=["tflite"],
        calibration=photos,
        evaluate=photos,
        preprocessing="unit",
        compress=Compression(bits=5),
    )
    assert all(np.array_equal(a, b) for a, b in zip(original, model.get_weights(), strict=True))
    written = json.loads((target / "manifest.json").read_text())
    jsonschema.validate(written, json.loads(SCHEMA.read_text()))
    made = manifest["compression"]
    assert made["bytes"] == (target / made["path"]).stat().st_size
    assert made["path"] in written["files"]
    assert made["original"]["images"] == 20
    table = (target / "report.md").read_text()
    assert f"{made['bytes']:,} bytes" in table
    # Without pruning no sparse file is smaller, which is said and is no failure.
    assert {row["precision"] for row in made["left_out"]} == {"sparse-float16", "sparse-dynamic", "sparse-int8"}
    assert "Left out: tflite sparse-float16: A sparse file would be no smaller" in table
    # The artifact was made from what the coded file holds.
    again = create_model("lenet5", weights=target / made["path"])
    assert max(len(np.unique(kernel)) for kernel in kernels(again).values()) <= 32
    from export.formats.tflite_runtime import open_tflite

    images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    [file] = target.glob("*.tflite")
    assert np.allclose(open_tflite(file).predict(images), again.predict(images, verbose=0), atol=1e-4)


def dense_only() -> keras.Model:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(image)), name="dense_only")


def nested() -> keras.Model:
    image = keras.Input((20, 20, 4))
    return keras.Model(image, layers.Activation("softmax")(fires()(image)), name="nested")


def mixed() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, dtype="mixed_float16")(image))
    return keras.Model(image, layers.Softmax(dtype="float32")(x), name="mixed")


@pytest.mark.parametrize(
    ("build", "says"),
    [(dense_only, "no convolution"), (nested, "a model within it"), (mixed, "mixed|float16")],
)
def test_models_that_cannot_be_compressed(build: Any, says: str) -> None:
    model = build()
    with pytest.raises(RequestError, match=says):
        compress(model, np.zeros((20, *model.inputs[0].shape[1:]), np.float32))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda model: prune(model, 1.0), "0 to less than 1"),
        (lambda model: prune(model, -0.1), "0 to less than 1"),
        (lambda model: prune(model, float("nan")), "0 to less than 1"),
        (lambda model: prune(model, {"nothing": 0.5}), "no convolution or dense layer 'nothing'"),
        (lambda model: prune(model, 0.5, pattern="3:4"), "no pattern"),
        (
            lambda model: prune(model, {"stem": 0.5, "odd": 0.5}, pattern="2:4"),
            "odd has 5 inputs",
        ),
        (lambda model: cluster(model, 0), "1 to 8"),
        (lambda model: cluster(model, 9), "1 to 8"),
        (lambda model: cluster(model, {"nothing": 4}), "no convolution or dense layer 'nothing'"),
        (lambda model: fine_tune(model, smooth(4)), "teacher="),
        (lambda model: fine_tune(model, smooth(4), labels=[1]), "4 images but 1 labels"),
        (lambda model: compress(model, smooth(4)), "too few"),
    ],
)
def test_bad_requests_change_nothing(call: Any, says: str) -> None:
    model = fires()
    before = model.get_weights()
    with pytest.raises(RequestError, match=says):
        call(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(("options", "says"), [({"sparsity": 1.0}, "0 to less"), ({"bits": 9}, "1 to 8 bits")])
def test_a_plan_is_checked_before_tensorflow_starts(options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Request(formats=["tflite"], compression=Compression(**options))


def test_a_model_of_ones_own_is_refused_at_once(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(RequestError, match="not built by kerascnn"):
        export.export(fires(), tmp_path / "out", calibration=smooth(20), compress=True)


def test_photos_of_one_colour_are_pointed_out() -> None:
    plain = np.ones((20, 8, 8, 3), np.float32) * np.arange(20)[:, None, None, None]
    assert "20 of the 20" in (check_photos(plain) or "")
    assert check_photos(smooth(8)) is None


def test_a_sweep_writes_the_frontier(tmp_path: Path) -> None:
    model = fires()
    before = model.get_weights()
    rows = sweep(model, smooth(8), sparsities=(0.0, 0.5), bits=(2, 5), csv=tmp_path / "frontier.csv")
    assert len(rows) == 4
    assert (tmp_path / "frontier.csv").read_text().count("\n") == 5
    sizes = {(row.sparsity, row.bits): row.bytes for row in rows}
    assert sizes[0.0, 5] > sizes[0.0, 2] > sizes[0.5, 2]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("target", "most"), [(440_000, 0.01), (350_000, 0.07)])
def test_squeezenet_on_photos_it_was_not_compressed_on(
    data: Path, filled_cache: Path, target: int, most: float
) -> None:
    """The divergence on 125 other photos; a point of accuracy more or less is chance on so few."""
    from export.images import find_images, load_images

    model = create_model("squeezenet", weights="imagenet", input_shape=(227, 227, 3))
    source = find_images(data / "imagenet_sample_250.zip")
    images, others = (
        load_images(source, source.names[start::2], build_info(model).preprocessing).images for start in (0, 1)
    )
    original = copy(model)
    compress(model, images, target_bytes=target, tuning_steps=0)
    coded = len(container.encode(container.describe(model), container.arrays_of(model), demand_half=True))
    assert coded <= target
    assert divergence(original, model, others) < most
