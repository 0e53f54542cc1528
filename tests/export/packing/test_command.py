"""`python -m export unpack`, as a user meets it."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export import cli
from tests.export.decoder import samples

DATA, PACKED = samples.pairs()["all"]
Call = Callable[..., tuple[object, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    Path("net.tflite.kdz").write_bytes(PACKED)
    Path("net.tflite.xz").write_bytes(lzma.compress(DATA))

    def invoke(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["export", "unpack", *arguments])
        code: object = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code
        done = capsys.readouterr()
        return code, done.out, done.err

    return invoke


@pytest.mark.parametrize("file", ["net.tflite.kdz", "net.tflite.xz"])
def test_it_gives_the_file_that_was_packed(call: Call, file: str) -> None:
    code, out, _ = call(file)
    assert code == 0
    assert f"net.tflite: {len(DATA):,} bytes" in out
    assert Path("net.tflite").read_bytes() == DATA
    assert call(file, "--output", "other.tflite")[0] == 0
    assert Path("other.tflite").read_bytes() == DATA
    assert call(file)[0] == 0  # it is there already, and the same


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.kdz"], "missing.kdz cannot be read: No such file"),
        (["net.tflite"], "net.tflite does not end in .kdz or .xz"),
        (["cut.kdz"], "cut.kdz is damaged"),
        (["cut.xz"], "cut.xz is damaged"),
        (["other.kdz"], "not a packed .tflite file"),
        (["net.tflite.kdz", "--output", "none/x.tflite"], "Nothing can be written to none"),
        (["taken.tflite.kdz"], "taken.tflite is there already, and is something else"),
        ([], "Missing argument"),
    ],
)
def test_it_refuses_in_one_paragraph_and_writes_nothing(call: Call, arguments: list[str], says: str) -> None:
    for name, content in {
        "net.tflite": b"TFL3",
        "cut.kdz": PACKED[:-5],
        "cut.xz": lzma.compress(DATA)[:-5],
        "other.kdz": DATA,
        "taken.tflite.kdz": PACKED,
        "taken.tflite": b"mine",
    }.items():
        Path(name).write_bytes(content)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    code, _, err = call(*arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
