"""What the training benchmarks compute beside the training: a wrong subset or ratio would be a wrong claim."""

from __future__ import annotations

import csv
import sys
import zipfile
from importlib import import_module
from types import ModuleType

import keras
import numpy as np
import pytest

from tests import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Imports one of the scripts, which import each other as from their own folder."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return import_module(name)

    return load


def test_a_subset_has_as_many_of_each_class(script):
    """The first ones of each, in their own order; a number that cannot be shared out is refused."""
    balanced = script("subsets").balanced
    labels = ["b", "a", "a", "b", "c", "c", "a", "b", "c"]
    assert balanced(labels, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert balanced(np.array([1, 1, 1, 0, 0]), 2).tolist() == [0, 3]
    for count in (4, 12, 0):
        with pytest.raises(ValueError, match="multiple of 3 up to 9"):
            balanced(labels, count)


def test_a_zip_of_a_subset(script, photos, tmp_path):
    """It keeps the files and their classes, and a half-written one is not taken for the whole."""
    source = tmp_path / "photos.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for path in sorted(photos.rglob("*.png")):
            archive.write(path, path.relative_to(photos).as_posix())
    (tmp_path / "photos_10.partial").write_bytes(b"PK")
    path = script("subsets").zip_subset(source, 10, tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert [sum(name.startswith(kind) for name in names) for kind in ("lying", "standing")] == [5, 5]
        assert archive.read(names[0]) == (photos / names[0]).read_bytes()
    assert [file.name for file in tmp_path.glob("photos_10*")] == ["photos_10.zip"]


def test_the_training_error_of_an_epoch_that_is_trained_again(script, tmp_path):
    """Its row and later ones are replaced; the error is the share that the model gets wrong."""
    depth_pairs = script("depth_pairs")
    x = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3), np.uint8)
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    scores = keras.ops.mean(keras.ops.cast(inputs, "float32"), axis=(1, 2))
    model = keras.Model(inputs, scores)
    labels = x.mean(axis=(1, 2)).argmax(axis=-1)
    labels[:30] = (labels[:30] + 1) % 3
    path = tmp_path / "training_error.csv"
    path.write_text("epoch,training_error\n0,0.75\n1,0.5\n2,0.25\n")
    callback = depth_pairs.training_error(path, x, labels)
    callback.set_model(model)
    callback.on_epoch_end(1, {"val_accuracy": 0.5})
    assert depth_pairs.read_errors(path) == {0: 0.75, 1: 0.1}
    # of the two, the history has finished the first epoch alone
    names = ["epoch", "val_accuracy", "loss", "learning_rate", "seconds"]
    with (tmp_path / "history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, [0, 0.25, 1.5, 0.1, 60]])
    rows = depth_pairs.joined("plain20_cifar", tmp_path)
    assert [(row["epoch"], row["training_error"], row["test_error"]) for row in rows] == [(1, 0.75, 0.75)]


def test_what_depth_did_to_a_pair(script):
    """In points, deep minus shallow, also where one of the networks has no epoch to show."""
    depth_pairs = script("depth_pairs")
    rows = {
        name: [{"training_error": error, "test_error": 0.4, "seconds": 60.0}]
        for name, error in (("plain20_cifar", 0.2), ("plain56_cifar", 0.35))
    }
    text = "\n".join(depth_pairs.table(rows | {"resnet20_cifar": []}))
    assert "plain56_cifar against plain20_cifar: training error +15.0 points, test error +0.0." in text
    assert "resnet56_cifar against" not in text


def test_an_ensemble_beside_the_mean_of_its_own_members(script):
    """An ensemble of the first two is not compared with the mean of all three."""
    lines = script("seed_ensemble").table([0.02, 0.04, 0.09], {(2, "probabilities"): 0.015}, 1000)
    assert lines[-1] == "| ensemble of 2, probabilities | 15 | 1.50 % (0.91 to 2.46) | -50% |"
    assert lines[-2] == "| mean of 3 members | 50.0 | 5.00% | |"


def test_speed_is_the_reference_over_the_other(script):
    """A network that takes half the reference's time is twice as fast, whatever disturbed a whole round."""
    times = {"theirs": [(2.0, 4.0), (2.0, 4.0), (20.0, 4.0)], "ours": [(1.0, 4.0), (1.0, 4.0), (10.0, 4.0)]}
    lines = script("training_speed").table(times, "theirs")
    assert lines[-1] == "| ours | 1000 | 4000 | 2.00 | 2.00-2.00 | 1.00 |"


def test_ratios_of_gradients(script):
    lines = script("auxiliary_gradients").table(["conv1"], [[2.0], [3.0]], [[0.0], [1.0]], 5)
    assert lines[-1] == "| conv1 | 2 | 3 | 1.50 | 0 | 1 | - |"
