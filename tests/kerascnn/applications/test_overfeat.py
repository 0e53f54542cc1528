"""OverFeat: the classifier on every window of an image, the pool's offsets, evaluation over scales, boxes.

Networks here have a sixteenth of the filters, and all of the geometry.
"""

import io
import itertools
import zipfile

import keras
import numpy as np
import pytest

from kerascnn import applications
from kerascnn.applications import overfeat
from kerascnn.building import blocks
from kerascnn.keras_graph import producer
from kerascnn.photos import detection

# name: (side of the window, stride of the windows, how many offsets the last pool has)
NETWORKS = {"overfeat_fast": (231, 32, 2), "overfeat_accurate": (221, 36, 3)}
# The paper's table of scales, input -> map before the last pool, and after the classifier at all offsets; from memory.
SCALES = {
    (245, 245): ((17, 17), (3, 3)),
    (281, 317): ((20, 23), (6, 9)),
    (317, 389): ((23, 29), (9, 15)),
    (389, 461): ((29, 35), (15, 21)),
    (461, 569): ((35, 44), (21, 30)),
}


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    """A sixteenth of the filters, and regressors of 16 times fewer units."""

    def convolution(x, filters, *arguments, **options):
        if filters >= 96:
            filters //= 16
        return blocks.conv(x, filters, *arguments, **options)

    monkeypatch.setattr(overfeat, "conv", convolution)
    monkeypatch.setattr(detection, "conv", convolution)


def build(name, seed=0, **options):
    """With biases that are not zero, so that padding is not the same as nothing there."""
    keras.utils.set_random_seed(seed)
    options = {"classes": 5, "classifier_activation": None, **options}
    return randomized(getattr(applications, name)(**options))


