"""Evaluations: figures that are right, runs that are taken up again, and answers that are never mixed."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.files import digest_of
from kerascnn.evaluating import LabeledPhotos, Subject, evaluate, subjects
from kerascnn.photos.classifying import Classifier
from kerascnn.photos.files import find_photos
from kerascnn.photos.preparing import Preparation
from kerascnn.photos.preprocessing import Preprocessing

COLORS = ("red", "green", "blue")
PREPARATION = Preparation(Preprocessing(resize=(8, 8)), (8, 8))


def paint(folder: Path, each: int = 30) -> Path:
    """Photos of one color each, in folders named after it; every tenth is of the next color."""
    for place, color in enumerate(COLORS):
        (folder / color).mkdir(parents=True)
        for i in range(each):
            pixels = np.zeros((10, 12, 3), np.uint8)
            pixels[..., (place + (i % 10 == 9)) % 3] = 100 + i
            Image.fromarray(pixels).save(folder / color / f"{i:02d}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos")


def shares(images):
    return np.eye(3)[images.mean(axis=(1, 2)).argmax(axis=1)] * 0.7 + 0.1


def subject(name="color", run=shares, digest="1", preparation=PREPARATION):
    return Subject(name, Classifier(name, preparation, run, COLORS), 1000, digest)


def swapped(images):
    return shares(images[..., [1, 0, 2]])


def test_figures(photos, tmp_path):
    told = []
    found = evaluate(
        [subject(), subject("swapped", swapped)],
        find_photos(photos),
        tmp_path / "out",
        step=lambda *of: told.append(of),
    )
    right, wrong = found.reached
    assert (found.data, found.photos, found.classes, found.shown, found.left_out) == ("photos", 90, 3, 3, {})
    assert (right.top1.share, right.top5.share, right.difference) == (0.9, 1.0, None)
    assert right.calibration_error == pytest.approx(0.9 - 0.8)
    assert [(row.photos, row.accuracy) for row in right.ranges] == [(90, pytest.approx(0.9))]
    assert wrong.top1.share == pytest.approx(30 / 90)  # 27 of blue, and 3 of green that look blue are still wrong
    assert (wrong.difference.better, wrong.difference.worse) == (3, 54)
    assert wrong.difference.p < 1e-10
    assert found.pairs[0].top5.p == 1
    assert told[0][1:] == (0, 90)
    assert told[-1][1:] == (90, 90)


def test_each_photo_keeps_its_answer(photos, tmp_path):
    evaluate([subject()], find_photos(photos), tmp_path / "out")
    about, *rows = map(json.loads, (tmp_path / "out" / "color.jsonl").read_text().splitlines())
    assert (about["model"], about["photos"]) == ("color", 90)
    assert rows[0]["photo"] == "blue/00.png"
    assert rows[0]["classes"][0] == rows[0]["label"] == 2
    assert rows[0]["probabilities"] == pytest.approx([0.8, 0.1, 0.1])
    assert (rows[0]["above"], rows[0]["tied"]) == (0, 1)


class Dying:
    """Answers some batches, and is then interrupted."""

    def __init__(self, batches):
        self.left = batches
        self.asked = 0

    def __call__(self, images):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += len(images)
        return shares(images)


def test_a_stopped_run_is_taken_up_again(photos, tmp_path):
    whole = evaluate([subject()], find_photos(photos), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate([subject(run=Dying(1 + 2))], find_photos(photos), tmp_path / "out")
    with (tmp_path / "out" / "color.jsonl").open("a") as file:
        file.write('{"photo": "red/1')  # a run that was killed while it wrote
    rest = Dying(99)
    steps = []
    found = evaluate([subject(run=rest)], find_photos(photos), tmp_path / "out", step=lambda *of: steps.append(of[1]))
    assert steps[-2:] == [64, 90]
    assert rest.asked == 1 + 26  # the one tells how many classes there are
    assert found == whole
    again = Dying(99)
    assert evaluate([subject(run=again)], find_photos(photos), tmp_path / "out") == whole
    assert again.asked == 1


def test_models_that_were_asked_apart_are_compared_without_asking_again(photos, tmp_path):
    for one in (subject(), subject("swapped", swapped)):
        evaluate([one], find_photos(photos), tmp_path / "out")
    first, second = Dying(1), Dying(1)
    found = evaluate([subject(run=first), subject("swapped", second)], find_photos(photos), tmp_path / "out")
    assert found.reached[1].difference.worse == 54


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "2"}, r"answers of another model \(or one that has changed\)\. Give another --output"),
        ({"preparation": Preparation(Preprocessing(resize=(8, 8), mean=(1.0,)), (8, 8))}, "prepared in another way"),
    ],
)
def test_another_model_is_refused(photos, tmp_path, change, said):
    evaluate([subject()], find_photos(photos), tmp_path / "out")
    before = (tmp_path / "out" / "color.jsonl").read_bytes()
    with pytest.raises(ValueError, match=said):
        evaluate([subject(**change)], find_photos(photos), tmp_path / "out")
    assert (tmp_path / "out" / "color.jsonl").read_bytes() == before


def test_other_photos_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    evaluate([subject()], find_photos(photos), out)
    pixels = (photos / "red" / "03.png").read_bytes()
    (photos / "red" / "03.png").write_bytes(pixels[:-1] + b"x")  # as long as before
    with pytest.raises(ValueError, match=r"red/03\.png has changed since it was answered"):
        evaluate([subject()], find_photos(photos), out)
    (photos / "red" / "03.png").rename(photos / "blue" / "99.png")
    with pytest.raises(ValueError, match=r"answers of other photos \(or other classes of them\)"):
        evaluate([subject()], find_photos(photos), out)


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (0, "[]"),
        (0, "{"),
        (1, '{"photo": 3}'),
        (1, "7"),
        (1, '{"photo": "red/00.png", "crc32": 99999999999}'),
        (1, '{"photo": "red/00.png", "crc32": 1, "above": 0, "tied": 1, "probabilities": []}'),
    ],
)
def test_damaged_answers_are_refused(photos, tmp_path, place, line):
    evaluate([subject()], find_photos(photos), tmp_path / "out")
    path = tmp_path / "out" / "color.jsonl"
    lines = path.read_text().splitlines()
    lines[place] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"color\.jsonl is damaged"):
        evaluate([subject()], find_photos(photos), tmp_path / "out")


def test_a_file_of_answers_that_is_still_empty_is_begun(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "color.jsonl").touch()
    found = evaluate([subject()], find_photos(photos), tmp_path / "out")
    assert evaluate([subject(run=Dying(1))], find_photos(photos), tmp_path / "out") == found


def test_what_is_no_photo_is_counted_and_left_out(photos, tmp_path):
    (photos / "red" / "00.png").write_text("no photo")
    (photos / "red" / "00.heic").write_text("not read")
    for _ in range(2):  # asked, and read again
        found = evaluate([subject()], find_photos(photos), tmp_path / "out")
        assert found.left_out == {
            "red/00.heic": "HEIC is not read; save the photo as JPEG or PNG",
            "red/00.png": "no image of a known kind",
        }
        assert (found.photos, found.reached[0].photos) == (90, 89)
        assert found.reached[0].top1.share == pytest.approx(80 / 89)


def test_names_that_are_no_utf_8_are_names_too(photos, tmp_path):
    """As old archives have them."""
    (photos / "red" / "00.png").rename(photos / "red" / os.fsdecode(b"caf\xe9.png"))
    found = evaluate([subject()], find_photos(photos), tmp_path / "out")
    assert found.reached[0].photos == 90
    assert evaluate([subject(run=Dying(1))], find_photos(photos), tmp_path / "out") == found


def test_a_damaged_member_of_a_zip_is_left_out_each_time(photos, tmp_path):
    path = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("red/00.png")
    content[entry.header_offset + 30 + len(entry.filename) + 20] ^= 255
    path.write_bytes(content)
    for _ in range(2):
        found = evaluate([subject()], find_photos(path), tmp_path / "out")
        assert list(found.left_out) == ["red/00.png"]
        assert found.reached[0].photos == 89


def test_a_model_without_class_names_is_told_them(photos, tmp_path):
    nameless = Subject("nameless", Classifier("nameless", PREPARATION, shares), 1, "3")
    with pytest.raises(
        ValueError, match="Folder 'blue' is no class name.* does not remember its class names: give --l"
    ):
        evaluate([nameless], find_photos(photos), tmp_path / "out")


def test_none_of_the_photos_can_be_read(tmp_path):
    (tmp_path / "photos" / "red").mkdir(parents=True)
    (tmp_path / "photos" / "red" / "a.png").write_text("no photo")
    with pytest.raises(ValueError, match=r"None of the 1 photos can be read"):
        evaluate([subject()], find_photos(tmp_path / "photos"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_that_are_no_numbers_are_wrong_and_said(photos, tmp_path):
    def broken(images):
        return np.where(images[:, :1, 0, 0] > 0, np.nan, shares(images))

    found = evaluate([subject(run=broken)], find_photos(photos), tmp_path / "out").reached[0]
    assert found.not_finite == 30  # those that look red
    assert found.top1.share == pytest.approx((81 - 27) / 90)


def test_models_of_other_classes_are_refused(photos, tmp_path):
    other = Subject("other", Classifier("other", PREPARATION, lambda images: np.ones((len(images), 4)) / 4), 1, "3")
    with pytest.raises(ValueError, match="color and other do not tell the same classes apart: 3 and 4"):
        evaluate([subject(), other], find_photos(photos), tmp_path / "out")
    renamed = Subject("other", Classifier("other", PREPARATION, shares, COLORS[::-1]), 1, "3")
    with pytest.raises(ValueError, match="color and other do not have the same class names"):
        evaluate([subject(), renamed], find_photos(photos), tmp_path / "out")
    unknown = Subject("color", Classifier("color", PREPARATION, shares, ("a", "b")), 1, "3")
    with pytest.raises(ValueError, match="There are 2 labels, but color tells 3 classes apart"):
        evaluate([unknown], find_photos(photos), tmp_path / "out")


def test_a_folder_of_photos_has_its_own_name(photos, monkeypatch):
    monkeypatch.chdir(photos)
    assert find_photos(Path()).name == find_photos(photos).name == "photos"


def test_a_folder_has_the_digest_that_a_manifest_has(photos):
    assert subjects._digest(photos) == digest_of(photos)
    assert subjects._digest(photos / "red" / "00.png") == digest_of(photos / "red" / "00.png")


def test_a_set_of_photos_is_known_by_names_and_classes(photos):
    files = find_photos(photos)
    first, second = LabeledPhotos(files, (0,) * 90), LabeledPhotos(files, (0,) * 89 + (1,))
    assert first.sha256 != second.sha256
