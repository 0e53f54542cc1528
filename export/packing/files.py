"""Packed .tflite files: written, and read again bit by bit.

docs/decoder.md has the format byte by byte, and `export/decoder` the decoder in C. A file is not trusted: its sizes are
checked before anything of that size is made.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from export.errors import RequestError
from export.packing import records
from export.packing.finding import find
from export.packing.kernels import Memory
from export.packing.matching import Found
from export.packing.records import Damaged, Kernel, Product, Script
from export.packing.values import code_kernel
from kerascnn.weights.container import entropy

SUFFIX = ".kdz"
MAGIC = b"KDZ\x01"
_HEADER = struct.Struct("<4s10IBBHI")
_CHECKED = _HEADER.size - 4  # bytes of the header before the checksum over everything else
_MOST = (1 << 31) - 1
_SETTINGS = ((0, 2, 2), (0, 1, 1), (0, 0, 0), (3, 0, 2), (4, 0, 1), (0, 0, 2))  # lc, lp, pb of LZMA
_LONG = 1 << 20  # bytes of a rest for which only the first settings are tried


@dataclass(frozen=True)
class Header:
    """What a file says of itself before anything is decoded; all are bytes, but for weights, area, channels, lanes."""

    packed: int
    size: int
    checksum: int
    plain: int
    script: int
    coded: int
    weights: int
    largest: int
    area: int
    channels: int
    lanes: int  # the logarithm of their number
    properties: int


def pack(data: bytes, kernels: Iterable[np.ndarray] = ()) -> bytes:
    """Pack a .tflite file.

    Args:
        data: The file.
        kernels: Those of the network that it was made from, as Keras has them. Where their weights share few values,
            int8 kernels and those with normalization folded into them are coded as these values.

    Returns:
        The packed file. It was unpacked again, and gave the same bytes.

    Raises:
        ValueError: It does not give the same bytes, or is too large.
    """
    if len(data) > _MOST:
        raise ValueError(f"{len(data):,} bytes are more than a packed file can hold.")
    found, linked = find(data, list(kernels))
    packed = _write(data, found, linked)
    if unpack(packed) != data:
        raise ValueError("The packed file does not give the same bytes.")
    return packed


def unpack(data: bytes, name: str = "the file") -> bytes:
    """Return the .tflite file that was packed.

    Args:
        data: The packed file.
        name: What errors call it.

    Raises:
        RequestError: It is no packed file, of a later version, or damaged.
    """
    if data[:3] != MAGIC[:3]:
        raise RequestError(f"{name} is not a packed .tflite file: it does not begin with {MAGIC[:3].decode()}.")
    if data[3:4] != MAGIC[3:]:
        raise RequestError(f"{name} is of a later format than this version of kerascnn reads. Update kerascnn.")
    try:
        header = _header(data)
        return _decode(data, header)
    except (Damaged, entropy.Damaged, lzma.LZMAError) as error:
        raise RequestError(
            f"{name} is damaged: {error}. Fetch it again, or pack the .tflite file by exporting with --compress."
        ) from None


def _header(data: bytes) -> Header:
    if len(data) < _HEADER.size:
        raise Damaged("it ends within its header")
    _, *numbers, reserved, checksum = _HEADER.unpack_from(data)
    header = Header(*numbers)
    if len(data) != header.packed:
        raise Damaged(f"it has {len(data):,} bytes instead of {header.packed:,}")
    if zlib.crc32(data[_HEADER.size :], zlib.crc32(data[:_CHECKED])) != checksum:
        raise Damaged("its checksum does not fit its contents")
    possible = (
        reserved == 0
        and header.size <= _MOST
        and header.script <= header.plain <= header.script + header.size
        and header.coded <= len(data) - _HEADER.size
        and max(header.largest, header.area, header.channels) <= header.weights + 1 <= _MOST
        and 4 <= header.lanes <= 10
        and _settings(header.properties) is not None
    )
    if not possible:
        raise Damaged("its header says impossible sizes")
    return header


def _decode(data: bytes, header: Header) -> bytes:
    body = data[_HEADER.size : _HEADER.size + header.coded]
    plain = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(header.properties, header.plain)).decompress(
        body, header.plain
    )
    if len(plain) != header.plain:
        raise Damaged("the rest of the .tflite file ends too early")
    script = records.read(plain[: header.script])
    target = _Target(header.size)
    target.spread(plain[header.script :], script.gaps)
    _check_kernels(script.kernels, header)
    if script.kernels:
        decoder, memory = entropy.Decoder(1 << header.lanes, data[_HEADER.size + header.coded :]), Memory()
        for kernel in script.kernels:
            for offset, part in records.stored(kernel, code_kernel(decoder, memory, kernel, None)):
                target.put(offset, part)
        if any(decoder.finish()):
            raise Damaged("the coded weights do not end where they began")
    if 4 * sum(product.count for product in script.products) > header.size:
        raise Damaged("it has more products than numbers")
    for product in script.products:
        source = np.frombuffer(target.get(product.source, 4 * product.count), "<f4")
        target.put(product.offset, records.products(source, np.array(product.factor, np.float32), half=False).tobytes())
    if zlib.crc32(target.data) != header.checksum:
        raise Damaged("what it gives has another checksum")
    return bytes(target.data)


def _check_kernels(kernels: Sequence[Kernel], header: Header) -> None:
    """Refuse kernels for which the memory that the header announces would not do."""
    if (
        sum(kernel.weights for kernel in kernels) != header.weights
        or any(kernel.weights > header.largest for kernel in kernels)
        or any(kernel.area > header.area for kernel in kernels)
        or any(_sides(kernel) > header.channels for kernel in kernels)
    ):
        raise Damaged("its kernels are not those that it announces")


class _Target:
    """The .tflite file while it is put together; nothing is put outside of it."""

    def __init__(self, size: int):
        self.data = bytearray(size)

    def put(self, offset: int, part: bytes) -> None:
        if offset + len(part) > len(self.data):
            raise Damaged("a kernel leaves the .tflite file")
        self.data[offset : offset + len(part)] = part

    def get(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise Damaged("a product leaves the .tflite file")
        return bytes(self.data[offset : offset + size])

    def spread(self, rest: bytes, gaps: Iterable[tuple[int, int]]) -> None:
        place = taken = 0
        for before, length in gaps:
            if before > len(rest) - taken:
                raise Damaged("a gap begins after the end")
            self.put(place, rest[taken : taken + before])
            place, taken = place + before + length, taken + before
        if place + len(rest) - taken != len(self.data):
            raise Damaged("the gaps do not fit the .tflite file")
        self.put(place, rest[taken:])


def _write(data: bytes, found: Sequence[Found], linked: Sequence[Product]) -> bytes:
    kernels = [one.kernel for one in found]
    spans = [(offset, len(part)) for one in found for offset, part in records.stored(one.kernel, one.values)]
    spans += [(product.offset, 4 * product.count) for product in linked]
    rest, gaps, place = [], [], 0
    for offset, length in sorted(spans):
        rest.append(data[place:offset])
        gaps.append((offset - place, length))
        place = offset + length
    rest.append(data[place:])
    script = records.write(Script(gaps, kernels, list(linked)))
    plain = script + b"".join(rest)
    properties, coded = _coded(plain)
    lanes, stream = _stream(found)
    numbers = (
        _HEADER.size + len(coded) + len(stream),
        len(data),
        zlib.crc32(data),
        len(plain),
        len(script),
        len(coded),
        sum(kernel.weights for kernel in kernels),
        max((kernel.weights for kernel in kernels), default=0),
        max((kernel.area for kernel in kernels), default=0),
        max((_sides(kernel) for kernel in kernels), default=0),
        lanes,
        properties,
        0,
    )
    head = _HEADER.pack(MAGIC, *numbers, 0)[:_CHECKED]
    body = coded + stream
    return head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body


def _stream(found: Sequence[Found]) -> tuple[int, bytes]:
    """Code the kernels.

    Returns:
        The logarithm of the number of lanes, and the bytes.
    """
    weights = sum(one.kernel.weights for one in found)
    lanes = min(max((weights >> 13).bit_length() - 1, 4), 10)
    if not found:
        return lanes, b""
    encoder, memory = entropy.Encoder(1 << lanes), Memory()
    for one in found:
        code_kernel(encoder, memory, one.kernel, one.places, one.values)
    return lanes, encoder.finish(b"")


def _sides(kernel: Kernel) -> int:
    return kernel.shape[0] + kernel.shape[3]


def _coded(plain: bytes) -> tuple[int, bytes]:
    """Code bytes with those settings of LZMA that make them the fewest."""
    settings = _SETTINGS if len(plain) < _LONG else _SETTINGS[:1]
    choices = []
    for lc, lp, pb in settings:
        properties = (pb * 5 + lp) * 9 + lc
        coder = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=_filters(properties, len(plain)))
        choices.append((properties, coder.compress(plain) + coder.flush()))
    return min(choices, key=lambda choice: len(choice[1]))


def _settings(properties: int) -> tuple[int, int, int] | None:
    """Return lc, lp and pb of LZMA's properties; None where they are not allowed."""
    lc, lp, pb = properties % 9, properties // 9 % 5, properties // 45
    return (lc, lp, pb) if pb <= 4 and lc + lp <= 4 else None


def _filters(properties: int, size: int) -> list[dict[str, int]]:
    lc, lp, pb = _settings(properties) or (0, 0, 0)
    common = {"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(size, 1 << 12)}
    return [{**common, "lc": lc, "lp": lp, "pb": pb}]
