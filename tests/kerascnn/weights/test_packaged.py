"""The weights that come with the package load without a network, are small, and know what their manifests say."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

import kerascnn
from kerascnn.build_info import build_info
from kerascnn.training.data import open_data
from kerascnn.training.networks import accuracy_of
from kerascnn.training.recipes import Augmentation
from kerascnn.weights import fetch, list_weights
from kerascnn.weights.sources import location

PACKAGED = {record.full_name: record for record in list_weights() if record.packaged}
FOLDER = Path(kerascnn.__file__).parent / "data" / "weights"


@pytest.fixture
def offline(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def manifest(record):
    return json.loads(location(record).with_suffix(".json").read_text())


def test_which_there_are():
    assert "lenet5/mnist" in PACKAGED
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {name for record in PACKAGED.values() for name in (record.file, f"{record.file[:-4]}.json")}


def test_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


@pytest.mark.parametrize("name", PACKAGED)
def test_they_load_without_a_network(name, offline):
    record = PACKAGED[name]
    model = kerascnn.create_model(record.variant, weights=record.name)
    assert fetch(record) == location(record)
    assert build_info(model).weights is record
    assert model.output_shape[-1] == record.classes == len(manifest(record)["classes"])
    side = model.input_shape[1]
    assert build_info(model).preprocessing.crop == (side, side)
    images = np.zeros((2, *model.input_shape[1:]), "float32")
    np.testing.assert_allclose(np.sum(model(images), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_manifest_says_how_they_were_made(name):
    record, facts = PACKAGED[name], manifest(PACKAGED[name])
    assert facts["model"] == record.variant
    assert facts["bytes"] == record.bytes == location(record).stat().st_size
    assert record.errors.top1 == pytest.approx(100 * (1 - known_accuracy(record)), abs=0.006)
    assert facts["history"][-1]["val_accuracy"] == pytest.approx(facts["accuracy"], abs=0.01)
    assert facts["epochs"] == facts["recipe"]["epochs"] == len(facts["history"])
    assert "kerascnn train" in facts["command"]
    assert facts["finished"]


def known_accuracy(record) -> float:
    """The accuracy on the test images; what was trained on was watched on other images, and read these in the end."""
    facts = manifest(record)
    return facts.get("test", facts)["accuracy"]


def measured(record, data: Path, count: int | None) -> float:
    model = kerascnn.create_model(record.variant, weights=record.name)
    size = build_info(model).preprocessing
    if record.variant == "lenet5":
        _, test = open_data(data / "mnist.npz", None, size, Augmentation())
    else:
        archive = data / "cifar10_test_5000.zip"
        test, _ = open_data(archive, archive, size, Augmentation())
    assert test.classes == tuple(manifest(record)["classes"])
    if count is not None:
        test = test.part(np.arange(len(test))[:: len(test) // count])
    return accuracy_of(model, test, size)


@pytest.mark.data
@pytest.mark.parametrize("name", PACKAGED)
def test_they_know_what_they_should(name, data):
    """1,000 test images: within three standard deviations of the accuracy on all."""
    expected = known_accuracy(PACKAGED[name])
    assert measured(PACKAGED[name], data, 1000) == pytest.approx(
        expected, abs=3 * (expected * (1 - expected) / 1000) ** 0.5
    )


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", PACKAGED)
def test_the_accuracy_is_the_manifests(name, data):
    assert measured(PACKAGED[name], data, None) == pytest.approx(known_accuracy(PACKAGED[name]), abs=0.0011)
