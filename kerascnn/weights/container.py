"""One small file for a network: what it is, how photos are prepared, what its classes are, and its weights (.kdc).

After Deep Compression (Han, Mao & Dally 2016, arXiv:1510.00149): weights that were pruned and share few values are kept
as a codebook and coded indices; every other array as it is, in float16 where that holds its values exactly. Nothing is
ever rounded here: decoding gives the float32 arrays that were encoded, bit by bit.

    magic      "KDC" and the format's version, one byte
    length     uint32, of the header
    header     JSON, deflated: the fields of `Header`, and "arrays" as [layer, weight, shape, entries, bits], where
               `entries` is the size of the codebook, 0 for an array that has none
    remainder  the lower bytes of arrays without a codebook, but for the first, which the coder's states hold
    stream     see `kerascnn.weights.entropy`
    digest     the first 16 bytes of the SHA-256 of everything before

All is little endian. A file is believed in nothing: sizes are compared with those of the network that it says it is,
before anything of that size is made.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerascnn.registry import WeightsRecord
from kerascnn.weights.entropy import HIDDEN_BYTES, Damaged, Decoder, Encoder
from kerascnn.weights.headers import ArrayRow, Header, architecture, describe, from_json, to_json, weights_of
from kerascnn.weights.sources import WeightsError
from kerascnn.weights.tensors import ENTRIES, Memory, code_codebook, code_indices, code_leading

if TYPE_CHECKING:
    import keras

__all__ = [
    "SUFFIX",
    "Header",
    "arrays_of",
    "check",
    "decode",
    "describe",
    "encode",
    "half",
    "read",
    "read_header",
    "record",
    "write",
]

SUFFIX = ".kdc"
MAGIC = b"KDC\x01"
DIGEST = 16
HEADER_BYTES = 1 << 20  # deflated
HEADER_TEXT = 1 << 22


def arrays_of(model: keras.Model) -> dict[str, np.ndarray]:
    """A model's weights by `layer/weight`, float32, in the order of its layers."""
    return {path: np.asarray(weight, np.float32) for path, weight in weights_of(model).items()}


