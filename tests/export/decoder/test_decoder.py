"""The decoder in C gives what the packer was given, and stands any input."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import RequestError
from export.packing import files, records, unpack
from export.packing.records import Script, Size
from tests import ROOT
from tests.export.decoder import native, samples, seeds

SOURCES = [native.SOURCE, ROOT / "tests/export/decoder/fuzz.c"]
GOLDEN = Path(__file__).with_name("format1.kdz")
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="there is no C compiler")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> native.Decoder:
    if native.compiler() is None:
        pytest.skip("there is no C compiler")
    return native.Decoder(tmp_path_factory.mktemp("decoder"))


@pytest.mark.parametrize("name", samples.pairs())
def test_every_kind_of_kernel_bit_for_bit(decoder: native.Decoder, name: str) -> None:
    data, packed = samples.pairs()[name]
    assert decoder.unpack(packed) == ("ok", data)
    assert decoder.unpack(packed, shift=3) == ("ok", data)  # a workspace that begins anywhere
    assert unpack(packed) == data


def test_the_format_is_that_of_the_first_files(decoder: native.Decoder) -> None:
    """A change of models or layout is another version of the format: applications have the decoder of this one."""
    packed = GOLDEN.read_bytes()
    code, data = decoder.unpack(packed)
    assert code == "ok"
    assert data == unpack(packed)
    assert zlib.crc32(data) == 0x510B3D2A


def test_sizes_are_known_before(decoder: native.Decoder) -> None:
    data, packed = samples.pairs()["all"]
    code, info = decoder.inspect(packed)
    assert (code, info.output_size) == ("ok", len(data))
    assert info.weights == sum(find[2][0] * find[2][1] * find[2][2] * find[2][3] for find in samples.KERNELS.values())
    assert info.workspace_size < 100_000


def test_buffers_that_are_too_small_are_refused(decoder: native.Decoder) -> None:
    packed = samples.samples()["all"]
    assert decoder.unpack(packed, short=1)[0] == "output small"
    assert decoder.unpack(packed, less_work=1)[0] == "workspace small"
    library = decoder._library
    assert native.CODES[library.kdz_inspect(None, 0, None)] == "argument"
    assert native.CODES[library.kdz_unpack(packed, len(packed), None, 0, None, 0)] == "argument"


@pytest.mark.parametrize("name", ["all", "sparse-scaled"])
def test_files_that_were_cut_or_altered_are_refused(decoder: native.Decoder, name: str) -> None:
    packed, chance = samples.samples()[name], random.Random(0)
    for length in (0, 1, 3, 4, 8, 51, 52, 60, len(packed) // 2, len(packed) - 1):
        assert decoder.unpack(packed[:length])[0] == ("not packed" if length < 4 else "cut"), length
    assert decoder.unpack(packed + b"\0")[0] == "damaged"
    assert decoder.unpack(b"KDZ\x02" + packed[4:])[0] == "other version"
    assert decoder.unpack(b"PK\x03\x04" + packed[4:])[0] == "not packed"
    for _ in range(200):
        place, bit = chance.randrange(8, len(packed)), 1 << chance.randrange(8)
        altered = bytearray(packed)
        altered[place] ^= bit
        assert decoder.unpack(bytes(altered))[0] == "damaged", (place, bit)


def test_what_fits_its_checksum_and_is_made_up_is_refused(decoder: native.Decoder) -> None:
    """By the decoder itself, which cannot rely on checksums: everybody can compute them."""
    data, packed = samples.pairs()["all"]
    header = files._header(packed)
    assert decoder.unpack(samples.sealed(packed)) == ("ok", data)
    for change in (
        {"size": len(data) - 1},
        {"size": len(data) + 1},
        {"size": 1 << 31},
        {"checksum": 0},
        {"plain": header.plain - 1},
        {"plain": header.script + header.size + 1},
        {"script": header.script - 1},
        {"script": header.script + 1},
        {"coded": header.coded - 1},
        {"coded": len(packed)},
        {"weights": header.weights - 1},
        {"weights": header.weights + 1},
        {"largest": header.largest - 1},
        {"area": header.area - 1},
        {"channels": header.channels - 1},
    ):
        assert decoder.unpack(samples.sealed(packed, **change))[0] == "damaged", change
    chance = random.Random(0)
    for _ in range(300):
        altered = bytearray(packed)
        for _ in range(chance.randrange(1, 4)):
            altered[chance.randrange(samples.HEADER, len(packed))] = chance.randrange(256)
        assert decoder.unpack(samples.sealed(bytes(altered)))[0] in ("damaged", "ok")


def changed(script: Script, what: str, **values: Any) -> bytes:
    """The script with other values in its first kernel, its kernel's vectors, its first gap or its product."""
    if what == "gap":
        gaps = [(values.get("before", script.gaps[0][0]), values.get("length", script.gaps[0][1])), *script.gaps[1:]]
        return records.write(replace(script, gaps=gaps))
    if what == "product":
        return records.write(replace(script, products=[replace(script.products[0], **values)]))
    kernel = script.kernels[0]
    if what == "sparse":
        assert kernel.sparse is not None
        values = {"sparse": replace(kernel.sparse, **values)}
    return records.write(replace(script, kernels=[replace(kernel, **values), *script.kernels[1:]]))


