"""Altered weights files of every kind: good ones, what is done to them, and what became of the model.

`tests/kerascnn/weights/test_hostile.py` tries some, `benchmarks/hostile_weights.py` many.
"""

from __future__ import annotations

import hashlib
import io
import random
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kerascnn import create_model, weights
from kerascnn.weights import Resolved, WeightsError, container
from kerascnn.weights.deep_compression import CODEBOOK
from kerascnn.weights.naming.resnet_cifar import akamaster
from tests.networks import randomized
from tests.parity import seeding

KINDS = (".h5", ".keras", ".weights.h5", ".safetensors", ".pth", ".th", ".zip", ".onnx", ".net", ".kdc")
NEEDED = {".pth": "torch", ".th": "torch", ".zip": "torch", ".onnx": "onnx"}
CHECKED = (".keras", ".pth", ".zip", ".kdc")  # what is in them has checksums

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Sample:
    """A good file, and a model that it fits.

    kind: One of KINDS.
    content: The file's bytes.
    model: The model.
    good: The model's weights with the file loaded.
    structure: Where in the file no array lies.
    """

    kind: str
    content: bytes
    model: Any
    good: Arrays
    structure: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What became of an altered file. `touched`: the model is neither as before nor has all of the file's weights."""

    kind: str
    seed: int
    verdict: Literal["refused", "same", "other", "touched", "unexpected"]
    message: str
    seconds: float


def available() -> list[str]:
    """The kinds whose packages are installed."""
    return [kind for kind in KINDS if kind not in NEEDED or find_spec(NEEDED[kind])]


def sample(kind: str, folder: Path) -> Sample:
    """Write a good file of a kind, load it, and note what it gave."""
    model = _model(kind)
    path = folder / f"good{kind}"
    _WRITERS[kind](model, path)
    weights.load(model, _resolved(path))
    content, good = path.read_bytes(), model.get_weights()
    mask = np.ones(len(content), bool)
    for layer in model.layers:
        for array in layer.get_weights():
            for form in (array, array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T):
                place = content.find(form.tobytes()) if array.nbytes >= 64 else -1
                if place >= 0:
                    mask[place : place + array.nbytes] = False
    return Sample(kind, content, model, good, np.flatnonzero(mask))


def try_altered(good: Sample, seed: int, folder: Path) -> Outcome:
    """Alter a file, load it into a model of other weights, and see."""
    path = folder / f"altered{good.kind}"
    path.write_bytes(alter(good, seed))
    before = [np.zeros_like(array) for array in good.good]
    good.model.set_weights(before)
    begun = time.perf_counter()
    try:
        weights.load(good.model, _resolved(path))
        verdict, message = "loaded", ""
    except WeightsError as error:
        verdict, message = "refused", str(error)
    except Exception as error:
        verdict, message = "unexpected", f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - begun
    after = good.model.get_weights()
    if verdict == "loaded":
        finite = all(np.isfinite(array).all() for array in after)
        verdict = "same" if _equal(after, good.good) else "other" if finite else "touched"
    elif not _equal(after, before):
        verdict = "touched"
    return Outcome(good.kind, seed, verdict, message, seconds)


def may_be_other(good: Sample, seed: int) -> bool:
    """Whether a file's values can have changed without its reader being able to know."""
    return good.kind not in CHECKED or _inside(good, random.Random(seed))


def alter(good: Sample, seed: int) -> bytes:
    """A file's bytes with a few changes; with some seeds changes that the file's own checksums agree with."""
    stream = random.Random(seed)
    if not _inside(good, stream):
        anywhere = stream.random() < 0.25
        return _mutate(good.content, np.arange(len(good.content)) if anywhere else good.structure, stream)
    if good.kind == ".kdc":
        body = _mutate(good.content[:-16], np.arange(len(good.content) - 16), stream)
        return body + hashlib.sha256(body).digest()[:16]
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good.content)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            if name.endswith(("data.pkl", ".h5", ".pth", ".json")):
                entry = _mutate(entry, np.arange(len(entry)), stream)
            new.writestr(name, entry)
    return packed.getvalue()