def half(array: np.ndarray) -> np.ndarray:
    """An array rounded to what float16 holds, as float32: it then takes half the room, or its codebook does.

    Raises:
        ValueError: a value is beyond float16's range, or not a number.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(array).astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError("There are values that float16 cannot hold (beyond 65,504, or not numbers).")
    return rounded


def encode(header: Header, arrays: Mapping[str, np.ndarray], *, demand_half: bool = False) -> bytes:
    """A file's bytes.

    Args:
        header: what the network is.
        arrays: float32, by `layer/weight`; the order is kept. Arrays of at most 256 different values that gain from it
            are kept as a codebook and indices; values that float16 holds exactly take two bytes, others four.
        demand_half: refuse arrays that need four bytes a value (see `half`) instead of giving them four.

    Raises:
        ValueError: the header or an array is not of the kind described.
    """
    rows, numbers = [], []
    for path, array in arrays.items():
        row, number = _plan(path, array)
        if demand_half and row.bits > 16:
            raise ValueError(f"{path} has values that float16 does not hold. Round them first: container.half(array).")
        rows.append(row)
        numbers.append(number)
    text = to_json(header, rows)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    head = compressor.compress(text) + compressor.flush()
    lanes = _lanes(rows)
    encoder, memory, lower = Encoder(lanes), Memory(), []
    for row, number in zip(rows, numbers, strict=True):
        if row.entries:
            book, indices = np.unique(number, return_inverse=True)
            code_codebook(encoder, memory, row.bits, row.entries, book)
            centre = _centre(book, row.bits)
            code_indices(encoder, memory, row.shape, row.entries, centre, indices.ravel())
        else:
            shift = row.bits - 8
            code_leading(encoder, memory, row.name, row.bits, row.size, number >> shift)
            lower.append(_lower_bytes(number, row.bits))
    remainder = b"".join(lower)
    within = lanes * HIDDEN_BYTES
    body = b"".join((MAGIC, struct.pack("<I", len(head)), head, remainder[within:], encoder.finish(remainder[:within])))
    return body + hashlib.sha256(body).digest()[:DIGEST]


def decode(data: bytes, name: str) -> tuple[Header, dict[str, np.ndarray]]:
    """What `encode` was given.

    Args:
        data: the whole file.
        name: its name, for errors.

    Raises:
        WeightsError: it is no such file, was altered, or says what cannot be.
    """
    header, rows, body = _open(data, name)
    lanes = _lanes(rows)
    lower = sum(row.lower_bytes for row in rows)
    outside = max(0, lower - lanes * HIDDEN_BYTES)
    try:
        if outside > len(body):
            raise Damaged("it ends within the arrays that share no weights")
        decoder, memory = Decoder(lanes, body[outside:]), Memory()
        parts = [_decode_array(decoder, memory, row) for row in rows]
        hidden = decoder.finish()
    except Damaged as error:
        raise WeightsError(f"{name} is damaged: {error}.") from None
    if any(hidden[lower:]):
        raise WeightsError(f"{name} is damaged: there is something where nothing should be.")
    remainder = hidden[: min(lower, len(hidden))] + body[:outside]
    arrays, place = {}, 0
    for row, part in zip(rows, parts, strict=True):
        if not row.entries:
            part = _joined(part, remainder[place : place + row.lower_bytes], row.bits)
            place += row.lower_bytes
        arrays[row.path] = _floats(part, row.bits).reshape(row.shape)
        if not np.isfinite(arrays[row.path]).all():
            raise WeightsError(f"{name} is damaged: {row.path} has values that are not finite.")
    return header, arrays


def _decode_array(decoder: Decoder, memory: Memory, row: ArrayRow) -> np.ndarray:
    if not row.entries:
        return code_leading(decoder, memory, row.name, row.bits, row.size, None)
    book = code_codebook(decoder, memory, row.bits, row.entries, None)
    return book[code_indices(decoder, memory, row.shape, row.entries, _centre(book, row.bits), None)]


def write(
    path: str | os.PathLike[str], header: Header, arrays: Mapping[str, np.ndarray], *, demand_half: bool = False
) -> int:
    """Write a file, checked by decoding it, under its name only once it is complete; the number of its bytes.

    Raises:
        ValueError: see `encode`; or the name does not end in .kdc.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"The name of such a file ends in {SUFFIX}; it is {path.name!r}.")
    data = encode(header, arrays, demand_half=demand_half)
    _, decoded = decode(data, path.name)
    if any(not np.array_equal(_bits(decoded[name]), _bits(array)) for name, array in arrays.items()):
        raise AssertionError(f"{path.name} does not decode to what was encoded.")
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return len(data)


def read(path: str | os.PathLike[str]) -> tuple[Header, dict[str, np.ndarray]]:
    """What a file says of its network, and its weights by `layer/weight`, float32.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is damaged, or no such file; or its network is none that kerascnn builds.
    """
    return decode(Path(path).read_bytes(), str(path))


def read_header(path: str | os.PathLike[str]) -> Header:
    """What a file says of its network, once its digest was found right.

    Raises:
        FileNotFoundError, WeightsError: as for `read`.
    """
    return _open(Path(path).read_bytes(), str(path))[0]


def check(path: str | os.PathLike[str]) -> None:
    """Compare the arrays that a file announces with those of the network that it says it is.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: as for `read`; or one is missing, unknown, or of another shape.
    """
    header, rows, _ = _open(Path(path).read_bytes(), str(path))
    try:
        wanted = architecture(header)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    found = {row.path: row.shape for row in rows}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise WeightsError(
                f"{path} does not hold the {header.variant} that it says it is: {name} would be "
                f"{wanted.get(name, 'unknown')}, the file has {found.get(name, 'none')}."
            )


def record(path: str | os.PathLike[str]) -> WeightsRecord:
    """A file as the builders know weights: what its network needs, and how photos are prepared for it.

    Raises:
        FileNotFoundError, WeightsError: as for `read`.
    """
    data = Path(path).read_bytes()
    header, _, _ = _open(data, str(path))
    return WeightsRecord(
        variant=header.variant,
        name=Path(path).name,
        url=header.origin.get("url", ""),
        source=header.origin.get("name", ""),
        licence=header.origin.get("licence", ""),
        preprocessing=asdict(header.preprocessing) if header.preprocessing else None,
        file=Path(path).name,
        format="kdc",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        classes=header.classes,
        labels=header.labels or "",
        options=header.options,
        input_shape=header.input_shape,
        trained=header.trained,
    )


