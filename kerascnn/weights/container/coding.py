"""Between a header with arrays and the bytes of a .kdc file."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from kerascnn.weights.container.entropy import HIDDEN_BYTES, Damaged, Decoder, Encoder
from kerascnn.weights.container.header import ArrayRow, Header, from_json, to_json
from kerascnn.weights.container.tensors import ENTRIES, Memory, code_codebook, code_indices, code_leading
from kerascnn.weights.errors import WeightsError

MAGIC = b"KDC\x01"
DIGEST = 16
HEADER_BYTES = 1 << 20  # deflated
HEADER_TEXT = 1 << 22


def half(array: np.ndarray) -> np.ndarray:
    """Round an array to what float16 holds, as float32, so that it takes half the room, or its codebook does.

    Raises:
        ValueError: A value is beyond float16's range, or not a number.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(array).astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError("There are values that float16 cannot hold (beyond 65,504, or not numbers).")
    return rounded


def encode(header: Header, arrays: Mapping[str, np.ndarray], *, demand_half: bool = False) -> bytes:
    """Return a file's bytes.

    Args:
        header: What the network is.
        arrays: float32, by `layer/weight`; the order is kept. Arrays of at most 256 different values that gain from it
            are kept as a codebook and indices; values that float16 holds exactly take two bytes, others four.
        demand_half: Refuse arrays that need four bytes a value (see `half`).

    Raises:
        ValueError: The header or an array is not of the kind described.
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
            center = _center(book, row.bits)
            code_indices(encoder, memory, row.shape, row.entries, center, indices.ravel())
        else:
            shift = row.bits - 8
            code_leading(encoder, memory, row.name, row.bits, row.size, number >> shift)
            lower.append(_lower_bytes(number, row.bits))
    remainder = b"".join(lower)
    within = lanes * HIDDEN_BYTES
    body = b"".join((MAGIC, struct.pack("<I", len(head)), head, remainder[within:], encoder.finish(remainder[:within])))
    return body + hashlib.sha256(body).digest()[:DIGEST]


def decode(data: bytes, name: str) -> tuple[Header, dict[str, np.ndarray]]:
    """Return what `encode` was given.

    Args:
        data: The whole file.
        name: Its name, for errors.

    Raises:
        WeightsError: It is no .kdc file, was altered, or has impossible contents.
    """
    header, rows, body = open_data(data, name)
    return header, decode_arrays(rows, body, name)


def decode_arrays(rows: Sequence[ArrayRow], body: bytes, name: str) -> dict[str, np.ndarray]:
    """Decode the arrays of a file by `layer/weight`.

    Args:
        rows: What the header announces.
        body: The coded bytes, see `open_data`.
        name: The file's name, for errors.

    Raises:
        WeightsError: They are damaged.
    """
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
            part = _floats(_joined(part, remainder[place : place + row.lower_bytes], row.bits), row.bits)
            place += row.lower_bytes
        arrays[row.path] = part.reshape(row.shape)
        if not np.isfinite(arrays[row.path]).all():
            raise WeightsError(f"{name} is damaged: {row.path} has values that are not finite.")
    return arrays


def _decode_array(decoder: Decoder, memory: Memory, row: ArrayRow) -> np.ndarray:
    """Decode an array that shares weights as floats, the leading bytes of another as whole numbers."""
    if not row.entries:
        return code_leading(decoder, memory, row.name, row.bits, row.size, None)
    book = code_codebook(decoder, memory, row.bits, row.entries, None)
    indices = code_indices(decoder, memory, row.shape, row.entries, _center(book, row.bits), None)
    return _floats(book, row.bits)[indices]


def open_data(data: bytes, name: str) -> tuple[Header, list[ArrayRow], bytes]:
    """Check a file's bytes; return the header, the arrays that it announces, and the coded bytes.

    Raises:
        WeightsError: It is no .kdc file, or is damaged.
    """
    start = len(MAGIC) + 4
    if data[:3] != MAGIC[:3]:
        raise WeightsError(f"{name} is not a .kdc file: it does not begin with {MAGIC[:3].decode()}.")
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
    """Choose how an array is kept, and turn its values into whole numbers in the same order."""
    layer, _, name = path.rpartition("/")
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise ValueError(f"{path} must be a float32 array; it is {getattr(array, 'dtype', type(array).__name__)}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has values that are not finite.")
    with np.errstate(over="ignore"):
        short = array.astype(np.float16)
    bits = 16 if equal(short.astype(np.float32), array) else 32
    number = _whole(short if bits == 16 else array)
    _, counts = np.unique(number, return_counts=True)
    entries = 0
    if 0 < len(counts) <= ENTRIES:
        coded = -float((counts * np.log2(counts / array.size)).sum()) + len(counts) * bits
        if coded < array.size * (bits - 2.0):
            entries = len(counts)
    return ArrayRow(layer, name, array.shape, entries, bits), number


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two float32 arrays are equal bit by bit."""
    return np.array_equal(_bits(a), _bits(b))


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint32)


def _whole(array: np.ndarray) -> np.ndarray:
    """Turn floats into int64, flat, in the same order: all bits of negative ones are inverted, of others the sign."""
    bits = 8 * array.itemsize
    pattern = np.ascontiguousarray(array).ravel().view(f"<u{array.itemsize}").astype(np.int64)
    top = 1 << (bits - 1)
    return np.where(pattern & top, pattern ^ (2 * top - 1), pattern ^ top)


def _floats(number: np.ndarray, bits: int) -> np.ndarray:
    top = 1 << (bits - 1)
    pattern = np.where(number & top, number ^ top, number ^ (2 * top - 1))
    return pattern.astype(f"<u{bits // 8}").view(f"<f{bits // 8}").astype(np.float32)


def _center(book: np.ndarray, bits: int) -> int:
    """Find the place of zero in a codebook, or of the least positive value, or of the last."""
    return min(int(np.searchsorted(book, 1 << (bits - 1))), len(book) - 1)


def _lower_bytes(number: np.ndarray, bits: int) -> bytes:
    return b"".join((number >> shift & 0xFF).astype(np.uint8).tobytes() for shift in range(bits - 16, -1, -8))


def _joined(leading: np.ndarray, lower: bytes, bits: int) -> np.ndarray:
    number = leading.astype(np.int64)
    for plane in np.frombuffer(lower, np.uint8).reshape(bits // 8 - 1, len(leading)):
        number = number << 8 | plane
    return number


def _lanes(rows: Sequence[ArrayRow]) -> int:
    """Choose the number of coders side by side: a power of two that makes about a thousand steps or fewer."""
    return 1 << min(max((sum(row.size for row in rows) >> 10).bit_length() - 1, 5), 12)
