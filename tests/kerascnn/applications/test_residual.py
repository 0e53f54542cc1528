"""What is special in the residual and dense families: where strides, groups, activations and padding are."""

import importlib

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications
from kerascnn.applications.senet import squeeze_excite
from tests.networks import structure

SHAPE = (64, 64, 3)


def build(name, **options):
    return structure(name, input_shape=SHAPE, include_top=False, **options)


def strides(model, unit):
    return [model.get_layer(f"{unit}_{i}_conv").strides[0] for i in (1, 2, 3)]


def filters(model, unit):
    return tuple(model.get_layer(f"{unit}_{i}_conv").filters for i in (1, 2, 3))


def has(model, layer):
    return layer in {own.name for own in model.layers}


@pytest.mark.parametrize("name", ["resnet50", "seresnet50"])
def test_the_papers_stride_is_on_the_1x1_and_the_options_on_the_3x3(name):
    assert strides(build(name), "conv3_block1") == [2, 1, 1]
    assert strides(build(name, stride_in_1x1=False), "conv3_block1") == [1, 2, 1]


@pytest.mark.parametrize(
    ("name", "widths", "groups"),
    [
        ("wide_resnet50_2", (256, 256, 512), 1),
        ("resnext50_32x4d", (256, 256, 512), 32),
        ("senet154", (256, 512, 512), 64),
    ],
)
def test_widths_and_groups_of_the_second_stage(name, widths, groups):
    """And the stride on the 3x3, as in the code of each of these papers."""
    model = build(name)
    assert filters(model, "conv3_block1") == widths
    assert [model.get_layer(f"conv3_block1_{i}_conv").groups for i in (1, 2, 3)] == [1, groups, 1]
    assert strides(model, "conv3_block1") == [1, 2, 1]


def test_senet154_projects_with_3x3_where_it_strides():
    model = build("senet154")
    kernels = [model.get_layer(f"conv{stage}_block1_0_conv").kernel_size[0] for stage in (2, 3, 4, 5)]
    assert kernels == [1, 3, 3, 3]


def test_squeeze_excite_is_the_papers_formula():
    x = keras.Input((5, 4, 32))
    model = keras.Model(x, squeeze_excite(x, "unit"))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    down, down_bias, up, up_bias = (weight.squeeze() for weight in model.get_weights())
    image = rng.normal(size=(2, 5, 4, 32)).astype("float32")
    hidden = np.maximum(image.mean(axis=(1, 2)) @ down + down_bias, 0)
    scale = 1 / (1 + np.exp(-(hidden @ up + up_bias)))
    np.testing.assert_allclose(model(image), image * scale[:, None, None], rtol=1e-4, atol=1e-5)


def test_the_relu_before_se_is_only_where_it_is_asked_for():
    assert not has(build("seresnet18"), "conv2_block1_2_relu")
    model = build("seresnet18", relu_before_se=True)
    assert model.get_layer("conv2_block1_se_pool").input is model.get_layer("conv2_block1_2_relu").output


def test_caffes_pool_starts_at_the_first_pixel_and_ends_beyond_the_last():
    """With Caffe's ceiling the map is as large as with padding, but every window is one pixel later."""
    position = np.arange(32.0)[None, :, None, None] * np.ones((1, 32, 32, 64))
    forms = [(name, {}, [2, 30, 31]) for name in ("resnet18", "resnet50", "plain18", "seresnet50")]
    forms += [(name, {"pool_padding": 1}, [1, 29, 31]) for name in ("resnet50", "seresnet50")]
    for name, options, last in [*forms, ("resnext50_32x4d", {}, [1, 29, 31])]:
        model = build(name, **options)
        pool = keras.Model(model.get_layer("conv1_relu").output, model.get_layer("pool1").output)
        rows = np.asarray(pool(position))[0, :, 0, 0]
        assert len(rows) == 16
        assert [rows[0], rows[14], rows[15]] == last


