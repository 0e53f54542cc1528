"""HDF5 files that are not trusted: every size that a file states is checked before anything of that size is made.

A file may state any size and name anything: arrays of 2**60 values, groups within themselves, other files of the disk.
Only arrays within the file are followed here, and only so many of them as the file can hold.
HDF5 itself (1.14) reads without end where a heap of texts has an entry of no size, and beyond its memory where an entry
is larger than the heap; `check_heaps` looks for those.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from kerascnn.weights.zipped import most

if TYPE_CHECKING:
    import h5py

LINKS = 200_000  # the deepest networks here have 20,000
DEPTH = 24
CHUNKS = 100_000  # of one array
ATTRIBUTE = 1 << 24  # bytes
HEADER_BLOCKS, HEADER_BLOCK = 64, 1 << 20
_ATTRIBUTE, _CONTINUATION, _VARIABLE = 12, 16, 9  # kinds of messages in a header, and a class of types
_HEAP = b"GCOL\x01"  # signature and version
_BLOCK = 1 << 20


def check_heaps(file: IO[bytes]) -> None:
    """Refuse a file with a heap that HDF5 would read without end, or beyond its end.

    A heap is its signature, version, 3 bytes, its size, and entries of index, references, 4 bytes and size, padded to 8
    bytes; the entry of index 0 is what is free, with its size including the entry's head.

    Raises:
        ValueError: There is one.
    """
    places, before, offset = [], b"", 0
    while block := file.read(_BLOCK):
        block = before + block
        place = block.find(_HEAP)
        while place >= 0:
            places.append(offset + place)
            place = block.find(_HEAP, place + 1)
        before = block[1 - len(_HEAP) :]
        offset += len(block) - len(before)
    size = offset + len(before)
    left = 2 * size  # heaps of a good file do not overlap
    for place in places:
        file.seek(place)
        (length,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\xff"))
        if length > size - place:
            continue  # HDF5 refuses it
        left -= length
        if left < 0 or not _is_whole(file.read(length - 16) if length > 16 else b""):
            raise ValueError("a heap of it is damaged")


def _is_whole(entries: bytes) -> bool:
    """Return whether each entry lies within the heap, and has a size."""
    place = 0
    while place + 16 <= len(entries):
        index, size = struct.unpack_from("<H6xQ", entries, place)
        step = 16 + (size + 7) // 8 * 8 if index else size
        if not 0 < step <= len(entries) - place:
            return False
        place += step
    return True


def text_lengths(raw: IO[bytes], header: int) -> Iterator[tuple[bytes, int]]:
    """Find the attributes of variable length in an object's header; give their names and the lengths that they state.

    HDF5 makes room for a text of that length before it looks for the text.

    Args:
        raw: The file.
        header: Where the object's header begins.

    Raises:
        ValueError: The header has another form than Keras's files have (version 1, nothing shared).
        struct.error: It ends too early.
    """
    raw.seek(header)
    version, length = struct.unpack("<B7xI4x", raw.read(16))
    if version != 1:
        raise ValueError(f"a header of it is of version {version}")
    blocks = [(header + 16, length)]
    for block, (place, length) in zip(range(HEADER_BLOCKS), blocks, strict=False):
        raw.seek(place)
        content = raw.read(min(length, HEADER_BLOCK))
        place = 0
        while place + 8 <= len(content):
            kind, size, flags = struct.unpack_from("<HHB", content, place)
            message = content[place + 8 : place + 8 + size]
            place += 8 + size
            if kind == _CONTINUATION and block < HEADER_BLOCKS - 1:
                blocks.append(struct.unpack_from("<QQ", message))
            elif kind == _ATTRIBUTE:
                yield from _text_length(message, flags)


def _text_length(message: bytes, flags: int) -> Iterator[tuple[bytes, int]]:
    version, shared, *sizes = struct.unpack_from("<BBHHH", message)
    if version not in (1, 2, 3) or flags & 2 or (shared and version > 1):
        raise ValueError("an attribute of it is in a form that Keras does not write")
    ends = list(itertools.accumulate(((size + 7) // 8 * 8 if version == 1 else size) for size in sizes))
    parts = message[9 if version == 3 else 8 :]
    if parts[ends[0]] & 15 == _VARIABLE:
        yield parts[: sizes[0]].rstrip(b"\0"), struct.unpack_from("<I", parts, ends[2])[0]


class Tree:
    """An open file, and how much of it may still be read.

    Args:
        file: The file.
        raw: The same, as bytes.
        size: Its size in bytes.

    Raises:
        ValueError: It is of a form that `check_heaps` does not know.
    """

    def __init__(self, file: h5py.File, raw: IO[bytes], size: int):
        if file.id.get_create_plist().get_sizes() != (8, 8):
            raise ValueError("its addresses and sizes do not have 8 bytes")
        self.file, self.raw, self.size = file, raw, size
        self.left, self.links = most(size), LINKS

    def names(self, group: h5py.Group) -> list[str]:
        """Return the names in a group, in alphabetical order.

        Raises:
            ValueError: There are too many.
        """
        paths: list[str] = []

        def note(name: bytes) -> bool | None:
            paths.append(name.decode("utf-8", "surrogateescape"))
            return True if len(paths) > self.links else None  # True ends the iteration

        group.id.links.iterate(note)
        self.links -= len(paths)
        if self.links < 0:
            raise ValueError(f"it has more than {LINKS:,} groups and arrays")
        return paths

    def member(self, group: h5py.Group, path: str) -> Any:
        """Return the group or array at a path within a group.

        Raises:
            ValueError: The path leads out of the file.
            KeyError: There is nothing.
        """
        import h5py

        item: Any = group
        for name in path.split("/"):
            if not isinstance(item, h5py.Group) or item.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise ValueError(f"{path} is not within the file")
            item = item[name]
        return item

    def walk(self, group: h5py.Group, path: str = "") -> Iterator[tuple[str, Any]]:
        """Walk through all that is below a group, a group before what is in it; give paths and items.

        Raises:
            ValueError: There is too much, or it is too deep.
        """
        import h5py

        if path.count("/") > DEPTH:
            raise ValueError(f"its groups are more than {DEPTH} deep")
        for name in self.names(group):
            item, below = self.member(group, name), f"{path}/{name}" if path else name
            yield below, item
            if isinstance(item, h5py.Group):
                yield from self.walk(item, below)

    def array(self, item: Any) -> np.ndarray:
        """Read an array of numbers.

        Raises:
            ValueError: It is something else, in another file, or larger than this file can hold.
        """
        import h5py

        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub" or item.shape is None:
            raise ValueError(f"{item.name} is not an array of numbers")
        if item.external or item.is_virtual:
            raise ValueError(f"{item.name} lies in another file")
        self.left -= math.prod(item.shape) * item.dtype.itemsize
        if self.left < 0:
            raise ValueError(f"{item.name} is {item.shape}, with which the file holds more than its size allows")
        chunks = zip(item.shape, item.chunks, strict=True) if item.chunks else ()
        if math.prod(math.ceil(side / chunk) for side, chunk in chunks) > CHUNKS:
            raise ValueError(f"{item.name} is in more than {CHUNKS:,} pieces")
        return np.asarray(item[()])

    def text(self, item: Any, name: str, default: str) -> str:
        """Read an attribute that is one text."""
        if name not in item.attrs:
            return default
        self._check_attribute(item, name)
        value = item.attrs[name]
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)

    def texts(self, item: Any, name: str) -> list[str] | None:
        """Read an attribute that is a list, which Keras splits over `name0`, `name1` ... where HDF5 refuses its size.

        Returns:
            None where the texts are of variable length: each could be as large as the file, and nothing says so before.
        """
        if name in item.attrs:
            parts = [name]
        else:
            parts = [f"{name}{i}" for i in itertools.takewhile(lambda i: f"{name}{i}" in item.attrs, itertools.count())]
        values: list[bytes] = []
        for part in parts:
            held = item.attrs.get_id(part)
            if not math.prod(held.shape or (0,)):
                continue
            if held.dtype.kind == "O":
                return None
            self._check_attribute(item, part)
            values += list(item.attrs[part])
        return [value.decode("utf-8") for value in values]

    def _check_attribute(self, item: Any, name: str) -> None:
        """Refuse an attribute that is not of texts: HDF5 ends the process at types of variable length that it lacks."""
        import h5py

        held = item.attrs.get_id(name)
        count = math.prod(held.shape or ())
        if h5py.check_string_dtype(held.dtype) is None:
            raise ValueError(f"the attribute {name} is not of texts")
        if held.dtype.kind == "O":
            self._check_length(item, name)
        if (held.dtype.kind == "O" and count > 1) or count * held.dtype.itemsize > ATTRIBUTE:
            raise ValueError(f"the attribute {name} has {count:,} values of {held.dtype}")

    def _check_length(self, item: Any, name: str) -> None:
        import h5py

        lengths = [
            length
            for found, length in text_lengths(self.raw, h5py.h5o.get_info(item.id).addr)
            if found == name.encode("utf-8", "surrogateescape")
        ]
        if not lengths or max(lengths) > self.size:
            raise ValueError(f"the attribute {name} would be {max(lengths, default=0):,} bytes long")
