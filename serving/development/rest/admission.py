"""Bodies of requests: read, unpacked, counted, and refused beyond the limits."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.requests import Request

from serving.development import limits
from serving.development.statuses import Code, StatusError

_PIECE = 2**20  # bytes that are unpacked at a time


class TooLarge(Exception):
    """A body is larger than the limit, packed or unpacked."""


class Admission:
    """Count the requests that run or wait, and their bytes; refuse at once what exceeds the limits.

    Only the event loop uses it, so it needs no lock.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._bytes = 0

    @asynccontextmanager
    async def request(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request, unpacked, and count the request while the block runs.

        Raises:
            StatusError: UNAVAILABLE, if there are too many requests or bytes.
            TooLarge: The body is too large.
            TimeoutError: It did not arrive in time.
        """
        if self._requests >= limits.MAX_REQUESTS:
            raise StatusError(Code.UNAVAILABLE, f"{limits.MAX_REQUESTS} requests are waiting; try again later.")
        self._requests += 1
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            counted += size
            self._bytes += size
            if counted > limits.MAX_BODY_BYTES:
                raise TooLarge(f"A request may hold up to {limits.MAX_BODY_BYTES} bytes; this one holds more.")
            if self._bytes > limits.MAX_WAITING_BYTES:
                raise StatusError(Code.UNAVAILABLE, "The requests that are waiting fill the memory; try again later.")

        try:
            declared = request.headers.get("content-length", "0")
            if declared.isdecimal() and int(declared) > limits.MAX_BODY_BYTES:
                count(int(declared))
            async with asyncio.timeout(limits.TIMEOUT):
                body = await _read(request, count)
            yield body
        finally:
            self._requests -= 1
            self._bytes -= counted


async def _read(request: Request, count: Callable[[int], None]) -> bytes:
    """Read the body of a request; `count` gets the size of every piece, and may raise."""
    compressed = "gzip" in request.headers.get("content-encoding", "")
    pieces = []
    async for piece in request.stream():
        count(len(piece))
        pieces.append(piece)
    body = b"".join(pieces)
    return await _unpack(body, count) if compressed else body


async def _unpack(body: bytes, count: Callable[[int], None]) -> bytes:
    """Unpack gzip piece by piece, so that a body that grows beyond the limit is refused in time.

    What is not gzip, whole and with nothing behind it, is an empty body, as to the real server.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pieces = []
    try:
        while body and not unpacker.eof:
            pieces.append(unpacker.decompress(body, _PIECE))
            count(len(pieces[-1]))
            body = unpacker.unconsumed_tail
            await asyncio.sleep(0)
    except zlib.error:
        return b""
    return b"".join(pieces) if unpacker.eof and not unpacker.unused_data else b""
