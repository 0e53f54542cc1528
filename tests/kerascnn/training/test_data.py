"""Images are read as they are, in an order that depends on nothing but the seed; what cannot be used is said."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training.batches import Batches, Validation
from kerascnn.training.data import Images, LazyImages, open_data
from kerascnn.training.recipes import Augmentation

SIZE = Preprocessing.default((24, 24, 3))
GRAY = Preprocessing.default((28, 28, 1))
NONE = Augmentation()


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def test_a_folder_and_a_zip_are_the_same(photos):
    (train, test), (again, _) = (open_data(path, None, SIZE, NONE) for path in (photos, zipped(photos)))
    np.testing.assert_array_equal(train.pixels, again.pixels)
    assert train.pixels.shape == (36, 24, 24, 3)
    assert train.classes == again.classes == ("lying", "standing")
    assert (len(train), len(test)) == (36, 4)  # one of ten is held out
    assert sorted(test.labels) == [0, 0, 1, 1]


def test_train_and_test_folders_are_found(photos, tmp_path):
    parted = tmp_path / "parted"
    shutil.copytree(photos, parted / "train")
    for folder in photos.iterdir():
        (parted / "val" / folder.name).mkdir(parents=True)
        shutil.copy(min(folder.iterdir()), parted / "val" / folder.name)
    train, test = open_data(parted, None, SIZE, NONE)
    assert (len(train), len(test)) == (40, 2)


def test_folders_that_are_numbers_are_in_the_order_of_numbers(photos, tmp_path):
    for number in (2, 10):
        shutil.copytree(photos / "lying", tmp_path / "numbers" / str(number))
    assert open_data(tmp_path / "numbers", None, SIZE, NONE)[0].classes == ("2", "10")


@pytest.mark.parametrize("cut", [False, True])
def test_unreadable_images_are_left_out_and_counted(photos, cut):
    (photos / "lying" / "000.png").write_bytes(b"no image")
    whole = (photos / "lying" / "002.png").read_bytes()
    (photos / "lying" / "002.png").write_bytes(whole[: len(whole) // 2])
    train, _ = open_data(photos, None, SIZE, Augmentation(resize=(24, 30)) if cut else NONE)
    if cut:  # a file that is cut short shows when it is read, and its neighbour stands in
        assert isinstance(train, LazyImages)
        pixels, labels = train.batch(np.arange(len(train)), np.random.default_rng(0))
        assert pixels.shape == (len(train), 24, 24, 3)
        assert (labels == train.labels).all()
    assert {name for name, _ in train.skipped} == {"lying/000.png", "lying/002.png"}


def test_cuts_are_drawn_from_the_whole_photo(photos):
    """With the same numbers the same cut; with others another; without them the middle."""
    cuts = Augmentation(crop_area=(0.1, 0.5))
    train, _ = open_data(photos, None, SIZE, cuts)
    first = np.arange(1)
    one, same, other = (train.batch(first, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_array_equal(train.batch(first)[0], open_data(photos, None, SIZE, NONE)[0].batch(first)[0])


def test_mnists_file(digits):
    train, test = open_data(digits, None, GRAY, NONE)
    assert train.pixels.shape == (160, 28, 28, 1)
    assert (len(test), test.classes) == (40, ("0", "1", "2", "3"))
    np.testing.assert_array_equal(train.pixels[..., 0], np.load(digits)["x_train"])


def npz(path: Path, **changes) -> Path:
    arrays = {"x_train": np.zeros((8, 5, 5), np.uint8), "y_train": np.arange(8) % 2}
    arrays |= {"x_test": arrays["x_train"], "y_test": arrays["y_train"]} | changes
    np.savez(path / "some.npz", **{name: value for name, value in arrays.items() if value is not None})
    return path / "some.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": np.arange(8) % 2 * 7}, "out of range: there are 2 different ones, from 0 to 7"),
        ({"y_train": np.arange(8) % 2 - 1}, "out of range"),
        ({"y_train": np.zeros(8, int)}, "one class alone"),
        ({"y_train": np.zeros(7, int)}, "8 images in x_train, but 7 labels"),
        ({"y_test": np.arange(8)}, "those of the training set to 1"),
        ({"x_train": np.zeros((8, 5, 5))}, "must be uint8 images"),
        ({"x_test": None}, "lacks x_test"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        open_data(npz(tmp_path, **changes), None, GRAY, NONE)


def test_photos_that_cannot_be_used(photos, tmp_path):
    with pytest.raises(ValueError, match="There is no"):
        open_data(tmp_path / "nowhere", None, SIZE, NONE)
    with pytest.raises(ValueError, match=r"one class alone \(lying\)"):
        one = tmp_path / "one" / "lying"
        shutil.copytree(photos / "lying", one)
        open_data(one.parent, None, SIZE, NONE)
    with pytest.raises(ValueError, match="lies directly in"):
        open_data(one, None, SIZE, NONE)
    with pytest.raises(ValueError, match="'upright', which is not a class"):
        shutil.copytree(photos / "lying", tmp_path / "other" / "upright")
        open_data(photos, tmp_path / "other", SIZE, NONE)
    with pytest.raises(ValueError, match="holds no images"):
        with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
            archive.writestr("a/readme.txt", "nothing")
        open_data(tmp_path / "empty.zip", None, SIZE, NONE)
    with pytest.raises(ValueError, match="None of the 1 images"):
        (tmp_path / "bad" / "lying").mkdir(parents=True)
        (tmp_path / "bad" / "lying" / "a.png").write_bytes(b"no image")
        open_data(photos, tmp_path / "bad", SIZE, NONE)


def numbered(count: int) -> Images:
    return Images(np.arange(count, dtype=np.int32), tuple(map(str, range(count))), np.zeros((count, 1, 1, 1), np.uint8))


def test_an_epoch_has_each_image_once_and_an_order_of_its_own():
    batches = Batches(numbered(11), 5, seed=3)
    epochs = [np.concatenate([batches[2 * epoch + step][1] for step in range(2)]) for epoch in range(3)]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_run_can_begin_at_any_step():
    whole = Batches(numbered(11), 5, seed=3)
    later = Batches(numbered(11), 5, seed=3, first=3)
    np.testing.assert_array_equal(whole[4][1], later[1][1])
    assert (whole[0][1] != Batches(numbered(11), 5, seed=4)[0][1]).any()


def test_validation_has_every_image():
    batches = Validation(numbered(11), batch=4)
    assert np.concatenate([batches[i][1] for i in range(len(batches))]).tolist() == list(range(11))
