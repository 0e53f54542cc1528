"""Ten crops, 144 crops and dense scales: the exact pixels, and the mean of the very answers."""

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from kerascnn import applications
from kerascnn.build_info import BuildInfo, set_build_info
from kerascnn.photos.crops import googlenet_crops, predict_crops, predict_scales, ten_crops
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.surgery.convolutional import fully_convolutional

READING = Preprocessing(40, (32, 32), "bilinear", "bgr", (100.0, 110.0, 120.0), (60.0,))


def photo(width, height, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def places(height, width):
    """An image whose pixels tell where they are."""
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)


def classifier(activation="softmax", size=(32, 32), seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((*size, 3))
    x = layers.Conv2D(8, 5, 3, activation="relu")(image)
    model = keras.Model(image, layers.Dense(4, activation)(layers.GlobalAveragePooling2D()(x)))
    set_build_info(model, BuildInfo(preprocessing=READING))
    return model


@pytest.mark.parametrize(("height", "width", "size"), [(9, 12, (4, 5)), (8, 8, (8, 8)), (256, 300, (227, 227))])
def test_ten_crops_by_position(height, width, size):
    crops = ten_crops(places(height, width), size)
    assert crops.shape == (10, *size, 2)
    bottom, right = height - size[0], width - size[1]
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
    for crop, mirrored, (top, left) in zip(crops[:5], crops[5:], corners, strict=True):
        np.testing.assert_array_equal(crop, places(*size) + np.array([top, left]))
        np.testing.assert_array_equal(mirrored[:, ::-1], crop)


@pytest.mark.parity
@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 340), (343, 258), (224, 224)])
def test_ten_crops_are_torchvisions(height, width):
    """Which mirrors the photo first and so has left and right in the other order (and another centre of odd widths)."""
    from tests.parity.comparing import torch_packages

    torch, torchvision, _ = torch_packages()
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    theirs = torchvision.transforms.functional.ten_crop(torch.from_numpy(image).permute(2, 0, 1), [224, 224])
    order = [0, 1, 2, 3, 4, 6, 5, 8, 7, 9]
    np.testing.assert_array_equal(ten_crops(image, 224), torch.stack(theirs)[order].permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(("width", "height", "size"), [(500, 333, 224), (300, 421, 224), (90, 90, 112)])
def test_googlenets_crops_as_its_paper_states_them(width, height, size):
    """Drawn by Pillow alone: 4 shorter sides, 3 squares along the longer one, 4 corners, centre and whole, mirrored."""
    picture = photo(width, height)
    found = googlenet_crops(picture, size)
    assert found.shape == (144, size, size, 3)
    expected = []
    for side in (256, 288, 320, 352):
        short = side * size // 224
        scaled = picture.resize((short * width // min(width, height), short * height // min(width, height)), 2)
        spare = max(scaled.size) - short
        for start in (0, round(spare / 2), spare):
            at = (start, 0) if width >= height else (0, start)
            square = scaled.crop((*at, at[0] + short, at[1] + short))
            far, middle = short - size, (short - size) // 2
            boxes = [(0, 0), (far, 0), (0, far), (far, far), (middle, middle)]
            views = [square.crop((x, y, x + size, y + size)) for x, y in boxes] + [square.resize((size, size), 2)]
            expected += views + [view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for view in views]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_mean_over_the_crops_of_each_photo(activation):
    model, softmax = classifier(activation), classifier()
    softmax.set_weights(model.get_weights())
    photos = [photo(50, 70), photo(80, 41, 1), photo(40, 40, 2)]
    pixels = [np.asarray(p.resize((40 * p.width // min(p.size), 40 * p.height // min(p.size)), 2)) for p in photos]
    views = {
        "centre": [READING.load(p)[None] for p in photos],
        "ten": [READING.normalize(ten_crops(p, 32)) for p in pixels],
        "144": [READING.normalize(googlenet_crops(p, 32)) for p in photos],
    }
    for crops, each in views.items():
        expected = [np.asarray(softmax(x)).mean(axis=0) for x in each]
        for batch_size in (1, 7, 25):
            np.testing.assert_allclose(predict_crops(model, photos, crops, batch_size=batch_size), expected, atol=1e-6)
        np.testing.assert_allclose(predict_crops(model, photos[1], crops), expected[1], atol=1e-6)
        np.testing.assert_allclose(predict_crops(model, np.asarray(photos[1]), crops), expected[1], atol=1e-6)


def test_ten_crops_need_a_margin_and_make_one():
    """Where the preprocessing squeezes the whole photo into the input, corners come from one 256/224 as large."""
    squeezing, model = Preprocessing((32, 32), None), classifier()
    pixels = np.asarray(photo(80, 41).resize((round(32 * 256 / 224) * 80 // 41, round(32 * 256 / 224)), 2))
    expected = np.asarray(model(ten_crops(pixels, 32).astype("float32"))).mean(axis=0)
    np.testing.assert_allclose(predict_crops(model, photo(80, 41), preprocessing=squeezing), expected, atol=1e-6)
    both = predict_crops(model, photo(80, 41), preprocessing=Preprocessing((32, 32), (32, 32)))
    np.testing.assert_array_equal(both, predict_crops(model, photo(80, 41), preprocessing=squeezing))


def test_an_ensemble_over_crops():
    members = [classifier(seed=1), classifier(seed=2)]
    model = applications.ensemble(members)
    expected = np.mean([predict_crops(one, photo(50, 70), "144") for one in members], axis=0)
    np.testing.assert_allclose(predict_crops(model, photo(50, 70), "144"), expected, atol=1e-6)


def test_whole_photos_at_several_sizes():
    model = classifier(size=(None, None))
    picture = photo(60, 40)
    views = [READING.normalize(np.asarray(picture.resize((side * 3 // 2, side), 2)))[None] for side in (32, 50)]
    straight = [np.asarray(model(x))[0] for x in views]
    mirrored = [np.asarray(model(x[:, :, ::-1]))[0] for x in views]
    np.testing.assert_allclose(predict_scales(model, picture, (32, 50)), np.mean(straight + mirrored, 0), atol=1e-6)
    found = predict_scales(model, [picture, picture], (32, 50), mirror=False)
    np.testing.assert_allclose(found, [np.mean(straight, axis=0)] * 2, atol=1e-6)


def test_fully_connected_layers_slide_as_convolutions():
    """VGG's dense evaluation: the same answer on its own size, the mean of the windows' scores on a larger."""
    model = applications.vgg11(input_shape=(64, 64, 3), classes=3)
    dense = fully_convolutional(model)
    assert dense.input_shape == (None, None, None, 3)
    assert dense.count_params() == model.count_params()
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(dense(x), model(x), atol=1e-5)
    assert predict_scales(dense, photo(70, 64), (64, 96)).shape == (3,)

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 2))
    y = layers.Flatten()(layers.AveragePooling2D(2)(image))
    y = layers.Activation("relu")(layers.Dropout(0.5)(layers.Dense(5)(y)))
    model = keras.Model(image, layers.Activation("softmax")(layers.Dense(3)(y)))
    larger = np.random.default_rng(1).normal(size=(1, 12, 10, 2)).astype("float32")
    windows = np.concatenate([larger[:, i : i + 8, j : j + 8] for i in (0, 2, 4) for j in (0, 2)])
    scores = np.asarray(keras.Model(image, model.layers[-2].output)(windows)).mean(axis=0)
    np.testing.assert_allclose(fully_convolutional(model)(larger)[0], keras.ops.softmax(scores), atol=1e-6)


BAD = {
    "do not fit into an image of 9x8": lambda: ten_crops(places(9, 8), 9),
    'must be "centre", "ten" or "144"': lambda: predict_crops(classifier(), photo(50, 50), "twelve"),
    "144 crops are square": lambda: predict_crops(classifier(size=(32, 40)), photo(50, 50), "144"),
    "no photos": lambda: predict_crops(classifier(), []),
    "is not known": lambda: predict_crops(keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten()]), photo(9, 9)),
    "takes 32x32 only": lambda: predict_scales(classifier(), photo(50, 50)),
    "at least one size": lambda: predict_scales(classifier(size=(None, None)), photo(50, 50), ()),
    "nothing to convert": lambda: fully_convolutional(classifier()),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_done_is_said(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