SIZE = len(samples.pairs()["sparse-1"][0])


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("kernel", {"offset": SIZE - 3}),
        ("kernel", {"offset": (1 << 31) - 1}),
        ("kernel", {"shape": (6, 3, 2, 6)}),
        ("kernel", {"shape": (1 << 16, 1 << 16, 1, 1)}),
        ("kernel", {"shape": (0, 3, 2, 5)}),
        ("kernel", {"shape": (180, 1, 1, 1)}),
        ("kernel", {"center": 200}),
        ("kernel", {"size": Size.NIBBLE}),
        ("sparse", {"segments": (SIZE - 20, 2)}),
        ("sparse", {"segments": (SIZE - 20, 3)}),
        ("sparse", {"indices": (SIZE - 20, 1)}),
        ("sparse", {"along": 4}),
        ("gap", {"before": SIZE + 1}),
        ("gap", {"length": SIZE + 1}),
        ("gap", {"length": (1 << 31) - 1}),
        ("product", {"offset": SIZE - 20}),
        ("product", {"source": SIZE - 20}),
        ("product", {"count": 1 << 30}),
        ("product", {"factor": np.float32("inf")}),
    ],
)
def test_scripts_that_lead_elsewhere_are_refused(decoder: native.Decoder, what: str, values: dict[str, Any]) -> None:
    """With checksums that fit: nothing but the decoder's own checks is between them and memory."""
    data, packed = samples.pairs()["sparse-1"]
    script = records.read(samples.plain_of(packed)[0])
    assert decoder.unpack(samples.with_script(packed, records.write(script))) == ("ok", data)
    made_up = samples.with_script(packed, changed(script, what, **values))
    assert decoder.unpack(made_up)[0] == "damaged"
    with pytest.raises(RequestError):
        unpack(made_up)


@needs_compiler
@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("bits", ["-m64", "-m32"])
def test_compilers_have_nothing_to_say(tmp_path: Path, name: str, bits: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    probe = subprocess.run([name, bits, "-E", str(native.SOURCE)], capture_output=True)
    if probe.returncode:
        pytest.skip(f"{name} has no headers for {bits}")
    native.compile(name, tmp_path / "kdz.o", *native.STRICT, bits, "-O2", "-c")
    text = native.SOURCE.read_text()
    assert text.count("\n") + (native.FOLDER / "kdz.h").read_text().count("\n") <= 1500
    assert not [word for word in ("malloc", "printf", "math.h") if word in text]


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="there is no arm-none-eabi-gcc")
@pytest.mark.parametrize("machine", ["cortex-m0", "cortex-m4"])
def test_microcontrollers(tmp_path: Path, machine: str) -> None:
    native.compile("arm-none-eabi-gcc", tmp_path / "kdz.o", *native.STRICT, f"-mcpu={machine}", "-mthumb", "-Os", "-c")


STRING_H = """#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
"""
STRING_C = """#include "string.h"
void *memcpy(void *to, const void *from, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int c, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)c;
    return to;
}
int memcmp(const void *a, const void *b, size_t n) {
    for (size_t i = 0; i < n; i++) if (((const unsigned char *)a)[i] != ((const unsigned char *)b)[i]) return 1;
    return 0;
}
"""


def test_web_assembly(tmp_path: Path) -> None:
    """Clang alone has no C library for it: the three functions that the decoder calls are written here."""
    missing = [name for name in ("clang", "wasm-ld", "node") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    (tmp_path / "string.h").write_text(STRING_H)
    (tmp_path / "string.c").write_text(STRING_C)
    machine = ["--target=wasm32", "-ffreestanding", "-fno-builtin", "-O2", f"-I{tmp_path}"]
    exports = [f"-Wl,--export={name}" for name in ("kdz_inspect", "kdz_unpack", "__heap_base")]
    link = ["-nostdlib", "-Wl,--no-entry", *exports, str(tmp_path / "string.c")]
    native.compile("clang", tmp_path / "kdz.o", *native.STRICT, *machine, "-c")
    subprocess.run(["clang", *machine, *link, str(tmp_path / "kdz.o"), "-o", str(tmp_path / "kdz.wasm")], check=True)
    data, packed = samples.pairs()["all"]
    for content, code in ((packed, 0), (packed[:-1], 3), (packed[:-1] + b"?", 4)):
        (tmp_path / "file.kdz").write_bytes(content)
        command = ["node", str(Path(__file__).with_name("unpack.mjs")), "kdz.wasm", "file.kdz", "file.tflite"]
        assert subprocess.run(command, cwd=tmp_path).returncode == code
    assert (tmp_path / "file.tflite").read_bytes() == data


def build_fuzzer(target: Path) -> bool:
    """Whether clang has libFuzzer here."""
    if shutil.which("clang") is None:
        return False
    options = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    options += ["-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION", f"-I{native.FOLDER}"]
    done = subprocess.run(["clang", *options, *map(str, SOURCES), "-o", str(target)], capture_output=True)
    return done.returncode == 0


@pytest.mark.slow
def test_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """Some seconds of it; docs/decoder.md has what a longer run gave."""
    if not build_fuzzer(tmp_path / "fuzz"):
        pytest.skip("there is no clang with libFuzzer")
    seeds.main(tmp_path / "corpus")
    options = ["-max_total_time=20", "-max_len=16384", "-timeout=10", "-print_final_stats=1"]
    done = subprocess.run(
        [str(tmp_path / "fuzz"), *options, str(tmp_path / "corpus")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stat::number_of_executed_units" in done.stderr
    sys.stdout.write(done.stderr[-500:])