@pytest.mark.parametrize(
    ("stem", "after_conv1", "in_the_unit"),
    [("paper", True, False), ("timm", False, True), ("keras", False, True), ("pytorchcv", True, True)],
)
def test_the_first_activation_of_v2(stem, after_conv1, in_the_unit):
    model = build("resnet18_v2", stem=stem)
    assert has(model, "conv1_bn") == after_conv1
    assert has(model, "conv2_block1_preact_bn") == in_the_unit


@pytest.mark.parametrize(("stem", "edge"), [("timm", -1.0), ("keras", 0.0)])
@pytest.mark.parametrize("side", [31, 32])
def test_padding_wins_only_in_keras_pool(stem, edge, side):
    """Before an activation a map has negative values, among which padded zeros would be the largest."""
    model = structure("resnet18_v2", input_shape=(2 * side, 2 * side, 3), include_top=False, stem=stem)
    pool = keras.Model(model.get_layer("conv1_conv").output, model.get_layer("pool1").output)
    pooled = np.asarray(pool(-np.ones((1, side, side, 64))))[0, :, :, 0]
    assert pooled.shape == (16, 16)
    assert (pooled[0] == edge).all()
    assert (pooled[1:-1, 1:-1] == -1).all()


def test_paper_and_timm_stems_of_v2_agree_where_scales_are_positive():
    """Pooling and a rising activation can change places; the timm form is held against timm's by the parity table."""
    papers, timms = (
        applications.resnet50_v2(input_shape=SHAPE, include_top=False, stem=stem) for stem in ("paper", "timm")
    )
    rng = np.random.default_rng(0)
    for layer in papers.layers:
        if layer.weights:
            values = [rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in layer.get_weights()]
            layer.set_weights(values)
            timms.get_layer({"conv1_bn": "conv2_block1_preact_bn"}.get(layer.name, layer.name)).set_weights(values)
    image = rng.normal(size=(1, *SHAPE)).astype("float32")
    expected = np.asarray(timms(image))
    np.testing.assert_allclose(papers(image), expected, atol=1e-4 * np.abs(expected).max())


def test_v2_projects_the_activated_map_and_adds_the_sum_otherwise():
    model = build("resnet50_v2")
    assert model.get_layer("conv3_block1_0_conv").input is model.get_layer("conv3_block1_preact_relu").output
    shortcut, _ = model.get_layer("conv3_block2_out").input
    assert shortcut is model.get_layer("conv3_block1_out").output


def test_keras_form_of_v2():
    form = {"stem": "keras", "stride_in_last_unit": True, "conv_bias": True}
    model = applications.resnet50_v2(input_shape=SHAPE, include_top=False, **form)
    theirs = keras.applications.ResNet50V2(weights=None, include_top=False, input_shape=SHAPE)
    shapes = {layer.name: [w.shape for w in layer.weights] for layer in model.layers if layer.weights}
    assert shapes == {layer.name: [w.shape for w in layer.weights] for layer in theirs.layers if layer.weights}
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if layer.weights:
            values = [rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in layer.get_weights()]
            layer.set_weights(values)
            model.get_layer(layer.name).set_weights(values)
    image = rng.normal(size=(1, *SHAPE)).astype("float32")
    expected = np.asarray(theirs(image))
    np.testing.assert_allclose(model(image), expected, atol=1e-4 * np.abs(expected).max())


def test_dense_layers_join_all_maps_before_them():
    model = build("densenet121")
    channels = [model.get_layer(f"conv2_block{i}_concat").output.shape[-1] for i in range(1, 7)]
    assert channels == [96, 128, 160, 192, 224, 256]
    assert model.get_layer("pool2_conv").output.shape[-1] == 128  # compression by half


