"""What a packed file says of the kernels in it: which bytes of the .tflite file they become.

The script is a row of whole numbers, seven bits a byte, and of lists of values as they are:

    gaps      how many; for each one, the bytes of the rest before it, and its own
    kernels   how many; for each one, a `Kernel`
    products  how many; for each one, a `Product`
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

FEWEST = 64  # weights of a kernel, which is not worth its line of the script with fewer
ENTRIES = 256  # values of one kernel, at most
LEVELS = 127  # of int8 kernels, on either side of zero
_MOST = (1 << 31) - 1
_DTYPES = (np.uint8, np.uint8, np.uint16, np.uint32)  # by a kernel's size: half a byte, 1, 2, 4
_BUT_SIGN = (0xF, 0xFF, 0x7FFF, 0x7FFFFFFF)  # bits of a value: a float's zero may have a sign
_INDEX_DTYPES = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class Damaged(Exception):
    """Packed data that no packer wrote; the message says what is wrong with it."""


class Kind(IntEnum):
    """How a kernel's values come from its list.

    Attributes:
        TABLE: The list has them as they are.
        SCALED: int8; each channel's largest value is 127, the others are in proportion.
        GAINS: Products of the list and of a factor for each channel, in float32, or rounded to float16.
    """

    TABLE = 0
    SCALED = 1
    GAINS = 2


class Size(IntEnum):
    """How many bytes a value takes."""

    NIBBLE = 0
    BYTE = 1
    HALF = 2
    WORD = 3


@dataclass(frozen=True)
class Sparse:
    """Where the two vectors of a kernel without its zeros go, see `export.formats.sparsity`.

    Attributes:
        along: The dimension along which its rows run.
        segments: (offset, bytes a number) of where each row begins among the values.
        indices: (offset, bytes a number) of each value's place in its row.
    """

    along: int
    segments: tuple[int, int]
    indices: tuple[int, int]


@dataclass(frozen=True)
class Kernel:
    """A kernel as places in a list of values.

    Attributes:
        kind: How values come from the list.
        size: How many bytes a value takes.
        shape: (rows, height, width, columns), in the order of the file.
        offset: Where its values begin in the .tflite file.
        center: The place of zero in the list.
        book: The list, in the order of its values: as unsigned whole numbers, int16 or float32, by kind.
        last: Whether its channels are the columns, and not the rows.
        gains: float32, one a channel, for `Kind.GAINS`.
        sparse: For a kernel without its zeros.
    """

    kind: Kind
    size: Size
    shape: tuple[int, int, int, int]
    offset: int
    center: int
    book: np.ndarray
    last: bool = False
    gains: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    sparse: Sparse | None = None

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """How many channels it has."""
        return self.shape[3 if self.last else 0]

    @property
    def area(self) -> int:
        """How many kernels of several positions it has; 0 where there is one position."""
        rows, height, width, columns = self.shape
        return rows * columns if height * width > 1 else 0


@dataclass(frozen=True)
class Product:
    """float32 numbers of the file that are others, times a factor."""

    offset: int
    source: int
    count: int
    factor: np.float32


@dataclass(frozen=True)
class Script:
    """All that is said of a file. gaps: (bytes of the rest before it, its own bytes)."""

    gaps: list[tuple[int, int]]
    kernels: list[Kernel]
    products: list[Product]


def write(script: Script) -> bytes:
    """Return the script's bytes."""
    parts = [_number(len(script.gaps)), *(_number(n) for gap in script.gaps for n in gap)]
    parts.append(_number(len(script.kernels)))
    for kernel in script.kernels:
        flags = kernel.kind | kernel.size << 2 | (kernel.sparse is not None) << 4 | kernel.last << 5
        parts.append(bytes([flags]))
        parts += [_number(n) for n in (*kernel.shape, kernel.offset)]
        if kernel.sparse:
            sparse = kernel.sparse
            parts += [_number(n) for n in (sparse.along, *sparse.segments, *sparse.indices)]
        parts += [bytes([len(kernel.book) - 1, kernel.center]), kernel.book.tobytes(), kernel.gains.tobytes()]
    parts.append(_number(len(script.products)))
    for product in script.products:
        parts += [_number(n) for n in (product.offset, product.source, product.count)]
        parts.append(np.float32(product.factor).astype("<f4").tobytes())
    return b"".join(parts)


def read(data: bytes) -> Script:
    """Read a script.

    Raises:
        Damaged: It is none.
    """
    reader = _Reader(data)
    gaps = [(reader.number(), reader.number()) for _ in range(reader.number())]
    kernels = [_kernel(reader) for _ in range(reader.number())]
    products = []
    for _ in range(reader.number()):
        offset, source, count = (reader.number() for _ in range(3))
        products.append(Product(offset, source, count, reader.array("<f4", 1)[0]))
    if reader.place != len(data):
        raise Damaged("something follows the script")
    return Script(gaps, kernels, products)


