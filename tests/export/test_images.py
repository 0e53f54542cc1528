"""Reading photos: what is found, what is skipped, and which class a folder stands for."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.errors import RequestError
from export.images import find_images, labels_from_folders, load_images, spread


class Resize:
    """The smallest preprocessing: 4 x 4 pixels, as they are."""

    def load(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB").resize((4, 4)), np.float32)


def encoded(colour: tuple[int, int, int], format: str = "PNG", size: tuple[int, int] = (8, 8), **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format, **options)
    return buffer.getvalue()


FILES = {
    "dog/b.PNG": encoded((0, 0, 255)),
    "cat/deep/a.jpg": encoded((255, 0, 0), "JPEG"),
    "cat/notes.txt": b"no image",
    "__MACOSX/cat/deep/._a.jpg": b"resource fork",
    ".cache/c.png": encoded((1, 1, 1)),
}


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path: Path) -> Path:
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
        return tmp_path / "photos.zip"
    for name, content in FILES.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content)
    return tmp_path / "photos"


def test_a_folder_and_its_zip_give_the_same_photos(source):
    found = find_images(source)
    assert found.names == ("cat/deep/a.jpg", "dog/b.PNG")
    assert found.open("dog/b.PNG") == FILES["dog/b.PNG"]
    loaded = load_images(found, found.names, Resize())
    assert loaded.images.shape == (2, 4, 4, 3)
    assert loaded.images.dtype == np.float32
    assert loaded.images[1, 0, 0].tolist() == [0, 0, 255]
    assert loaded.names == found.names
    assert loaded.skipped == ()


def test_unusable_sources_are_refused_by_name(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        find_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no images"):
        find_images(tmp_path / "empty")
    (tmp_path / "fake.zip").write_bytes(b"PK, but not a zip")
    with pytest.raises(RequestError, match="neither a folder nor a zip"):
        find_images(tmp_path / "fake.zip")


def test_unreadable_photos_are_skipped_and_counted(tmp_path):
    """One truncated download must not end an export, nor be hidden."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    (tmp_path / "a_truncated.jpg").write_bytes(buffer.getvalue()[:1500])
    (tmp_path / "b_text.png").write_bytes(b"not an image")
    (tmp_path / "c_empty.png").write_bytes(b"")
    (tmp_path / "d_good.png").write_bytes(encoded((9, 9, 9)))
    source = find_images(tmp_path)
    loaded = load_images(source, source.names, Resize())
    assert loaded.names == ("d_good.png",)
    assert [name for name, _ in loaded.skipped] == ["a_truncated.jpg", "b_text.png", "c_empty.png"]
    assert all(reason for _, reason in loaded.skipped)
    with pytest.raises(RequestError, match="None of the 3 images"):
        load_images(source, source.names[:3], Resize())


def test_a_damaged_zip_member_is_skipped(tmp_path):
    content = bytearray()
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", encoded((1, 2, 3)))
        archive.writestr("b.png", encoded((4, 5, 6)))
    content[:] = (tmp_path / "photos.zip").read_bytes()
    content[50] ^= 0xFF  # within the first member's data: its checksum no longer fits
    (tmp_path / "photos.zip").write_bytes(content)
    source = find_images(tmp_path / "photos.zip")
    loaded = load_images(source, source.names, Resize())
    assert loaded.names == ("b.png",)


def test_a_bug_in_the_preprocessing_is_not_taken_for_a_bad_photo(source):
    class Broken:
        def load(self, image: Image.Image) -> np.ndarray:
            raise ValueError("a bug")

    found = find_images(source)
    with pytest.raises(ValueError, match="a bug"):
        load_images(found, found.names, Broken())


def test_photos_are_turned_upright(tmp_path):
    """A phone stores a portrait as a landscape and an orientation tag."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255  # bright left half; turned by 90 degrees, a bright top half
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = load_images(find_images(tmp_path), ["a.png"], Resize()).images[0]
    assert image[0].min() > 200
    assert image[3].max() < 50


def test_spread_covers_the_whole_list_without_repeats():
    names = [f"{index:03}" for index in range(100)]
    chosen = spread(names, 10)
    assert chosen == spread(names, 10)
    assert len(set(chosen)) == 10
    assert chosen[0] < "010"
    assert chosen[-1] >= "090"
    assert spread(names, 500) == names
    assert spread(names, 0) == []


def test_folders_are_names_wordnet_ids_or_indices():
    labels, wnids = ["tench", "Great White Shark", "hen"], ["n01440764", "n01484850", "n01514859"]
    names = ["great_white shark/a.jpg", "n01514859/x/b.jpg", "0/c.jpg", "HEN/d.jpg"]
    assert labels_from_folders(names, labels, wnids, 3) == [1, 2, 0, 2]
    assert labels_from_folders(["2/a.jpg"], None, None, 3) == [2]


@pytest.mark.parametrize(
    ("name", "message"),
    [("tenhc/a.jpg", "Nearest names: tench"), ("3/a.jpg", "index from 0 to 2"), ("a.jpg", "lies in no folder")],
)
def test_an_unknown_folder_is_named_with_its_nearest_names(name, message):
    with pytest.raises(RequestError, match=message):
        labels_from_folders(["tench/ok.jpg", name], ["tench", "goldfish", "hen"], None, 3)


def test_a_name_that_two_classes_share_is_refused():
    """ImageNet has two classes called crane and two called maillot: guessing would falsify the accuracy."""
    with pytest.raises(RequestError, match="classes 0 and 1"):
        labels_from_folders(["crane/a.jpg"], ["crane", "crane"], ["n1", "n2"], 2)
    assert labels_from_folders(["n2/a.jpg"], ["crane", "crane"], ["n1", "n2"], 2) == [1]