def _open(data: bytes, name: str) -> tuple[Header, list[ArrayRow], bytes]:
    """The header, the arrays that it announces, and the coded bytes."""
    start = len(MAGIC) + 4
    if data[:3] != MAGIC[:3]:
        raise WeightsError(f"{name} is not a {SUFFIX} file: it does not begin with {MAGIC[:3].decode()}.")
    if data[3:4] != MAGIC[3:]:
        raise WeightsError(f"{name} is damaged, or of a later format than this version of kerascnn reads.")
    if len(data) < start + DIGEST or hashlib.sha256(data[:-DIGEST]).digest()[:DIGEST] != data[-DIGEST:]:
        raise WeightsError(f"{name} is damaged or truncated: its checksum does not fit its contents.")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    if length > min(len(data) - start - DIGEST, HEADER_BYTES):
        raise WeightsError(f"{name} is damaged: its header would be {length:,} bytes long.")
    inflater = zlib.decompressobj(-15)
    try:
        text = inflater.decompress(data[start : start + length], HEADER_TEXT)
    except zlib.error as error:
        raise WeightsError(f"{name} is damaged: its header cannot be read ({error}).") from None
    if not inflater.eof or inflater.unused_data:
        raise WeightsError(f"{name} is damaged: its header is too long, or ends too early.")
    try:
        header, rows = from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{name} is damaged, or was not written by kerascnn: {error}") from None
    return header, rows, data[start + length : len(data) - DIGEST]


def _plan(path: str, array: np.ndarray) -> tuple[ArrayRow, np.ndarray]:
    """How an array is kept, and its values as whole numbers in ascending order of the values."""
    layer, _, name = path.rpartition("/")
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise ValueError(f"{path} must be a float32 array; it is {getattr(array, 'dtype', type(array).__name__)}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has values that are not finite.")
    with np.errstate(over="ignore"):
        short = array.astype(np.float16)
    bits = 16 if np.array_equal(_bits(short.astype(np.float32)), _bits(array)) else 32
    number = _whole(short if bits == 16 else array)
    _, counts = np.unique(number, return_counts=True)
    entries = 0
    if 0 < len(counts) <= ENTRIES:
        coded = -float((counts * np.log2(counts / array.size)).sum()) + len(counts) * bits
        if coded < array.size * (bits - 2.0):
            entries = len(counts)
    return ArrayRow(layer, name, array.shape, entries, bits), number


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint32)


def _whole(array: np.ndarray) -> np.ndarray:
    """Floats as int64, flat, in the same order: negative ones have all their bits turned over, others the sign."""
    bits = 8 * array.itemsize
    pattern = np.ascontiguousarray(array).ravel().view(f"<u{array.itemsize}").astype(np.int64)
    top = 1 << (bits - 1)
    return np.where(pattern & top, pattern ^ (2 * top - 1), pattern ^ top)


def _floats(number: np.ndarray, bits: int) -> np.ndarray:
    top = 1 << (bits - 1)
    pattern = np.where(number & top, number ^ top, number ^ (2 * top - 1))
    return pattern.astype(f"<u{bits // 8}").view(f"<f{bits // 8}").astype(np.float32)


def _centre(book: np.ndarray, bits: int) -> int:
    """The place of zero in a codebook, or of the least positive value, or of the last."""
    return min(int(np.searchsorted(book, 1 << (bits - 1))), len(book) - 1)


def _lower_bytes(number: np.ndarray, bits: int) -> bytes:
    return b"".join((number >> shift & 0xFF).astype(np.uint8).tobytes() for shift in range(bits - 16, -1, -8))


def _joined(leading: np.ndarray, lower: bytes, bits: int) -> np.ndarray:
    number = leading.astype(np.int64)
    for plane in np.frombuffer(lower, np.uint8).reshape(bits // 8 - 1, len(leading)):
        number = number << 8 | plane
    return number


def _lanes(rows: list[ArrayRow]) -> int:
    """Coders side by side: a power of two, so that there are about a thousand steps or fewer."""
    return 1 << min(max((sum(row.size for row in rows) >> 10).bit_length() - 1, 5), 12)