def _kernel(reader: _Reader) -> Kernel:
    flags = reader.byte()
    kind, size = flags & 3, Size(flags >> 2 & 3)
    if flags >> 6 or kind > Kind.GAINS:
        raise Damaged("a kernel is of no kind")
    rows, height, width, columns, offset = (reader.number() for _ in range(5))
    shape, last, sparse = (rows, height, width, columns), bool(flags & 32), None
    if not FEWEST <= math.prod(shape) <= _MOST or height * width > 0xFFFF:
        raise Damaged("a kernel has no size")
    if flags & 16:
        along, *rest = (reader.number() for _ in range(5))
        sparse = Sparse(along, (rest[0], rest[1]), (rest[2], rest[3]))
        if along > 3 or rest[1] not in _INDEX_DTYPES or rest[3] not in _INDEX_DTYPES:
            raise Damaged("a kernel without zeros has no places")
    entries, center = reader.byte() + 1, reader.byte()
    if (
        center >= entries
        or (kind == Kind.SCALED and size != Size.BYTE)
        or (kind == Kind.GAINS and size < Size.HALF)
        or (size == Size.NIBBLE and (sparse or kind != Kind.TABLE))
    ):
        raise Damaged("a kernel's values are of no kind")
    types = {Kind.TABLE: f"<u{_DTYPES[size]().itemsize}", Kind.SCALED: "<i2", Kind.GAINS: "<f4"}
    book = reader.array(types[Kind(kind)], entries)
    gains = reader.array("<f4", shape[3 if last else 0] if kind == Kind.GAINS else 0)
    return Kernel(Kind(kind), size, shape, offset, center, book, last, gains, sparse)


def stored(kernel: Kernel, values: np.ndarray) -> list[tuple[int, bytes]]:
    """Return the parts of the .tflite file that a kernel's values become, with their offsets.

    Args:
        kernel: The kernel.
        values: Its values as unsigned whole numbers, in its shape.
    """
    if kernel.sparse is None:
        if kernel.size == Size.NIBBLE:
            flat = np.append(values.ravel(), np.zeros(values.size % 2, np.uint8)) & 15
            return [(kernel.offset, (flat[::2] | flat[1::2] << 4).astype(np.uint8).tobytes())]
        return [(kernel.offset, values.astype(_DTYPES[kernel.size]).tobytes())]
    along = kernel.sparse.along
    order = [*(axis for axis in range(4) if axis != along), along]
    rows = values.transpose(order).reshape(-1, kernel.shape[along])
    kept = rows & _BUT_SIGN[kernel.size] != 0
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    (first, width), (second, index_width) = kernel.sparse.segments, kernel.sparse.indices
    return [
        (kernel.offset, rows[kept].astype(_DTYPES[kernel.size]).tobytes()),
        (first, segments.astype(_INDEX_DTYPES[width]).tobytes()),
        (second, np.nonzero(kept)[1].astype(_INDEX_DTYPES[index_width]).tobytes()),
    ]


def scaled(book: np.ndarray, top: int) -> np.ndarray:
    """Return the int8 values that a channel's are expected to be, if its largest one is `top`."""
    size = np.abs(book.astype(np.int64))
    return np.sign(book) * np.minimum((2 * LEVELS * size + top) // max(2 * top, 1), LEVELS)


def products(book: np.ndarray, gains: np.ndarray, half: bool) -> np.ndarray:
    """Return float32 products, or float16 ones, as unsigned whole numbers."""
    with np.errstate(all="ignore"):
        value = (book.astype(np.float64) * gains.astype(np.float64)).astype(np.float32)
        return value.astype(np.float16).view(np.uint16) if half else value.view(np.uint32)


def _number(n: int) -> bytes:
    parts = bytearray()
    while n >= 128:
        parts.append(n & 127 | 128)
        n >>= 7
    parts.append(n)
    return bytes(parts)


class _Reader:
    def __init__(self, data: bytes):
        self._data, self.place = data, 0

    def byte(self) -> int:
        return int(self.array("u1", 1)[0])

    def number(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if value > _MOST:
                    break
                return value
        raise Damaged("a number of the script is too large")

    def array(self, dtype: str, count: int) -> np.ndarray:
        size = count * np.dtype(dtype).itemsize
        if size > len(self._data) - self.place:
            raise Damaged("the script ends too early")
        self.place += size
        return np.frombuffer(self._data, dtype, count, self.place - size)
