"""Files that were made to harm: each is refused, in seconds, without more memory than a file of its size needs."""

from __future__ import annotations

import pickle
import resource
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from kerascnn import applications, weights
from kerascnn.weights import WeightsError
from tests import hostile_weights
from tests.networks import built

TRIES = 20  # of each kind
SECONDS = 5.0  # for one file, on a busy machine
MEMORY = 400 << 20


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("kind", hostile_weights.KINDS)
def test_altered_files(kind: str, tmp_path: Path) -> None:
    """All are refused or load as a whole; what has checksums does not load with other values."""
    if kind not in hostile_weights.available():
        pytest.skip(f"{hostile_weights.NEEDED[kind]} is not installed")
    good = hostile_weights.sample(kind, tmp_path)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = [hostile_weights.try_altered(good, seed, tmp_path) for seed in range(TRIES)]
    assert [one for one in outcomes if one.verdict in ("touched", "unexpected")] == []
    wrong = [one for one in outcomes if one.verdict == "other" and not hostile_weights.may_be_other(good, one.seed)]
    assert wrong == []
    assert Counter(one.verdict for one in outcomes)["refused"] >= TRIES / 4
    assert max(one.seconds for one in outcomes) < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) << 10 < MEMORY


def refused(path: Path, reason: str) -> None:
    """Refused for that reason, at once, without having been unpacked."""
    model = built("lenet5")
    before, held = model.get_weights(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    with pytest.raises(WeightsError, match=reason):
        weights.load(model, path)
    assert time.monotonic() - begun < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) << 10 < MEMORY
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def named(folder: Path, name: str) -> Path:
    """Write a file as Keras does, of one layer of that name."""
    path = folder / "some.weights.h5"
    with h5py.File(path, "w") as h5:
        held = h5.create_group("layers/conv2d/vars")
        held["0"] = np.ones(4, "f4")
        held.attrs["name"] = name
    return path


@pytest.mark.parametrize("entry", [bytes(16), b"\1\0\1\0" + bytes(4) + (1 << 40).to_bytes(8, "little")])
def test_a_heap_that_hdf5_cannot_read(tmp_path: Path, entry: bytes) -> None:
    """HDF5 goes on for good where an entry has no size, and ends the process where one is larger than the heap."""
    path = named(tmp_path, "conv1")
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    content[place : place + 16] = entry
    path.write_bytes(content)
    refused(path, "a heap of it is damaged")


def test_an_attribute_of_another_type(tmp_path: Path) -> None:
    """HDF5 ends the process at a type of variable length that it does not know."""
    path = named(tmp_path, "conv1")
    content = bytearray(path.read_bytes())
    kind = content.index(b"name\0\0\0\0") + 8  # the class and version of the type, then what kind of it
    assert content[kind : kind + 2] == b"\x19\x01"
    content[kind + 1] = 9
    path.write_bytes(content)
    refused(path, "the attribute name is not of texts")


def test_a_text_of_any_length(tmp_path: Path) -> None:
    """HDF5 makes room for as much as a text's length says."""
    path = named(tmp_path, "n" * 1237)
    content = path.read_bytes()
    place = content.index((1237).to_bytes(4, "little") + content.index(b"GCOL").to_bytes(8, "little"))
    path.write_bytes(content[:place] + (1 << 31).to_bytes(4, "little") + content[place + 4 :])
    refused(path, "would be 2,147,483,648 bytes long")


def test_an_attribute_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "some.h5"
    with h5py.File(path, "w", libver="latest") as h5:
        h5.attrs["layer_names"] = np.full((1 << 16, 40), b"of eight")
    refused(path, r"the attribute layer_names has 2,621,440 values")


def test_an_array_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "some.weights.h5"
    with h5py.File(path, "w") as h5:
        held = h5.create_group("layers/conv1/vars")
        held.create_dataset("0", (1 << 36,), "f4", chunks=(1 << 20,), compression="gzip")
    refused(path, "more than its size allows")


def test_an_array_in_many_pieces(tmp_path: Path) -> None:
    path = tmp_path / "some.weights.h5"
    with h5py.File(path, "w") as h5:
        held = h5.create_group("layers/conv1/vars")
        held.create_dataset("0", (1 << 20,), "i1", chunks=(1,), compression="gzip")
    refused(path, "more than 100,000 pieces")


def test_groups_within_themselves(tmp_path: Path) -> None:
    path = tmp_path / "some.weights.h5"
    with h5py.File(path, "w") as h5:
        for i in range(40):
            h5.create_group(f"a{i}")
        for i in range(40):
            for j in range(40):
                h5[f"a{i}/b{j}"] = h5[f"a{j}"]
    refused(path, "deep|more than 200,000")


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_other_files(tmp_path: Path, kind: str) -> None:
    """A weights file cannot make its reader open another one."""
    path, other = tmp_path / "some.weights.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as h5:
        h5["secret"] = np.ones(4, "f4")
    with h5py.File(path, "w") as h5:
        held = h5.create_group("layers/conv1/vars")
        if kind == "link":
            held["0"] = h5py.ExternalLink(str(other), "secret")
        elif kind == "storage":
            held.create_dataset("0", (4,), "f4", external=[(str(other), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(other), "secret", (4,))
            held.create_virtual_dataset("0", layout)
    refused(path, "not within the file|in another file")


def test_archives_that_unpack_to_much(tmp_path: Path) -> None:
    """A .keras file is a zip."""
    for name in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(tmp_path / "some.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            if name != "config.json":
                archive.writestr("config.json", "{}")
            archive.writestr(name, bytes(80 << 20))
        refused(tmp_path / "some.keras", "its (description|weights) .* bytes")


def test_deep_descriptions(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    refused(tmp_path / "some.keras", "damaged")


def test_a_header_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + bytes(100))
    refused(path, "its header would have")


def test_tensors_that_repeat_one_value(tmp_path: Path) -> None:
    """A tensor's strides can make any size of four bytes."""
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": torch.zeros(1, dtype=torch.float16).expand(1 << 34)}, tmp_path / "some.pth")
    refused(tmp_path / "some.pth", "larger than the file can hold")


@pytest.mark.parametrize("suffix", [".pth", ".zip"])
def test_checkpoints_that_unpack_to_much(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("torch")
    path = tmp_path / f"some{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("some.pth", bytes(80 << 20))
    refused(path, "more than it can hold|too large")


@pytest.mark.parametrize("content", [[1, 2], {"a": {"b": 1}}, {1: 2}, {"state_dict": 3}], ids=str)
def test_other_pickles(tmp_path: Path, content: Any) -> None:
    pytest.importorskip("torch")
    (tmp_path / "some.th").write_bytes(pickle.dumps(content, protocol=2))
    refused(tmp_path / "some.th", "state dict|damaged|can run code")


@pytest.mark.parametrize("kind", ["sparse", "complex"])
def test_other_tensors(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.eye(3).to_sparse() if kind == "sparse" else torch.eye(3) * 1j
    torch.save({"conv1.weight": tensor}, tmp_path / "some.pth")
    refused(tmp_path / "some.pth", "not a tensor of numbers|damaged")


def test_a_whole_model_is_still_read(tmp_path: Path) -> None:
    """Keras keeps names of variable length in a whole model's .h5; the description has their order."""
    model = applications.lenet5()
    model.save(tmp_path / "whole.h5")
    read = weights.reading.read(tmp_path / "whole.h5")
    assert list(read.layers) == [layer.name for layer in model.layers if layer.weights]
    for layer in model.layers:
        for weight in layer.weights:
            np.testing.assert_array_equal(read.layers[layer.name][weight.name], weight)
