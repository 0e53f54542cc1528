"""Packed data of each kind that a decoder meets: bytes with kernels in them, which are no .tflite file."""

from __future__ import annotations

import lzma
import struct
import zlib
from dataclasses import replace
from functools import cache

import numpy as np

from export.packing import files, records
from export.packing.matching import Found
from export.packing.records import Kernel, Kind, Product, Size, Sparse

HEADER = 52
_WIDTHS = {Size.NIBBLE: 1, Size.BYTE: 1, Size.HALF: 2, Size.WORD: 4}


def plain_of(packed: bytes) -> tuple[bytes, bytes]:
    """Script and rest."""
    header = files._header(packed)
    coder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=files._filters(header.properties, header.plain))
    plain = coder.decompress(packed[HEADER : HEADER + header.coded], header.plain)
    return plain[: header.script], plain[header.script :]


def uncoded(packed: bytes) -> bytes:
    """The same with its script and rest as they are, which a decoder built for fuzzing takes."""
    plain = b"".join(plain_of(packed))
    stream = packed[HEADER + files._header(packed).coded :]
    return packed[:24] + struct.pack("<I", len(plain)) + packed[28:HEADER] + plain + stream


def with_script(packed: bytes, script: bytes) -> bytes:
    """The same with another script, and all that the header has to say of it."""
    header, (_, rest) = files._header(packed), plain_of(packed)
    properties, coded = files._coded(script + rest)
    body = coded + packed[HEADER + header.coded :]
    sizes = struct.pack("<3I", len(script) + len(rest), len(script), len(coded))
    head = b"".join((packed[:4], struct.pack("<I", HEADER + len(body)), packed[8:16], sizes, packed[28:45]))
    return sealed(head + bytes([properties, 0, 0]) + bytes(4) + body)


def sealed(packed: bytes, **numbers: int) -> bytes:
    """The file with other numbers in its header, and a checksum that fits them."""
    names = ("packed", "size", "checksum", "plain", "script", "coded", "weights", "largest", "area", "channels")
    changed = bytearray(packed)
    for name, number in numbers.items():
        struct.pack_into("<I", changed, 4 + 4 * names.index(name), number)
    struct.pack_into("<I", changed, 48, zlib.crc32(changed[HEADER:], zlib.crc32(changed[:48])))
    return bytes(changed)


def places_of(shape: tuple[int, int, int, int], entries: int, seed: int) -> np.ndarray:
    """Places around the middle of a list, half of them at it."""
    random = np.random.default_rng(seed)
    drawn = np.rint(random.normal(0, entries / 6, shape) * (random.random(shape) < 0.5)) + entries // 2
    return np.clip(drawn, 0, entries - 1).astype(np.uint8)


def kernel(
    kind: Kind,
    size: Size,
    shape: tuple[int, int, int, int],
    entries: int = 15,
    *,
    last: bool = False,
    along: int = -1,
    center: int = -1,
    small: bool = False,
) -> Found:
    """A kernel whose values lie at the beginning of some data, with its vectors after them where it is sparse."""
    random = np.random.default_rng(entries)
    center = entries // 2 if center < 0 else center
    book = np.linspace(-1, 1, entries) if entries > 1 else np.zeros(1)
    book[center] = 0
    gains = np.zeros(0, np.float32)
    if kind == Kind.TABLE:
        whole = np.arange(entries) - center
        types = {Size.NIBBLE: np.int8, Size.BYTE: np.int8, Size.HALF: np.float16, Size.WORD: np.float32}
        listed = whole if size <= Size.BYTE else book
        values = listed.astype(types[size]).view(f"u{_WIDTHS[size]}")
        book = values & 15 if size == Size.NIBBLE else values
    elif kind == Kind.SCALED:
        book = np.rint(book * 32767).astype(np.int16)
    else:
        book = book.astype(np.float32)
        gains = random.uniform(-2, 2, shape[3 if last else 0]).astype(np.float32)
        if small:  # from what float16 has no number for to what is beyond it; and numbers halfway between two
            gains = np.geomspace(1e-9, 9e4, len(gains)).astype(np.float32)
            gains[::2] = 2.0 ** np.rint(np.log2(gains[::2]))
            book = (np.rint(2047 * np.linspace(-1, 1, entries)) / 1024).astype(np.float32)
    sparse = Sparse(along, (0, 2), (0, 1)) if along >= 0 else None
    made = Kernel(kind, size, shape, 0, center, book, last, gains, sparse)
    places = places_of(shape, entries, sum(shape))
    if kind == Kind.TABLE:
        return Found(made, places, book[places])
    if kind == Kind.GAINS:
        factors = gains if last else gains[:, None, None, None]
        return Found(made, places, records.products(book[places], factors, size == Size.HALF))
    values = np.zeros(shape, np.int64)
    axis = 3 if last else 0
    for channel in range(shape[axis]):
        mine = places.take(channel, axis)
        steps = book[mine].astype(np.int64)
        expected = records.scaled(steps, int(np.abs(steps).max()))
        off = random.integers(-1, 2, len(book))[mine] * (random.random() < 0.5)
        np.moveaxis(values, axis, 0)[channel] = expected * random.choice([-1, 1]) + off
    return Found(made, places, np.clip(values, -127, 127).astype(np.int8).view(np.uint8))