def _inside(good: Sample, stream: random.Random) -> bool:
    return stream.random() < 0.5 and good.kind in CHECKED


def _mutate(content: bytes, places: np.ndarray, stream: random.Random) -> bytes:
    altered, how = bytearray(content), stream.randrange(8)
    if how == 0:
        return content[: stream.randrange(len(content))]
    for _ in range(stream.choice((1, 1, 2, 4, 8))):
        place = int(places[stream.randrange(len(places))])
        other = int(places[stream.randrange(len(places))])
        length = stream.choice((1, 2, 4, 8, 16, 64))
        if how == 1:
            altered[place % len(altered)] = stream.randrange(256)
        elif how == 2:
            altered[place % len(altered)] ^= 1 << stream.randrange(8)
        elif how == 3:
            altered[place : place + length] = altered[other : other + length]
        elif how == 4:  # whole numbers and addresses lie at multiples of eight
            place, other = place - place % 8, other - other % 8
            altered[place : place + 8] = altered[other : other + 8]
        elif how == 5:
            number = stream.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            altered[place : place + 8] = number.to_bytes(8, "little")
        elif how == 6:
            del altered[place : place + length]
        else:
            altered[place:place] = altered[other : other + length]
    return bytes(altered)


def _equal(some: Arrays, others: Arrays) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


def _resolved(path: Path) -> Resolved | Path:
    """Published weights alone may be in a .net; here its reader is meant."""
    return Resolved(path) if path.suffix == ".net" else path


def _model(kind: str) -> Any:
    """A network that such files are for; those of one network share it."""
    if kind == ".net":
        return _built("squeezenet", 32, 3)
    if kind in (".h5", ".keras", ".weights.h5", ".kdc"):
        return _built("lenet5", 32, 1)
    return _built("resnet20_cifar", 32, 3)


@cache
def _built(name: str, side: int, channels: int) -> Any:
    return randomized(create_model(name, input_shape=(side, side, channels)))


def _state(model: Any) -> dict[str, np.ndarray]:
    return seeding.state_dict(seeding.shapes(model, akamaster([layer.name for layer in model.layers if layer.weights])))


def _write_torch(model: Any, path: Path, *, zipped: bool = True) -> None:
    import torch

    state = {key: torch.from_numpy(array) for key, array in _state(model).items()}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)


def _write_zip(model: Any, path: Path) -> None:
    _write_torch(model, path.with_suffix(".pth"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path.with_suffix(".pth"), "good.pth")


def _write_onnx(model: Any, path: Path) -> None:
    import onnx

    tensors = [onnx.numpy_helper.from_array(array, key) for key, array in _state(model).items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "good", [], [], tensors)), path)


def _write_safetensors(model: Any, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(_state(model), path)


def _write_net(model: Any, path: Path) -> None:
    """Deep Compression's form, with three weights a layer."""
    stream = np.random.default_rng(0)
    layers = [layer for layer in model.layers if layer.weights]
    parts = [np.full(len(layers), 3, "<u4").tobytes()]
    for layer in layers:
        outputs = layer.kernel.shape[-1]
        parts.append(stream.normal(size=CODEBOOK + outputs).astype("<f4").tobytes() + bytes([1, 2, 3, 0x21, 0x03]))
    path.write_bytes(b"".join(parts))


def _write_kdc(model: Any, path: Path) -> None:
    container.write(path, container.describe(model), container.arrays_of(model))


_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".h5": lambda model, path: model.save(path),
    ".keras": lambda model, path: model.save(path),
    ".weights.h5": lambda model, path: model.save_weights(path),
    ".safetensors": _write_safetensors,
    ".pth": _write_torch,
    ".th": partial(_write_torch, zipped=False),
    ".zip": _write_zip,
    ".onnx": _write_onnx,
    ".net": _write_net,
    ".kdc": _write_kdc,
}
