"""ResNet v2, Wide ResNet, ResNeXt and DenseNet for CIFAR, and the plain ImageNet networks: what is special in each."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications
from kerascnn.keras_graph import producer
from kerascnn.layers import ChannelPadding
from kerascnn.registry import variants
from tests.networks import structure

FAMILIES = ("resnet_v2_cifar", "wide_resnet_cifar", "resnext_cifar", "densenet_cifar")
NETWORKS = [name for name, row in variants().items() if row.family in FAMILIES]


def images(count=2, shape=(32, 32, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def has(model, layer):
    return layer in {own.name for own in model.layers}


@pytest.mark.parametrize("name", ["resnet110_v2_cifar", "resnet164_v2_cifar"])
def test_the_first_activation_of_v2_is_before_the_split(name):
    model = structure(name)
    assert not has(model, "conv2_block1_preact_bn")
    activated = model.get_layer("conv1_relu").output
    assert model.get_layer("conv2_block1_1_conv").input is activated
    shortcut, _ = model.get_layer("conv2_block1_out").input
    projection = has(model, "conv2_block1_0_conv") and model.get_layer("conv2_block1_0_conv")
    assert (projection.input if projection else shortcut) is activated


def test_pytorchcvs_stem_of_v2_activates_the_branch_alone():
    model = structure("resnet110_v2_cifar", stem="pytorchcv")
    assert not has(model, "conv1_bn")
    shortcut, _ = model.get_layer("conv2_block1_out").input
    assert shortcut is model.get_layer("conv1_conv").output


def test_the_shortcuts_of_resnet110_v2():
    """A projection of the activated map, or zeros beside it, as fb.resnet.torch's models/preresnet.lua has them."""
    projected, padded = structure("resnet110_v2_cifar"), structure("resnet110_v2_cifar", shortcut="A")
    assert len(of(padded, ChannelPadding)) == 2
    assert padded.get_layer("conv3_block1_0_pool").input is padded.get_layer("conv3_block1_preact_relu").output
    assert not of(projected, ChannelPadding)
    assert projected.get_layer("conv3_block1_0_conv").input is projected.get_layer("conv3_block1_preact_relu").output


@pytest.mark.parametrize(("options", "expected"), [({}, [2, 1, 1]), ({"stride_in_1x1": False}, [1, 2, 1])])
def test_the_stride_of_v2_bottlenecks(options, expected):
    model = structure("resnet164_v2_cifar", **options)
    assert [model.get_layer(f"conv3_block1_{i}_conv").strides[0] for i in (1, 2, 3)] == expected
    assert not model.get_layer("conv3_block1_0_conv").use_bias


def test_depth_is_what_the_names_say():
    """Convolutions and the classifier without the projections; Wide ResNet counts those instead of the classifier."""
    for name, depth in (
        ("resnet110_v2_cifar", 110),
        ("resnet164_v2_cifar", 164),
        ("wide_resnet16_4_cifar", 16),
        ("resnext29_8x64d_cifar", 29),
        ("densenet40_k12_cifar", 40),
        ("densenet100_bc_k12_cifar", 100),
    ):
        names = [layer.name for layer in of(structure(name), keras.layers.Conv2D)]
        if name.startswith("wide"):
            assert len(names) == depth
        else:
            assert sum(not name.endswith("_0_conv") for name in names) + 1 == depth, name


def test_resnext_groups():
    model = structure("resnext29_8x64d_cifar")
    grouped = [model.get_layer(f"conv{stage}_block1_2_conv") for stage in (2, 3, 4)]
    assert [(layer.groups, layer.filters // 8) for layer in grouped] == [(8, 64), (8, 128), (8, 256)]


def test_compression_belongs_to_bc():
    plain, bc = structure("densenet40_k12_cifar"), structure("densenet100_bc_k12_cifar")
    assert [plain.get_layer(f"pool{i}_conv").output.shape[-1] for i in (2, 3)] == [160, 304]
    assert plain.get_layer("bn").output.shape[-1] == 448
    assert [bc.get_layer(f"pool{i}_conv").output.shape[-1] for i in (2, 3)] == [108, 150]


def test_plain_densenet_is_the_papers_formula():
    """No other package has it right: pytorchcv's compresses. Every layer takes all maps before it (equation 2)."""
    model = kerascnn.create_model("densenet40_k12_cifar", input_shape=(8, 8, 3), classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])

    def convolve(x, name):
        return np.asarray(keras.ops.conv(x, model.get_layer(name).kernel, padding="same"))

    def activate(x, name):
        scale, shift, mean, variance = model.get_layer(name).get_weights()
        return np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)

    image = images(2, (8, 8, 3))
    x = convolve(image, "conv1_conv")
    for block in (2, 3, 4):
        maps = [x]
        for i in range(1, 13):
            inputs = activate(np.concatenate(maps, axis=-1), f"conv{block}_block{i}_0_bn")
            maps.append(convolve(inputs, f"conv{block}_block{i}_1_conv"))
        x = np.concatenate(maps, axis=-1)
        if block < 4:
            x = convolve(activate(x, f"pool{block}_bn"), f"pool{block}_conv")
            x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    kernel, bias = model.get_layer("predictions").get_weights()
    expected = activate(x, "bn").mean(axis=(1, 2)) @ kernel + bias
    np.testing.assert_allclose(model(image), expected, atol=1e-4 * np.abs(expected).max())


