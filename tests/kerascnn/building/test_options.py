"""The options that every builder has, and what it says when they are wrong."""

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications

# One variant of each way to end a network: global pooling, a 1x1 convolution, flattening.
TYPICAL = ("resnet18", "squeezenet", "alexnet", "vgg11")
SMALLEST = {"vgg11": 64, "alexnet": 67}


def small(name):
    side = SMALLEST.get(name, 64)
    return (side, side, 3)


def images(shape, count=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


@pytest.mark.smoke
@pytest.mark.parametrize("name", TYPICAL)
def test_classes_and_activation(name):
    model = kerascnn.create_model(name, input_shape=small(name), classes=7)
    probabilities = np.asarray(model(images(small(name))))
    assert probabilities.shape == (2, 7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    logits = kerascnn.create_model(name, input_shape=small(name), classes=7, classifier_activation=None)
    assert abs(float(np.asarray(logits(images(small(name)))).sum(axis=1)[0]) - 1) > 1e-4


@pytest.mark.parametrize("name", TYPICAL)
@pytest.mark.parametrize(("pooling", "rank"), [(None, 4), ("avg", 2), ("max", 2)])
def test_without_top(name, pooling, rank):
    model = kerascnn.create_model(name, input_shape=small(name), include_top=False, pooling=pooling)
    assert len(model.output_shape) == rank
    assert not any("predictions" in layer.name for layer in model.layers)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet"])
def test_any_size_with_the_top_where_pooling_is_global(name):
    model = kerascnn.create_model(name, input_shape=(None, None, 3), classes=5)
    for shape in ((70, 93, 3), (64, 64, 3)):
        fixed = kerascnn.create_model(name, input_shape=shape, classes=5)
        fixed.set_weights(model.get_weights())
        x = images(shape)
        np.testing.assert_allclose(model(x), fixed(x), rtol=1e-4, atol=1e-6)


def test_input_tensor_keeps_the_layers_before_it():
    photo = keras.Input((80, 80, 3))
    x = keras.layers.Rescaling(1 / 255)(photo)
    model = applications.squeezenet(input_tensor=x, classes=4)
    assert model.input is photo
    assert "rescaling" in [layer.name.split("_")[0] for layer in model.layers]
    assert model(images((80, 80, 3))).shape == (2, 4)


def test_one_and_four_channels():
    for channels in (1, 4):
        model = applications.resnet18(input_shape=(32, 32, channels), classes=2)
        assert model(images((32, 32, channels))).shape == (2, 2)


def test_features_by_name():
    model = applications.resnet18(input_shape=(64, 64, 3), features=["stage2", "stage4"])
    assert {name: tensor.shape[1:] for name, tensor in model.output.items()} == {
        "stage2": (8, 8, 128),
        "stage4": (2, 2, 512),
    }


def test_saved_models_load_without_custom_objects(tmp_path):
    model = applications.alexnet(input_shape=(67, 67, 3), classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images((67, 67, 3))
    np.testing.assert_array_equal(model(x), loaded(x))


def test_mixed_precision_has_a_float32_head():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for name in TYPICAL:
            model = kerascnn.create_model(name, input_shape=small(name), classes=3)
            assert model.output.dtype == "float32"
            assert model.get_layer(index=2).compute_dtype == "float16"
    finally:
        keras.config.set_dtype_policy(before)


def test_the_data_format_of_keras_json_makes_no_difference():
    keras.config.set_image_data_format("channels_first")
    try:
        assert applications.squeezenet(input_shape=(64, 64, 3), classes=3).output_shape == (None, 3)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_complex_bypass_adds_around_every_fire():
    model = applications.squeezenet(bypass="complex")
    added = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert added == [f"fire{i}_add" for i in range(2, 10)]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"clases": 10}, TypeError, "Its options are: include_top"),
        ({"classes": 0}, ValueError, "at least 1"),
        ({"classes": 2.5}, ValueError, "whole number"),
        ({"pooling": "mean"}, ValueError, '"avg" or "max"'),
        ({"include_top": "no"}, ValueError, "True or False"),
        ({"bypass": "double"}, ValueError, "'simple', 'complex'"),
        ({"input_shape": (224, 224)}, ValueError, "height, width, channels"),
        ({"input_shape": (20, 224, 3)}, ValueError, "smallest that works is 21x21"),
        ({"features": ["stage9"]}, ValueError, "stem, stage1"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, ValueError, "keras.Input"),
        ({"weights": "imagenot"}, ValueError, "'imagenet'"),
        ({"weights": "missing/file.net"}, FileNotFoundError, "no weights file"),
        ({"weights": "imagenet", "classes": 10}, ValueError, "include_top=False"),
        ({"weights": "imagenet", "bypass": "simple"}, ValueError, "trained with bypass=None"),
        ({"weights": "imagenet", "conv10_padding": 0}, ValueError, "trained with conv10_padding=1"),
    ],
    ids=str,
)
def test_wrong_options(options, error, says):
    with pytest.raises(error, match=says):
        applications.squeezenet(**options)


def test_an_unknown_model_is_told_the_nearest_names():
    with pytest.raises(ValueError, match="resnet50"):
        kerascnn.create_model("resnet_50")


def test_a_flattening_head_needs_a_fixed_size():
    with pytest.raises(ValueError, match="include_top=False"):
        applications.vgg11(input_shape=(None, None, 3))


def test_list_models_takes_patterns():
    assert kerascnn.list_models("squeezenet*") == ["squeezenet", "squeezenet1_1", "squeezenet_cifar"]
    assert kerascnn.list_models("nothing*") == []
