"""The numbers that the CNN-architecture lectures (CS231n 2017, EECS 498 2019/2022) print, out of our own networks.

Where a printed number is wrong or rounded, the test holds both, and says why they differ.
"""

import functools

import keras
import pytest
from keras import layers

from kerascnn.analysis import calculators, profile
from kerascnn.registry import variant
from tests.networks import structure


@functools.cache
def measured(name, shape=None):
    """The profile of a network, built once for all tests."""
    return profile(structure(name, **({"input_shape": shape} if shape else {})))


def kernels(name):
    """Shapes of a network's kernels, by layer."""
    layers = [call.operation for call in measured(name).graph.calls]
    return {layer.name: tuple(layer.kernel.shape) for layer in layers if hasattr(layer, "kernel")}


def test_alexnet_of_64_filters():
    table = measured("alexnet_owt", (227, 227, 3))
    conv1, pool1, flatten, fc6 = (table[name] for name in ("conv1", "pool1", "flatten", "fc6"))
    assert (conv1.output, conv1.elements, conv1.memory_kib) == ((56, 56, 64), 200_704, 784)
    assert (conv1.parameters, conv1.macs) == (23_296, 72_855_552)
    assert (pool1.output, pool1.elements, pool1.memory_kib) == ((27, 27, 64), 46_656, 182.25)
    assert (pool1.parameters, pool1.macs, pool1.operations) == (0, 0, 419_904)
    assert (flatten.output, fc6.macs) == ((9_216,), 37_748_736)


def test_alexnet_of_2012():
    table = measured("alexnet")
    assert table["conv1"].output == (55, 55, 96)
    assert table["conv1"].parameters == 34_848 + 96 == 34_944
    assert table["pool1"].output == (27, 27, 96)
    assert table["pool5"].output == (6, 6, 256)  # the lectures number pools: their pool3 is ours after conv5
    assert table.parameters == 60_965_224
    assert round(table.parameters, -7) == 60_000_000  # "60M"