def test_dropout_of_wide_resnet_is_between_the_convolutions():
    model, without = (kerascnn.create_model("wide_resnet16_4_cifar", dropout=rate) for rate in (0.3, 0.0))
    assert [layer.rate for layer in of(model, keras.layers.Dropout)] == [0.3] * 6
    assert model.get_layer("conv3_block2_dropout").input is model.get_layer("conv3_block2_1_relu").output
    assert model.get_layer("conv3_block2_2_conv").input is model.get_layer("conv3_block2_dropout").output
    same_without(model, without)


@pytest.mark.parametrize("name", ["densenet40_k12_cifar", "densenet100_bc_k12_cifar"])
def test_dropout_of_densenet_is_after_each_convolution_but_the_first(name):
    model = structure(name, dropout=0.2)
    dropped = {producer(layer.input).name for layer in of(model, keras.layers.Dropout)}
    assert dropped == {layer.name for layer in of(model, keras.layers.Conv2D)} - {"conv1_conv"}
    if name == "densenet40_k12_cifar":
        same_without(*(kerascnn.create_model(name, dropout=rate) for rate in (0.2, 0.0)))


def same_without(model, without):
    """Dropout changes neither the weights nor inference, but it does change training."""
    assert not of(without, keras.layers.Dropout)
    without.set_weights(model.get_weights())
    assert [weight.path for weight in model.weights] == [weight.path for weight in without.weights]
    x = images()
    np.testing.assert_array_equal(model(x), without(x))
    assert np.abs(np.asarray(model(x, training=True)) - np.asarray(without(x, training=True))).max() > 0


@pytest.mark.parametrize("dropout", [1, -0.1, "0.3", True, None])
@pytest.mark.parametrize("builder", [applications.wide_resnet16_4_cifar, applications.densenet40_k12_cifar])
def test_a_dropout_that_is_no_rate(builder, dropout):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        builder(dropout=dropout)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet110_v2_cifar", {"shortcut": "C"}, "'A', 'B'"),
        ("resnet110_v2_cifar", {"stem": "timm"}, "'paper', 'pytorchcv'"),
        ("resnet164_v2_cifar", {"stride_in_1x1": 1.5}, "True, False"),
        ("resnet18", {"shortcut": "C"}, "'A', 'B'"),
    ],
)
def test_wrong_choices(name, options, message):
    with pytest.raises(ValueError, match=message):
        kerascnn.create_model(name, **options)


def test_resnet18_without_projections_has_the_plain_networks_weights():
    plain = applications.plain18(input_shape=(64, 64, 3))
    zeros = applications.resnet18(input_shape=(64, 64, 3), shortcut="A")
    assert not of(plain, keras.layers.Add)
    assert len(of(zeros, keras.layers.Add)) == 8
    assert len(of(zeros, ChannelPadding)) == 3
    plain.set_weights(zeros.get_weights())
    assert [weight.path for weight in plain.weights] == [weight.path for weight in zeros.weights]
    x = images(2, (64, 64, 3))
    assert np.abs(np.asarray(plain(x)) - np.asarray(zeros(x))).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet110_v2_cifar", {}, {"conv1_bn": "features.stage1.unit1.body.conv1.bn"}),
        (
            "resnet110_v2_cifar",
            {"stem": "pytorchcv"},
            {"conv2_block1_preact_bn": "features.stage1.unit1.body.conv1.bn", "conv1_conv": "features.init_block"},
        ),
        ("resnet164_v2_cifar", {}, {"conv3_block1_0_conv": "features.stage2.unit1.identity_conv"}),
        ("wide_resnet16_4_cifar", {}, {"conv4_block2_1_bn": "features.stage3.unit2.body.conv2.bn"}),
        ("resnext29_8x64d_cifar", {}, {"conv4_block1_0_bn": "features.stage3.unit1.identity_conv.bn"}),
        ("densenet100_bc_k12_cifar", {}, {"conv2_block1_0_bn": "features.stage1.unit1.conv1.bn"}),
    ],
)
def test_each_layer_has_a_name_of_its_own_in_pytorchcv(name, options, expected):
    mapping = importlib.import_module(f"kerascnn.weights.naming.{kerascnn.variant(name).family}")
    layers = [layer.name for layer in structure(name, **options).layers if layer.weights]
    names = mapping.pytorchcv(layers)
    assert set(names) == set(layers)
    assert len(set(names.values())) == len(layers)
    assert expected.items() <= names.items()