def packed_of(*found: Found, scales: int = 0) -> tuple[bytes, bytes]:
    """Bytes with the kernels in them, one after another with something between, and the same packed."""
    data, moved = bytearray(b"some bytes that are no kernel " * 3), []
    for one in found:
        offsets = []
        for _, part in records.stored(one.kernel, one.values):
            offsets.append(len(data))
            data += part + b"between\0"
        sparse = one.kernel.sparse
        if sparse:
            sparse = replace(sparse, segments=(offsets[1], sparse.segments[1]), indices=(offsets[2], sparse.indices[1]))
        moved.append(Found(replace(one.kernel, offset=offsets[0], sparse=sparse), one.places, one.values))
    products = []
    if scales:
        numbers, factor = np.linspace(0.1, 3, scales, dtype=np.float32), np.float32(0.37)
        products.append(Product(len(data) + 4 * scales, len(data), scales, factor))
        data += numbers.tobytes() + (numbers * factor).astype(np.float32).tobytes()
    return bytes(data), files._write(bytes(data), moved, products)


KERNELS = {
    "float32": (Kind.TABLE, Size.WORD, (6, 3, 3, 5), 15),
    "float16": (Kind.TABLE, Size.HALF, (40, 1, 1, 30), 61),
    "int8": (Kind.TABLE, Size.BYTE, (9, 5, 4, 7), 255),
    "int4": (Kind.TABLE, Size.NIBBLE, (7, 3, 3, 3), 15),
    "one-value": (Kind.TABLE, Size.WORD, (8, 1, 1, 8), 1),
    "scaled": (Kind.SCALED, Size.BYTE, (12, 3, 3, 8), 33),
    "gains": (Kind.GAINS, Size.WORD, (12, 3, 3, 8), 33),
    "gains-half": (Kind.GAINS, Size.HALF, (12, 2, 3, 8), 33),
}
DEPTHWISE = {
    "scaled-depthwise": (Kind.SCALED, Size.BYTE, (1, 3, 3, 40), 33),
    "gains-depthwise": (Kind.GAINS, Size.HALF, (1, 5, 5, 24), 33),
}


@cache
def pairs() -> dict[str, tuple[bytes, bytes]]:
    """Data and its packed form, by name."""
    made = {name: packed_of(kernel(*settings)) for name, settings in KERNELS.items()}
    made |= {name: packed_of(kernel(*settings, last=True)) for name, settings in DEPTHWISE.items()}
    for along in range(4):
        found = kernel(Kind.TABLE, Size.HALF, (6, 3, 2, 5), 15, along=along)
        made[f"sparse-{along}"] = packed_of(found, scales=6)
    made["sparse-scaled"] = packed_of(kernel(Kind.SCALED, Size.BYTE, (12, 3, 3, 8), 33, along=3))
    made["sparse-gains"] = packed_of(kernel(Kind.GAINS, Size.HALF, (12, 3, 3, 8), 33, along=0))
    made["gains-of-every-size"] = packed_of(kernel(Kind.GAINS, Size.HALF, (160, 1, 1, 40), 255, small=True))
    made["no-value-below-zero"] = packed_of(kernel(Kind.TABLE, Size.BYTE, (9, 3, 3, 4), 15, center=0))
    made["no-value-above-zero"] = packed_of(kernel(Kind.TABLE, Size.HALF, (9, 3, 3, 4), 15, center=14))
    made["no-kernel"] = packed_of(scales=5)
    made["all"] = packed_of(*(kernel(*settings) for settings in KERNELS.values()), scales=9)
    made["large"] = packed_of(kernel(Kind.SCALED, Size.BYTE, (90, 3, 3, 30), 255), kernel(*KERNELS["int8"]))
    return made


def samples() -> dict[str, bytes]:
    """Packed data by name."""
    return {name: packed for name, (_, packed) in pairs().items()}
