"""Lists of classes in every form that ImageNet's have, and what may not be guessed."""

import pytest

from kerascnn.data import devkit_classes, imagenet_classes
from kerascnn.photos.files import PhotosError
from kerascnn.photos.truth import read_truth

LABELS = tuple(name for _, name in imagenet_classes())
PHOTOS = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 4)]


def read(tmp_path, text, names=PHOTOS, labels=LABELS):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read_truth(path, names, labels, len(labels))


@pytest.mark.parametrize(
    "text",
    [
        "ILSVRC2012_val_00000003.JPEG 230\nILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000002.JPEG 970\n",
        "val/ILSVRC2012_val_00000001.JPEG\t65\n\nx.zip@/ILSVRC2012_val_00000002.JPEG\t970\nILSVRC2012_val_00000003\t230",
        "\ufeffILSVRC2012_val_00000001.JPEG n01751748\nILSVRC2012_val_00000002 alp\nILSVRC2012_val_00000003 230\na 1",
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01751748 85 1 499 272 \n"
        "ILSVRC2012_val_00000002,n09193705 1 2\nILSVRC2012_val_00000003,n02105855 9 9 9 9\n",
        "n01751748\nn09193705\nn02105855\n",
        "sea snake\nalp\nShetland sheepdog\n",
    ],
    ids=["caffe", "paths", "mixed", "kaggle", "wordnet ids", "names"],
)
def test_lists(tmp_path, text):
    assert read(tmp_path, text) == [65, 970, 230]


def test_photos_in_folders_are_found_by_their_file_names(tmp_path):
    names = ["a/1.png", "a/2.png", "b/3.png"]
    assert read(tmp_path, "3.png cat\n1.png dog\na/2.png cat", names, ("cat", "dog")) == [1, 0, 0]
    with pytest.raises(PhotosError, match=r"says nothing of 2 of the 3 photos, such as a/1\.png"):  # it may be either
        read(tmp_path, "3.png cat\n1.png dog\n1.png dog", ["a/1.png", "b/1.png", "b/3.png"], ("cat", "dog"))


def test_the_development_kit_has_an_order_of_its_own(tmp_path):
    """The first ten of its list, ILSVRC2012_validation_ground_truth.txt, beside Caffe's val.txt."""
    kit = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
    caffe = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
    numbers = [*kit, *range(1, 1001)]
    names = [f"{number:06d}.JPEG" for number in range(len(numbers))]
    found = read(tmp_path, "\n".join(map(str, numbers)), names)
    assert found[:10] == caffe
    assert sorted(devkit_classes()) == list(range(1000))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("490\n361\n171", "The numbers in .* go from 171 to 490. They may be indices"),
        ("\n".join(f"{name} {i}" for name, i in zip(PHOTOS, (1000, 5, 6), strict=True)), "or indices from 0"),
        ("1\n2", "has 2 lines for 3 photos"),
        ("0\n1\n1000", "Line 3 of .*, '1000', is no class name, no WordNet id and no class index from 0 to 999"),
        ("tench\ngoldfish\ngolfish", "Nearest names: goldfish"),
        ("ILSVRC2012_val_00000001.JPEG 0\nILSVRC2012_val_00000002.JPEG 1", "says nothing of 1 of the 3 photos"),
        (f"{PHOTOS[0]} 0\n{PHOTOS[0]} 1", "two classes for ILSVRC2012_val_00000001.JPEG, in lines 1 and 2"),
        ("", "has 0 lines for 3 photos"),
    ],
)
def test_refusals(tmp_path, text, said):
    with pytest.raises(PhotosError, match=said):
        read(tmp_path, text)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PhotosError, match=r"is not UTF-8 text\. Save it as UTF-8"):
        read_truth(path, PHOTOS, LABELS, 1000)