def randomized(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(random.normal(0, 0.1, weight.shape))
    return model


def like(model, weights_of):
    model.set_weights(weights_of.get_weights())
    return model


def images(*shape):
    return np.random.default_rng(1).uniform(-1, 1, shape).astype("float32")


def assert_close(found, expected, relative=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_one_window_gives_the_ordinary_answer(name):
    side = NETWORKS[name][0]
    ordinary = build(name)
    x = images(2, side, side, 3)
    expected = np.asarray(ordinary(x))
    for dense in (True, "fine"):
        found = np.asarray(like(build(name, dense=dense), ordinary)(x))
        assert found.shape == (2, 1, 1, 5)
        assert_close(found[:, 0, 0], expected)


@pytest.mark.parametrize("dense", [True, "fine"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_position_gives_the_answer_for_its_window(name, dense):
    """The padding of the 3x3 convolutions is the one thing that a window and an image around it do not share, so here
    those look at their middle alone; the next test is of all."""
    side, stride, offsets = NETWORKS[name]
    stride = stride if dense is True else stride // offsets
    ordinary = build(name)
    for layer in ordinary.layers:
        if getattr(layer, "padding", None) == "same":
            kernel = np.array(layer.kernel)
            kernel[[0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
            layer.kernel.assign(kernel)
    model = like(build(name, dense=dense, input_shape=(None, None, 3)), ordinary)
    x = images(1, side + 2 * stride + 5, side + 3 * stride, 3)
    scores = np.asarray(model(x))[0]
    assert scores.shape == (3, 4, 5)
    assert detection.sliding_windows(model) == detection.Windows(side, stride)
    corners = [(i, j, i * stride, j * stride) for i in range(3) for j in range(4)]
    crops = np.concatenate([x[:, top : top + side, left : left + side] for _, _, top, left in corners])
    for (i, j, _, _), expected in zip(corners, np.asarray(ordinary(crops)), strict=True):
        assert_close(scores[i, j], expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_position_sees_48_pixels_around_its_window(name):
    """What differs from the crop alone: three paddings of 16 pixels (four of 12) hold the surroundings, not zeros."""
    side, stride, _ = NETWORKS[name]
    model = build(name, dense=True, input_shape=(None, None, 3))
    x = images(1, side + 4 * stride, side + 4 * stride, 3)
    scores = np.asarray(model(x))[0]
    middle = scores[2, 2]
    changed = x.copy()
    begin, end = 2 * stride - 48, 2 * stride + side + 48
    changed[:, :begin] = changed[:, end:] = changed[:, :, :begin] = changed[:, :, end:] = 3
    assert_close(np.asarray(model(changed))[0, 2, 2], middle)
    changed[:, begin:] = 3
    assert np.abs(np.asarray(model(changed))[0, 2, 2] - middle).max() > 1e-3 * np.abs(middle).max()
    # and the classifier at each position is the ordinary one on that window of features
    cut = model.get_layer("pool5" if name == "overfeat_fast" else "pool6").output
    features = np.asarray(keras.Model(model.input, cut)(x))
    ordinary = like(build(name), model)
    flat = ordinary.get_layer(producer(cut).name).output
    head = keras.Model(flat, ordinary.output)
    window = flat.shape[1]
    for i, j in itertools.product(range(5), repeat=2):
        assert_close(np.asarray(head(features[:, i : i + window, j : j + window]))[0], scores[i, j])


@pytest.mark.parametrize("name", NETWORKS)
def test_fine_maps_are_the_pools_offsets_interleaved(name):
    """Section 3.3 step by step: pool from each offset, apply the classifier, put the answers between each other."""
    side, _, offsets = NETWORKS[name]
    coarse = build(name, dense=True, input_shape=(None, None, 3))
    pool = coarse.get_layer("pool5" if name == "overfeat_fast" else "pool6")
    unpooled = keras.Model(coarse.input, pool.input)
    head = keras.Model(pool.output, coarse.output)
    fine = like(build(name, dense="fine", input_shape=(None, None, 3)), coarse)
    x = images(1, side + 60, side + 100, 3)
    maps = np.asarray(unpooled(x))[0]
    found = np.asarray(fine(x))[0]
    expected = np.full_like(found, np.nan)
    for dy, dx in itertools.product(range(offsets), repeat=2):
        shifted = maps[dy:, dx:]
        rows, columns = (n // offsets for n in shifted.shape[:2])
        blocked = shifted[: rows * offsets, : columns * offsets].reshape(rows, offsets, columns, offsets, -1)
        answers = np.asarray(head(blocked.max(axis=(1, 3))[None]))[0]
        expected[dy::offsets, dx::offsets] = answers
    assert_close(found, expected)


@pytest.mark.parametrize("size", SCALES, ids=str)
def test_map_sizes_of_the_papers_scales(size):
    before, after = SCALES[size]
    model = applications.overfeat_accurate(dense="fine", input_shape=(*size, 3), classes=5)
    assert model.get_layer("conv6").output.shape[1:3] == before
    assert model.output_shape[1:3] == after


def test_map_sizes_of_the_authors_readme():
    for name, (side, stride, _) in NETWORKS.items():
        kernel, first, rest, window = (11, 4, 8, 6) if name == "overfeat_fast" else (7, 2, 18, 5)
        for extra in range(0, 3 * stride, stride):
            shape = getattr(applications, name)(dense=True, input_shape=(side + extra, side, 3), classes=5).output_shape
            assert shape == (None, ((side + extra - kernel) // first + 1) // rest - window, 1, 5)


def test_multi_scale_scores():
    model = build("overfeat_fast", dense="fine", input_shape=(None, None, 3), classifier_activation="softmax")
    scales = [images(2, 231, 231, 3), images(2, 250, 280, 3)]
    found = detection.multi_scale_scores(model, scales)
    maps = [np.asarray(model(x)) for x in (scales[0], scales[0][:, :, ::-1], scales[1], scales[1][:, :, ::-1])]
    assert [m.shape[1:3] for m in maps] == [(1, 1), (1, 1), (2, 4), (2, 4)]
    np.testing.assert_allclose(maps[2].sum(axis=-1), 1, rtol=1e-5)
    expected = sum(m.reshape(2, -1, 5).max(axis=1) for m in maps) / 4
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(detection.multi_scale_scores(model, [x[:, :, ::-1] for x in scales]), found, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("per_class", [False, True])
def test_box_regressor_shares_the_features(name, per_class):
    side, stride, _ = NETWORKS[name]
    classifier = build(name)
    boxes = randomized(detection.box_regressor(classifier, per_class=per_class))
    edges = 20 if per_class else 4
    assert boxes.output_shape == (None, edges)
    units = {layer.name: layer.filters for layer in boxes.layers if layer.name.startswith("box_fc")}
    assert units == {"box_fc1": 4096 // 16, "box_fc2": 1024 // 16}
    shared = {layer.name for layer in boxes.layers} & {layer.name for layer in classifier.layers}
    assert boxes.get_layer("conv1") is classifier.get_layer("conv1")
    assert not any(layer.startswith("fc") for layer in shared)
    dense = like(build(name, dense=True, input_shape=(None, None, 3)), classifier)
    maps = like(detection.box_regressor(dense, per_class=per_class), boxes)
    x = images(1, side + stride, side, 3)
    assert maps(x).shape == (1, 2, 1, edges)
    assert_close(np.asarray(maps(x[:, :side]))[:, 0, 0], np.asarray(boxes(x[:, :side])))


def scene(**options):
    """Scores and boxes of a fast network: every box is the middle half of its window."""
    classifier = build("overfeat_fast", dense=True, input_shape=(None, None, 3), **options)
    boxes = detection.box_regressor(classifier)
    edges = boxes.get_layer("box_edges")
    edges.kernel.assign(np.zeros(edges.kernel.shape))
    edges.bias.assign([0.25, 0.25, 0.75, 0.75])
    return keras.Model(classifier.input, [classifier.output, boxes.output])


def test_detected_boxes_are_parts_of_the_image():
    model = scene(classifier_activation="softmax")
    assert detection.sliding_windows(model) == detection.Windows(231, 32)
    image = images(231, 263, 3)
    boxes, scores = detection.detect(model, [image], threshold=-1, top=2)  # nothing is merged
    assert boxes.shape == (2, 4)
    quarter = 231 / 4
    expected = [[(32 * i + quarter) / 263, 0.25, (32 * i + 3 * quarter) / 263, 0.75] for i in range(2)]
    np.testing.assert_allclose(sorted(boxes.tolist()), expected, rtol=1e-6)
    assert (np.count_nonzero(scores, axis=1) == 2).all()
    merged, sums = detection.detect(model, [image], threshold=0.8)
    np.testing.assert_allclose(merged, [np.mean(expected, axis=0)], rtol=1e-6)
    np.testing.assert_allclose(sums[0].sum(), 2, rtol=1e-5)


def test_detection_with_a_box_for_each_class():
    classifier = build("overfeat_fast", dense=True, classifier_activation="softmax")
    boxes = detection.box_regressor(classifier, per_class=True)
    edges = boxes.get_layer("box_edges")
    edges.kernel.assign(np.zeros(edges.kernel.shape))
    edges.bias.assign(np.repeat(np.arange(5) / 10, 4) + np.tile([0, 0, 0.1, 0.1], 5))
    model = keras.Model(classifier.input, [classifier.output, boxes.output])
    image = images(231, 231, 3)
    expected = np.asarray(model(image[None])[0])[0, 0, 0]
    found, scores = detection.detect(model, [image], top=3, threshold=-1)
    best = np.argsort(-expected)[:3]
    np.testing.assert_allclose(found[:, 0], best / 10, atol=1e-6)
    np.testing.assert_allclose(scores, np.eye(5)[best] * expected, rtol=1e-6)


def merged_slowly(boxes, scores, threshold):
    """Section 4.3, one pair after the other."""

    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    def match(a, b):
        shared = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
        apart = np.hypot((a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2)
        return apart / np.sqrt((area(a) + area(b)) / 2) + 1 - shared / (area(a) + area(b) - shared)

    items = list(zip(boxes, scores, strict=True))
    while len(items) > 1:
        (i, j) = min(itertools.combinations(range(len(items)), 2), key=lambda p: match(items[p[0]][0], items[p[1]][0]))
        if match(items[i][0], items[j][0]) > threshold:
            break
        (box, score), (other, more) = items[i], items.pop(j)
        items[i] = ((box + other) / 2, score + more)
    return sorted(items, key=lambda item: -item[1].max())


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.5])
def test_merging(threshold):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 1, (40, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0.2, 0.6, (40, 2))], axis=1)
    scores = random.uniform(0, 1, (40, 3))
    found = detection.merge_boxes(boxes, scores, threshold=threshold)
    expected = merged_slowly(boxes, scores, threshold)
    assert 1 < len(expected) < 40
    np.testing.assert_allclose(found[0], [box for box, _ in expected])
    np.testing.assert_allclose(found[1], [score for _, score in expected])
    np.testing.assert_allclose(found[1].sum(axis=0), scores.sum(axis=0))


def test_merging_adds_up_what_many_windows_saw():
    """Two objects: the one that three windows saw wins over the one with the single best score."""
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40], [21, 20, 41, 40], [20, 22, 40, 42]]
    scores = [[0.9, 0], [0, 0.4], [0, 0.5], [0, 0.3]]
    found, sums = detection.merge_boxes(boxes, scores)
    assert found.shape == (2, 4)
    np.testing.assert_allclose(sums, [[0, 1.2], [0.9, 0]])
    np.testing.assert_array_equal(found[1], boxes[0])
    assert detection.merge_boxes(np.zeros((0, 4)), np.zeros((0, 2)))[0].shape == (0, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_dense_model_loads(name, tmp_path):
    model = build(name, dense="fine", input_shape=(None, None, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images(1, 240, 260, 3)
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))
    assert detection.sliding_windows(loaded) == detection.sliding_windows(model)


ERRORS = {
    "dense": (lambda: applications.overfeat_fast(dense="coarse"), "dense must be one of False, True, 'fine'"),
    "no top": (lambda: applications.overfeat_fast(dense=True, include_top=False), "without one"),
    "small": (lambda: applications.overfeat_accurate(dense=True, input_shape=(220, 221, 3)), "220x221 is smaller"),
    "open": (lambda: applications.overfeat_fast(input_shape=(None, None, 3)), "needs a fixed input size"),
    "no map": (lambda: detection.multi_scale_scores(build("overfeat_fast"), [0]), "dense=True"),
    "no scale": (lambda: detection.multi_scale_scores(build("overfeat_fast", dense=True), []), "scales is empty"),
    "no boxes": (lambda: detection.detect(build("overfeat_fast", dense=True), [0]), "two outputs"),
    "regressor": (lambda: detection.box_regressor(applications.nin_cifar()), "has no layers fc6 to fc8"),
    "shapes": (lambda: detection.merge_boxes(np.zeros((3, 4)), np.zeros((2, 1))), "\\(3, 4\\) and \\(2, 1\\)"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    call, says = ERRORS[case]
    with pytest.raises(ValueError, match=says):
        call()


def photos(folder, side, count=4):
    from PIL import Image

    with zipfile.ZipFile(folder / "imagenet_sample_250.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))[:count]
        opened = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((side, side)) for name in names]
    return np.stack([np.asarray(image, "float32") for image in opened]) / 127.5 - 1


@pytest.mark.data
@pytest.mark.parametrize("name", ["overfeat_fast", pytest.param("overfeat_accurate", marks=pytest.mark.slow)])
def test_trains_on_photos(name, data):
    """Classes, then boxes on the same features, which stay as they are."""
    side = NETWORKS[name][0]
    x = photos(data, side)
    model = build(name, classes=4)
    before = [np.array(w) for w in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    history = model.fit(x, np.arange(4), epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.isfinite(np.asarray(weight)).all()
        assert (np.asarray(weight) != old).any(), weight.path
    boxes = detection.box_regressor(model)
    for layer in boxes.layers:
        layer.trainable = layer.name.startswith("box_")
    first = np.array(model.get_layer("conv1").kernel)
    boxes.compile(keras.optimizers.Adam(1e-4), "mse")
    targets = np.random.default_rng(0).uniform(0, 1, (4, 4))
    history = boxes.fit(x, targets, epochs=4, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    np.testing.assert_array_equal(first, np.asarray(model.get_layer("conv1").kernel))
