"""LeNet-5 of 1998 against its paper: the table of layers, what each odd layer computes, and what is exported of it."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from PIL import Image

import kerascnn
from kerascnn import applications
from kerascnn.analysis import count_connections, count_parameters
from kerascnn.applications.lenet import C3_TABLE
from kerascnn.build_info import build_info
from kerascnn.layers.lenet import (
    DistanceLoss,
    PartialConv2D,
    RadialBasis,
    TrainableSubsampling,
    class_codes,
    scaled_tanh,
)

RANDOM = np.random.default_rng(0)

# layer: shape, connections, trained parameters (section II.B)
TABLE = {
    "c1": ((28, 28, 6), 122_304, 156),
    "s2": ((14, 14, 6), 5_880, 12),
    "c3": ((10, 10, 16), 151_600, 1_516),
    "s4": ((5, 5, 16), 2_000, 32),
    "c5": ((1, 1, 120), 48_120, 48_120),
    "f6": ((84,), 10_164, 10_164),
    "predictions": ((10,), 840, 0),
}


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def test_the_papers_table():
    model = applications.lenet5_1998()
    connections = count_connections(model)
    found = {}
    print(f"{'layer':12} {'shape':>14} {'connections':>12} {'trained':>8}")
    for name, count in connections.items():
        layer = model.get_layer(name)
        trained = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)
        found[name] = (layer.output.shape[1:], count, trained)
        print(f"{name:12} {layer.output.shape[1:]!s:>14} {count:12,} {trained:8,}")
    assert found == TABLE
    assert sum(trained for _, _, trained in TABLE.values()) == 60_000
    assert count_parameters(model).fixed == 840
    # The total that is usually quoted is of all layers with the outputs, which the paper's text does not count one by
    # one: its six numbers add up to 340,068.
    units = sum(connections.values()) - connections["predictions"]
    print(f"C1 to F6: {units:,}; with the outputs: {sum(connections.values()):,}")
    assert units == 340_068
    assert sum(connections.values()) == 340_908


def test_table_1():
    """Every contiguous three and four, three fours that are not, and all six: each map of S2 is in ten of them."""
    assert [len(sources) for sources in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert len({frozenset(sources) for sources in C3_TABLE}) == 16
    assert [sum(i in sources for sources in C3_TABLE) for i in range(6)] == [10] * 6
    gaps = [{(b - a) % 6 for a, b in itertools.pairwise((*sources, sources[0]))} for sources in C3_TABLE[12:15]]
    assert gaps == [{1, 2}] * 3


def test_a_partial_convolution_sums_over_its_own_maps():
    """Written out map by map, and with a kernel that holds nothing else."""
    layer = PartialConv2D(C3_TABLE, 5)
    x = normal(2, 9, 8, 6)
    layer.build(x.shape)
    layer.bias.assign(normal(16))
    kernel = np.asarray(layer.kernel)
    assert kernel.shape == (5, 5, 60)
    expected = np.zeros((2, 5, 4, 16), "float32")
    pair = 0
    for output, sources in enumerate(C3_TABLE):
        expected[..., output] += np.asarray(layer.bias)[output]
        bound = 2.4 / (25 * len(sources))
        for source in sources:
            assert 0.5 * bound < np.abs(kernel[..., pair]).max() <= bound
            for i, j in itertools.product(range(5), repeat=2):
                expected[..., output] += x[:, i : i + 5, j : j + 4, source] * kernel[i, j, pair]
            pair += 1
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_only_connected_maps_matter():
    """The derivative of a map of C3 is zero for the maps of S2 that it does not see, and nowhere else."""
    import tensorflow as tf

    layer = PartialConv2D(C3_TABLE, 5, activation=scaled_tanh)
    x = tf.constant(normal(1, 5, 5, 6))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    jacobian = np.asarray(tape.jacobian(y, x))[0, 0, 0, :, 0]  # (16, 5, 5, 6)
    seen = [{int(i) for i in np.flatnonzero(np.abs(row).sum(axis=(0, 1)))} for row in jacobian]
    assert seen == [set(sources) for sources in C3_TABLE]


def test_trainable_subsampling():
    layer = TrainableSubsampling(activation=scaled_tanh)
    x = normal(2, 7, 6, 3)  # an odd side loses its last line
    layer.build(x.shape)
    layer.bias.assign(normal(3))
    sums = x[:, 0:6:2, 0::2] + x[:, 1:6:2, 0::2] + x[:, 0:6:2, 1::2] + x[:, 1:6:2, 1::2]
    expected = 1.7159 * np.tanh(2 / 3 * (sums * np.asarray(layer.coefficient) + np.asarray(layer.bias)))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape((None, None, 7, 3)) == (None, None, 3, 3)


def test_the_outputs_are_distances_to_the_bitmaps():
    model = applications.lenet5_1998(classifier_activation=None)
    f6 = keras.Model(model.input, model.get_layer("f6").output)
    x = normal(3, 32, 32, 1)
    states = np.asarray(f6(x))
    expected = ((states[:, None] - class_codes(10)) ** 2).sum(axis=-1)
    np.testing.assert_allclose(model(x), -expected, rtol=1e-5)
    # F6 showing a bitmap is the answer for certain, at distance zero
    outputs = RadialBasis(class_codes(10))(class_codes(10))
    np.testing.assert_array_equal(np.diag(outputs), 0)
    assert (np.asarray(keras.ops.softmax(outputs)).diagonal() > 0.99).all()


def test_the_bitmaps_are_ten_different_digits():
    codes = class_codes(10)
    assert codes.shape == (10, 84)
    assert set(codes.ravel()) == {-1, 1}
    different = [int((a != b).sum()) for a, b in itertools.combinations(codes, 2)]
    assert min(different) >= 7
    bitmaps = codes.reshape(10, 12, 7)
    assert (bitmaps[:, [0, 10, 11]] == -1).all()
    assert (bitmaps[[0, 8]] == bitmaps[[0, 8], :, ::-1]).all()  # 0 and 8 are symmetric, so no line is shifted


def test_other_numbers_of_classes_have_random_codes():
    codes = class_codes(26)
    assert codes.shape == (26, 84)
    assert set(codes.ravel()) == {-1, 1}
    np.testing.assert_array_equal(codes, class_codes(26))
    assert min(int((a != b).sum()) for a, b in itertools.combinations(codes, 2)) >= 20
    assert applications.lenet5_1998(classes=26).output_shape == (None, 26)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_the_papers_criteria(shape):
    distances = np.abs(30 * normal(4, 10))
    labels = np.array([3, 1, 4, 1])
    right = distances[range(4), labels]
    found = DistanceLoss()(labels.reshape(shape), -distances)
    np.testing.assert_allclose(found, right.mean(), rtol=1e-5)
    j = 5.0
    expected = (right + np.log(np.exp(-j) + np.exp(-distances).sum(axis=1))).mean()
    found = DistanceLoss(j)(labels.reshape(shape), -distances)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # without the additional class it would be the cross-entropy
    far = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, -distances)
    np.testing.assert_allclose(DistanceLoss(1e4)(labels, -distances), far, rtol=1e-5)
    assert DistanceLoss.from_config(DistanceLoss(j).get_config()).j == j


def test_scaled_tanh_is_one_at_one():
    np.testing.assert_allclose(scaled_tanh(np.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: applications.lenet5_1998(input_shape=(28, 28, 1)), "smallest that works is 32x32"),
        (lambda: applications.lenet5(input_shape=(None, None, 1)), "include_top=False"),
        (lambda: applications.lenet_caffe(input_shape=(15, 28, 1)), "smallest that works is 16x16"),
        (lambda: PartialConv2D([(0, 6)], 5).build((None, 9, 9, 6)), "from 0 to 5"),
        (lambda: PartialConv2D([(0,), (1, 1)], 5).build((None, 9, 9, 6)), "Output map 1"),
        (lambda: PartialConv2D([()], 5).build((None, 9, 9, 6)), "at least one"),
        (lambda: DistanceLoss(-1.0), "positive"),
        (lambda: count_connections(applications.lenet5(input_shape=(None, None, 1), include_top=False)), "fixed"),
    ],
    ids=["28", "open", "15", "map 6", "twice", "none", "j", "connections"],
)
def test_bad_options(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_larger_images_make_a_map_of_c5():
    """C5 is a convolution, which the paper says matters for larger images."""
    model = applications.lenet5_1998(input_shape=(None, None, 1), include_top=False)
    assert model(normal(1, 32, 48, 1)).shape == (1, 1, 5, 120)


@pytest.mark.parametrize(("name", "lowest", "highest"), [("lenet5_1998", -0.1, 1.175), ("ciresan_mlp", -1, 1)])
def test_digits_are_scaled_as_the_paper_says(name, lowest, highest):
    """And stand unchanged in a field that is larger than they are."""
    preprocessing = build_info(kerascnn.create_model(name)).preprocessing
    digit = np.zeros((28, 28), "uint8")
    digit[0, 0] = digit[27, 27] = digit[5, 9] = 255
    field = preprocessing.load(Image.fromarray(digit))
    assert field.shape == kerascnn.variant(name).input_shape
    before = (field.shape[0] - 28) // 2
    expected = np.full(field.shape[:2], lowest)
    expected[before : before + 28, before : before + 28][digit > 0] = highest
    np.testing.assert_allclose(field[..., 0], expected, atol=1e-6)
    colour = preprocessing.for_channels(3).load(Image.fromarray(digit))
    np.testing.assert_allclose(colour, np.repeat(field, 3, axis=-1))


def test_exported_graphs_hold_standard_operators(tmp_path):
    """Three ordinary convolutions with constant kernels, and one matrix for the outputs."""
    from collections import Counter

    import onnx
    import onnxruntime

    from export.formats.onnx import write_onnx
    from export.tracing.graph import trace

    model = applications.lenet5_1998(classifier_activation=None)
    for weight in model.trainable_weights:  # so large that every path shows in the outputs, as first weights do not
        weight.assign(normal(*weight.shape) / max(1, np.prod(weight.shape[:-1])) ** 0.5)
    write_onnx(trace(model), tmp_path / "model.onnx")
    x = normal(16, 32, 32, 1)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    expected = np.asarray(model(x))
    assert np.ptp(expected, axis=0).min() > 1
    np.testing.assert_allclose(session.run(None, {"images": x})[0], expected, rtol=1e-4)
    graph = onnx.load(tmp_path / "model.onnx").graph
    operators = Counter(node.op_type for node in graph.node)
    assert operators["Conv"] == 3
    assert operators["MatMul"] + operators["Gemm"] == 2
    assert operators["AveragePool"] == 2
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    kernels = [constants[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert kernels == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 16, 5, 5)]