def test_vgg_c_is_vgg_d_with_three_1x1_convolutions():
    d, c = build("vgg16"), build("vgg16_c")
    assert [layer.name for layer in c.layers] == [layer.name for layer in d.layers]
    pointwise = [layer.name for layer in c.layers if getattr(layer, "kernel_size", None) == (1, 1)]
    assert pointwise == ["block3_conv3", "block4_conv3", "block5_conv3"]
    assert d.count_params() - c.count_params() == 8 * (256**2 + 2 * 512**2)
    fewer = 8 * ((256 * 56) ** 2 + (512 * 28) ** 2 + (512 * 14) ** 2)
    assert kerascnn.variant("vgg16").macs[224] - kerascnn.variant("vgg16_c").macs[224] == fewer


def test_vgg_a_lrn_is_vgg_a_with_one_normalization():
    plain, normalized = build("vgg11"), build("vgg11_lrn")
    names = [layer.name for layer in normalized.layers]
    assert names[names.index("block1_conv1") :][:3] == ["block1_conv1", "block1_norm", "block1_pool"]
    assert [name for name in names if name != "block1_norm"] == [layer.name for layer in plain.layers]
    config = normalized.get_layer("block1_norm").get_config()
    assert {key: config[key] for key in ("size", "alpha", "beta", "bias")} == {
        "size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 2.0
    }  # fmt: skip
    assert normalized.count_params() == plain.count_params()


def test_vgg_bn_keeps_the_biases():
    model = build("vgg11_bn")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(layer.use_bias and layer.activation is keras.activations.linear for layer in convolutions)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == len(convolutions) == 8


@pytest.mark.parametrize(
    ("name", "options", "naming", "expected"),
    [
        ("vgg16", {}, "torchvision", {"block5_conv3": "features.28"}),
        ("vgg16", {}, "timm", {"block2_conv1": "features.5"}),
        ("vgg11_bn", {}, "torchvision", {"block5_conv2": "features.25", "block5_bn2": "features.26"}),
        ("resnet18", {}, "torchvision", {"conv3_block1_0_bn": "layer2.0.downsample.1", "conv1_bn": "bn1"}),
        ("resnext50_32x4d", {}, "torchvision", {"conv5_block3_3_conv": "layer4.2.conv3"}),
        ("wide_resnet50_2", {}, "torchvision", {"conv2_block1_1_bn": "layer1.0.bn1"}),
        ("resnet50_v2", {"stem": "timm"}, "timm", {"conv2_block1_preact_bn": "stages.0.blocks.0.norm1"}),
        ("resnet18_v2", {"stem": "pytorchcv"}, "pytorchcv", {"conv1_bn": "features.init_block.bn"}),
        ("seresnet50", {}, "timm", {"conv2_block1_se_up": "layer1.0.se.fc2", "conv1_conv": "conv1"}),
        ("seresnet18", {}, "timm_legacy", {"conv2_block1_se_up": "layer1.0.se_module.fc2", "conv1_bn": "layer0.bn1"}),
        ("senet154", {}, "timm", {"conv1_3_conv": "conv1.6", "conv1_3_bn": "bn1"}),
        ("senet154", {}, "timm_legacy", {"conv1_3_conv": "layer0.conv3"}),
        ("densenet121", {}, "torchvision", {"conv2_block1_0_bn": "features.denseblock1.denselayer1.norm1"}),
        ("densenet121", {}, "torchvision_2017", {"conv2_block1_2_conv": "features.denseblock1.denselayer1.conv.2"}),
        ("densenet121", {}, "keras_applications", {"conv1_conv": "conv1/conv", "pool2_conv": "pool2_conv"}),
    ],
)
def test_each_layer_has_a_name_of_its_own_in_other_packages(name, options, naming, expected):
    module = importlib.import_module(f"kerascnn.weights.naming.{kerascnn.variant(name).family}")
    layers = [layer.name for layer in build(name, **options).layers if layer.weights] + ["predictions"]
    names = getattr(module, naming)(layers)
    assert set(names) == set(layers)
    assert len(set(names.values())) == len(layers)
    assert expected.items() <= names.items()
