"""The same photo must become the same numbers as in keras.applications, torchvision and timm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import kerascnn
from kerascnn import weights
from kerascnn.photos.preprocessing import NORMALIZATIONS, Preprocessing, find_preprocessing
from kerascnn.training.networks import preprocessing_of

KERAS = {
    "vgg16": keras.applications.vgg16,
    "vgg19": keras.applications.vgg19,
    "resnet50": keras.applications.resnet,
    "resnet50_v2": keras.applications.resnet_v2,
    "densenet121": keras.applications.densenet,
    "inception_v3": keras.applications.inception_v3,
    "inception_resnet_v2": keras.applications.inception_resnet_v2,
}
SIZES = ((341, 257), (257, 341), (300, 300), (1000, 333), (227, 640), (256, 256))


def photo(width: int, height: int) -> Image.Image:
    """Smooth colours and sharp edges, all channels different."""
    y, x = np.mgrid[:height, :width]
    red = 127 + 120 * np.sin(x / 17) * np.cos(y / 23)
    green = 255 * ((x // 9 + y // 13) % 2)
    blue = 255 * x / width
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype("uint8"))


@pytest.mark.parametrize("name", [name for name in KERAS if name in kerascnn.list_models()])
def test_keras_applications(name: str) -> None:
    """Channel order, mean and scale are those that Keras's weights were trained with."""
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3)).astype("float32")
    expected = KERAS[name].preprocess_input(images.copy(), data_format="channels_last")
    np.testing.assert_allclose(kerascnn.preprocess_input(images, f"{name}/keras"), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.smoke
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_keras_load_img(interpolation: Any, tmp_path: Any) -> None:
    """Resizing the whole photo is what keras.utils.load_img does."""
    photo(341, 257).save(tmp_path / "photo.png")
    theirs = keras.utils.load_img(tmp_path / "photo.png", target_size=(99, 77), interpolation=interpolation)
    ours = replace(Preprocessing.named("caffe", (99, 77, 3)), interpolation=interpolation).load(photo(341, 257))
    expected = keras.applications.vgg16.preprocess_input(keras.utils.img_to_array(theirs), data_format="channels_last")
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_shorter_side_and_crop(size: tuple[int, int]) -> None:
    """The result has the crop's size for every shape of photo: a side one pixel short would fail in the network."""
    for record in weights.list_weights():
        preprocessing = find_preprocessing(record)
        assert preprocessing.load(photo(*size)).shape[:2] == preprocessing.crop, record.full_name


def test_every_record_says_how() -> None:
    """Each set of weights carries a preprocessing whose size its network takes."""
    for record in weights.list_weights():
        side = find_preprocessing(record).crop[0]
        assert side >= kerascnn.variant(record.variant).min_size


def test_gray_and_other_sizes() -> None:
    """One channel takes the average of the statistics; other sizes keep the proportion that is cropped away."""
    preprocessing = find_preprocessing("resnet50/torchvision_v1")
    gray = preprocessing.for_channels(1).load(photo(341, 257))
    assert gray.shape == (224, 224, 1)
    assert preprocessing.for_channels(3) is preprocessing
    assert preprocessing.for_size(448, 448).load(photo(900, 700)).shape == (448, 448, 3)


def test_unknown() -> None:
    """Names that are none list those there are."""
    with pytest.raises(ValueError, match="caffe"):
        Preprocessing.named("imagenet", (224, 224, 3))
    assert find_preprocessing("resnet50/imagenet") == find_preprocessing("resnet50/keras")
    with pytest.raises(ValueError, match="does not name one set"):
        kerascnn.preprocess_input(np.zeros((4, 4, 3)), "resnet50")
    assert "caffe" in NORMALIZATIONS


@pytest.mark.parity
@pytest.mark.parametrize("size", SIZES)
def test_torchvision(size: tuple[int, int]) -> None:
    """Every torchvision record gives what torchvision's own transform of those weights gives."""
    from tests.parity.comparing import torch_packages

    _, torchvision, _ = torch_packages()
    records = [record for record in weights.list_weights() if record.name.startswith("torchvision")]
    assert records
    for record in records:
        enum, _, member = record.source.rpartition(", ")[2].partition(".")
        transform = getattr(torchvision.models, enum)[member].transforms()
        expected = transform(photo(*size)).permute(1, 2, 0).numpy()
        if record.variant in ("googlenet_bn", "inception_v3"):  # their networks change the normalisation once more
            expected = (expected * np.float32([0.229, 0.224, 0.225]) + np.float32([0.485, 0.456, 0.406]) - 0.5) / 0.5
        np.testing.assert_allclose(
            find_preprocessing(record).load(photo(*size)), expected, atol=2e-6, err_msg=str(record)
        )


@pytest.mark.parity
@pytest.mark.parametrize("size", SIZES)
def test_timm(size: tuple[int, int]) -> None:
    """Every timm record gives what timm's own evaluation transform gives."""
    from tests.parity.comparing import torch_packages

    _, _, timm = torch_packages()
    records = [record for record in weights.list_weights() if record.name.startswith("timm")]
    assert records
    for record in records:
        name = record.source.partition(";")[0].rpartition(", ")[2]
        settings = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        expected = timm.data.create_transform(**settings)(photo(*size)).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(
            find_preprocessing(record).load(photo(*size)), expected, atol=2e-6, err_msg=str(record)
        )


def test_overfeat_wants_photos_as_its_authors_scaled_them():
    """overfeat-torch, run.lua, line 170; others of its time have ImageNet's values here: docs/fidelity.md."""

    def prepared(name, side, pixel):
        return list(preprocessing_of(name, side).normalize(np.full((1, 1, 3), pixel))[0, 0])

    for name, side in (("overfeat_fast", 231), ("overfeat_accurate", 221)):
        assert preprocessing_of(name, side).crop == (side, side)
        assert prepared(name, side, 118.381 + 61.897) == pytest.approx([1.0] * 3, abs=1e-4)
    for name, side in (("alexnet", 227), ("googlenet", 224), ("squeezenet", 227)):
        assert prepared(name, side, [123.675, 116.28, 103.53]) == pytest.approx([0.0] * 3, abs=1e-4)
