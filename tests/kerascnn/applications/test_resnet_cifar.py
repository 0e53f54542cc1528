"""ResNet and plain networks for CIFAR: the shortcut without parameters, ten classes, and real trained weights."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import kerascnn
from kerascnn import applications, weights
from kerascnn.build_info import build_info
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.keras_graph import deep_graphs
from kerascnn.layers import ChannelPadding
from kerascnn.weights import WeightsError
from kerascnn.weights.naming import resnet_cifar
from tests.parity import seeding


def images(count=2, shape=(32, 32, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def has_layer(model, kind):
    return any(isinstance(layer, kind) for layer in model.layers)


@pytest.mark.parametrize("side", [32, 31])
def test_option_a_takes_every_second_pixel_between_zeros(side):
    """By akamaster's formula, x[:, :, ::2, ::2] with a quarter of the new channels of zeros on each side."""
    model = applications.resnet20_cifar(input_shape=(side, side, 3))
    for block, channels in (("conv3_block1", 32), ("conv4_block1", 64)):
        source = model.get_layer(f"{block}_1_conv_pad").input
        shortcut = model.get_layer(f"{block}_0_pad").output
        assert any(tensor is shortcut for tensor in model.get_layer(f"{block}_add").input)
        # below zero too: nothing may be lost where the pooling of one pixel is used outside a ReLU
        x = images(2, source.shape[1:])
        found = np.asarray(keras.Model(source, shortcut)(x))
        quarter = channels // 4
        np.testing.assert_array_equal(found, np.pad(x[:, ::2, ::2], [(0, 0), (0, 0), (0, 0), (quarter, quarter)]))


def test_the_forms_differ_in_their_shortcuts_alone():
    papers = applications.resnet20_cifar()
    projected = applications.resnet20_cifar(shortcut="B")
    plain = applications.plain20_cifar()
    assert has_layer(papers, ChannelPadding)
    assert not has_layer(projected, ChannelPadding)
    assert has_layer(projected, keras.layers.Add)
    assert not has_layer(plain, keras.layers.Add)
    names = [[layer.name for layer in model.layers if layer.weights] for model in (papers, projected, plain)]
    assert names[0] == names[2]
    extra = {f"conv{stage}_block1_0_{kind}" for stage in (3, 4) for kind in ("conv", "bn")}
    assert set(names[1]) - set(names[0]) == extra
    with pytest.raises(ValueError, match="'A', 'B'"):
        applications.resnet20_cifar(shortcut="C")


def test_a_plain_net_has_the_residual_ones_branches():
    """The same weights give the same maps up to the first sum, and other answers after it."""
    residual, plain = applications.resnet20_cifar(), applications.plain20_cifar()
    plain.set_weights(residual.get_weights())
    x = images()
    first = [keras.Model(m.input, m.get_layer("conv2_block1_2_bn").output)(x) for m in (residual, plain)]
    np.testing.assert_array_equal(*first)
    assert np.abs(np.asarray(residual(x)) - np.asarray(plain(x))).max() > 1e-3


def test_ten_classes_unless_asked_otherwise():
    assert applications.resnet20_cifar().output_shape == (None, 10)
    assert applications.resnet20_cifar(classes=100).output_shape == (None, 100)
    assert kerascnn.variant("resnet20_cifar").classes == len(CIFAR10_CLASSES) == 10
    assert kerascnn.variant("resnet50").classes == 1000


def test_saved_models_load_without_custom_objects(tmp_path):
    model = applications.resnet20_cifar()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images()), keras.saving.load_model(tmp_path / "model.keras")(images()))


def checkpoint(folder: Path, shortcut: str) -> Path:
    """Seeded weights in akamaster's naming, as his files hold them."""
    model = applications.resnet20_cifar(shortcut=shortcut)
    names = resnet_cifar.akamaster([layer.name for layer in model.layers if layer.weights])
    assert {
        "conv1_bn": "bn1",
        "conv4_block3_2_conv": "layer3.2.conv2",
        "predictions": "linear",
    }.items() <= names.items()
    state = seeding.state_dict(seeding.shapes(model, names))
    path = folder / f"{shortcut}.safetensors"
    save_file({f"module.{key}": value for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize(("own", "other", "reason"), [("A", "B", "missing"), ("B", "A", "unexpected")])
def test_akamasters_naming_tells_the_shortcut(own, other, reason, tmp_path):
    path = checkpoint(tmp_path, own)
    assert weights.load(applications.resnet20_cifar(shortcut=own), path).naming == "akamaster"
    with pytest.raises(WeightsError, match=f"4 .*layer2.0.shortcut|{reason}: .*layer2.0.shortcut"):
        applications.resnet20_cifar(shortcut=other, weights=str(path))


def test_a_plain_net_refuses_the_residual_nets_file(tmp_path):
    """Every key and shape would fit, and the answers would mean nothing."""
    with pytest.raises(WeightsError, match="no layer of the model 'plain20_cifar'"):
        applications.plain20_cifar(weights=str(checkpoint(tmp_path, "A")))


@pytest.fixture
def usual_recursion_limit():
    """Python's own, whatever models that were loaded in threads before have left."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield 1000
    sys.setrecursionlimit(before)


def test_deep_networks_build_and_the_recursion_limit_is_put_back(usual_recursion_limit):
    """Keras follows a graph with one call a layer, which Python stops at 1,000; ResNet-1202 has 4,200 in a row."""
    first = x = keras.Input((1,))
    for _ in range(usual_recursion_limit + 10):
        x = keras.layers.Identity()(x)
    with pytest.raises(RecursionError):
        keras.Model(first, x)
    with deep_graphs():
        assert keras.Model(first, x).output_shape == (None, 1)
    assert sys.getrecursionlimit() == usual_recursion_limit


@pytest.mark.data
def test_akamasters_checkpoint_reaches_its_accuracy(data: Path):
    """81.0 % on these JPEGs, as in torch (91.7 % on the lossless images)."""
    pytest.importorskip("torch", reason="reading a .th file needs torch")
    from PIL import Image

    model = applications.resnet20_cifar(weights=str(data / "resnet20_cifar10.th"))
    assert build_info(model).weights.full_name == "resnet20_cifar/akamaster"
    with zipfile.ZipFile(data / "cifar10_test_5000.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        x = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    labels = np.array([CIFAR10_CLASSES.index(name.split("/")[-2]) for name in names])
    scores = model.predict(kerascnn.preprocess_input(np.stack(x), model), batch_size=500, verbose=0)
    assert len(names) == 5000
    assert (scores.argmax(1) == labels).mean() == pytest.approx(0.810, abs=0.0005)