def test_alexnet_over_two_gpus():
    shapes = kernels("alexnet")
    filters = shapes["conv1"][-1]
    assert (*measured("alexnet")["conv1"].output[:2], filters // 2) == (55, 55, 48)
    seen = {name: shapes[name][2] for name in ("conv2", "conv3", "conv4", "conv5")}
    assert seen == {"conv2": 96 // 2, "conv3": 256, "conv4": 384 // 2, "conv5": 384 // 2}
    # The lecture lists conv1 among those that see half of the maps. Each GPU computes half of its filters, but every
    # one of them sees all three channels of the image.
    assert shapes["conv1"][2] == 3


def test_vgg16_layer_by_layer():
    table = measured("vgg16")
    first, second = table["block1_conv1"], table["block1_conv2"]
    assert first.elements == second.elements == 3_211_264  # "3.2M"
    assert (first.parameters - 64, second.parameters - 64) == (1_728, 36_864)
    assert table["fc1"].parameters - 4_096 == table["fc1"].macs == 102_760_448
    assert table.parameters == 138_357_544  # "138M"


def test_vgg16_memory_is_not_what_the_lecture_adds_up_to():
    table = measured("vgg16")
    image = 224 * 224 * 3
    elements = round(table.forward_kib * 256) + image
    # The lecture: "24M * 4 bytes ~= 96MB / image". Its own rows, the image and the outputs of the convolutions, pools
    # and fully connected layers, add up to 15.2 million elements, which are 61 MB (58 MiB).
    assert elements == 15_237_608
    assert round(elements * 4 / 1e6) == 61
    assert round(24e6 * 4 / 1e6) == 96


def test_stacks_of_small_kernels():
    for count, sees in ((2, 5), (3, 7)):
        x = image = keras.Input((32, 32, 16))
        for _ in range(count):
            x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
        table = profile(keras.Model(image, x))
        stack = calculators.stacked(count)
        assert table.layers[-1].field.size == (sees, sees) == (stack.receptive_field,) * 2
        assert table.parameters == stack.weights(16) == 9 * count * 16**2
        assert calculators.stacked(1, sees).weights(16) == sees**2 * 16**2
    assert (calculators.stacked(3).weights_per_c2, calculators.stacked(1, 7).weights_per_c2) == (27, 49)
    assert (calculators.stacked(2).weights_per_c2, calculators.stacked(1, 5).weights_per_c2) == (18, 25)


def test_vgg_rule():
    table = measured("vgg16")
    before, after = (table[name] for name in ("block2_conv2", "block3_conv2"))
    assert before.elements == 2 * after.elements
    assert after.parameters - 256 == 4 * (before.parameters - 128)
    assert before.macs == after.macs
    for row, cost in zip((before, after), calculators.vgg_rule(112, 112, 128), strict=True):
        assert (row.elements, row.macs) == (cost.outputs, cost.macs)


def inception(reduce=None):
    """The module of the lecture on 28x28x256: 128 1x1, 192 3x3, 96 5x5 and a pool."""
    image = keras.Input((28, 28, 256))

    def conv(x, filters, kernel):
        return layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)

    pool = layers.MaxPooling2D(3, 1, padding="same")(image)
    three, five = (conv(image, n, 1) for n in reduce[:2]) if reduce else (image, image)
    branches = [
        conv(image, 128, 1),
        conv(three, 192, 3),
        conv(five, 96, 5),
        conv(pool, reduce[2], 1) if reduce else pool,
    ]
    return profile(keras.Model(image, layers.Concatenate()(branches)))


def test_naive_inception_module():
    table, cost = inception(), calculators.inception_module(28, 28, 256, (128, 192, 96))
    assert table.layers[-1].output == (28, 28, 672)
    # "28x28x672 = 529k" in the lecture: it is 526,848, which rounds to 527 thousand.
    assert table.layers[-1].elements == cost.outputs == 526_848
    assert table.macs == cost.macs == 854_196_224


def test_inception_module_with_bottlenecks_is_cheaper_than_the_lecture_says():
    table, cost = (
        inception((64, 64, 64)),
        calculators.inception_module(28, 28, 256, (128, 192, 96), reduce=(64, 64, 64)),
    )
    assert table.layers[-1].output == (28, 28, 480)
    # The lecture lists six convolutions and prints "358M ops". The layers of its list add up to 271 M.
    listed = [28 * 28 * out * kernel**2 * inputs for out, kernel, inputs in SIX]
    assert table.macs == cost.macs == sum(listed) == 271_351_808


SIX = [(64, 1, 256), (64, 1, 256), (128, 1, 256), (192, 3, 64), (96, 5, 64), (64, 1, 256)]


def test_googlenet():
    table = measured("googlenet")
    depth = [0] * len(table.graph.shapes)  # layers with weights on the longest way to each tensor
    for call, row in zip(table.graph.calls, table.layers, strict=True):
        for output in call.outputs:
            depth[output] = max((depth[i] for i in call.inputs), default=0) + (row.parameters > 0)
    assert depth[table.graph.outputs[0]] == 22
    names = [row.name for row in table.layers]
    stem = table.layers[: names.index("pool2_3x3_s2") + 1]
    assert (stem[0].output[0], stem[-1].output[0]) == (224, 28)
    assert sum(row.kind == "Conv2D" for row in stem) == 3
    # The lecture: "5M parameters, 12x less than AlexNet". With the classifier they are 7.0 M, 8.7 times less; 5 M and
    # 12 times are what the paper says of the network, and 6.0 M is all but the classifier.
    assert table.parameters == 6_998_552
    assert table.parameters - table["predictions"].parameters == 5_973_552
    assert round(measured("alexnet").parameters / table.parameters, 1) == 8.7
    assert round(measured("alexnet").parameters / 5e6, 1) == 12.2


def test_residual_blocks():
    for name, prefix, block, multiple in (
        ("resnet34", "conv2_block2_", calculators.basic_block, 18),
        ("resnet50", "conv2_block2_", calculators.bottleneck_block, 17),
    ):
        macs = sum(row.macs for row in measured(name).layers if row.name.startswith(prefix))
        assert macs == multiple * 56 * 56 * 64**2 == block(56, 56, 64).macs


def test_cardinality():
    assert round(calculators.solve_cardinality(64, 4)) == 24
    assert round(calculators.solve_cardinality(64, 32)) == 4
    assert calculators.solve_cardinality(64, 1) == pytest.approx(64)
    macs = sum(row.macs for row in measured("resnext50_32x4d").layers if row.name.startswith("conv2_block2_"))
    assert macs == calculators.bottleneck_block(56, 56, 64, groups=32, width_of_group=4).macs
    # With the root itself the work would be equal; with the whole number it is 1 % more.
    assert round(macs / calculators.bottleneck_block(56, 56, 64).macs, 2) == 1.01


def test_squeezenet_against_alexnet():
    alexnet, squeezenet = measured("alexnet"), measured("squeezenet")
    # "50x fewer parameters" is the rounded 48.8.
    assert round(alexnet.parameters / squeezenet.parameters, 1) == 48.8
    # "510x smaller (0.5 MB)" is the paper's 240 MB over 0.47 MB. AlexNet is 244 MB, and the compressed file that the
    # authors published is larger: it has the size of the paper's 8-bit row (0.66 MB), the 0.47 MB are of 6 bits.
    assert round(alexnet.parameters * 4 / 1e6) == 244
    (published,) = [record for record in variant("squeezenet").weights if record.format == "deep_compression"]
    assert published.bytes == 675_763
    assert round(alexnet.parameters * 4 / published.bytes) == 361
    assert round(240 / 0.47) == 511


@pytest.mark.parametrize("bad", [lambda: calculators.solve_cardinality(0, 4), lambda: calculators.stacked(0)])
def test_calculators_refuse_what_is_no_block(bad):
    with pytest.raises(ValueError, match="must be positive; it is 0"):
        bad()
    with pytest.raises(ValueError, match="3 groups do not divide"):
        calculators.convolution(8, 8, 64, 64, groups=3)


def test_published_errors_are_at_hand_for_the_comparison():
    assert [(e.top1, e.top5) for e in variant("alexnet").errors] == [(42.9, 19.8)]
