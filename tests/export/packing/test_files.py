"""Packed files in Python: the same bytes again, and one paragraph about anything else."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest

from export.errors import RequestError
from export.packing import files, pack, records, unpack
from tests.export.decoder import samples
from tests.export.decoder.samples import sealed

PACKED = samples.samples()["all"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not begin with KDZ"),
        (b"PK\3\4" + PACKED[4:], "does not begin with KDZ"),
        (b"KDZ\2" + PACKED[4:], "later format"),
        (PACKED[:20], "ends within its header"),
        (PACKED[:-1], "instead of"),
        (PACKED + b"\0", "instead of"),
        (PACKED[:99] + b"?" + PACKED[100:], "checksum"),
        (sealed(PACKED, checksum=0), "another checksum"),
        (sealed(PACKED, weights=1), "impossible sizes"),
        (sealed(PACKED, largest=64), "not those that it announces"),
        (sealed(PACKED, plain=files._header(PACKED).plain - 1), "is damaged"),
        (sealed(PACKED, size=files._header(PACKED).size + 1), "gaps do not fit"),
    ],
)
def test_other_files_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        unpack(data, "a.kdz")


def test_nothing_but_a_refusal_comes_of_what_is_made_up() -> None:
    chance = random.Random(1)
    for _ in range(40):
        altered = bytearray(PACKED)
        altered[chance.randrange(samples.HEADER, len(PACKED))] = chance.randrange(256)
        with contextlib.suppress(RequestError):
            assert unpack(sealed(bytes(altered))) == samples.pairs()["all"][0]


def test_a_script_is_read_as_it_was_written() -> None:
    found = [samples.kernel(*settings) for settings in samples.KERNELS.values()]
    script = records.Script([(3, 300), (0, 1 << 20)], [one.kernel for one in found], [])
    read = records.read(records.write(script))
    assert read.gaps == script.gaps
    for a, b in zip(read.kernels, script.kernels, strict=True):
        assert (a.kind, a.size, a.shape, a.offset, a.center, a.last, a.sparse) == (
            b.kind, b.size, b.shape, b.offset, b.center, b.last, b.sparse
        )  # fmt: skip
        assert a.book.tobytes() == b.book.tobytes()
        assert np.array_equal(a.gains, b.gains)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_script_that_ends_early_is_damaged(cut: int) -> None:
    text = records.write(records.Script([], [samples.kernel(*samples.KERNELS["gains"]).kernel], []))
    with pytest.raises(records.Damaged):
        records.read(text[:-cut])


def test_what_would_not_come_out_the_same_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packer that is wrong writes nothing."""
    found = samples.kernel(*samples.KERNELS["int8"])
    wrong = samples.Found(found.kernel, np.maximum(found.places, 1) - 1, found.values)
    data = bytes(found.values) + b"rest"
    monkeypatch.setattr(files, "find", lambda data, kernels: ([wrong], []))
    with pytest.raises(RequestError, match="another checksum"):
        pack(data)
