"""REST: paths, bodies and statuses, over the version table."""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from serving.contract import DEFAULT_SIGNATURE
from serving.development import descriptions, limits
from serving.development.rest import examples, page, replies, requests
from serving.development.runtime import prediction
from serving.development.statuses import Code, StatusError, invalid

if TYPE_CHECKING:
    from serving.development.runtime.servable import Servable
    from serving.development.version_table import Table

logger = logging.getLogger(__name__)

_WHICH = r"(?:(?:/versions/(?P<number>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_INFERENCE = re.compile(rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<what>metadata))?", re.I | re.A)
_PREFIX = "/v1/"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_JSON = "application/json"
_PIECE = 2**20  # bytes that are unpacked at a time
_MOST_DIGITS = 19  # of a version, a signed 64-bit number


class TooLarge(Exception):
    """A body is larger than the limit, packed or unpacked."""


def make_app(table: Table) -> Starlette:
    """Make the ASGI application that serves the models of `table`."""
    executor = ThreadPoolExecutor(limits.THREADS, thread_name_prefix="rest")
    admission = Admission()

    async def answer(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", errors="replace").partition("?")[0]
        if path == "/" and request.method in ("GET", "HEAD"):
            return HTMLResponse(page.render(table), headers=page.HEADERS)
        if not path.lower().startswith(_PREFIX):
            return Response(status_code=404)
        try:
            async with admission.request(request) as body:
                call = _dispatch(table, request.method, path, body)
                content = await asyncio.get_running_loop().run_in_executor(executor, call)
            return Response(content, media_type=_JSON)
        except StatusError as error:
            return Response(replies.error(error.message), error.code.http, None, _JSON)
        except TooLarge as error:
            return Response(replies.error(str(error)), 413, {"connection": "close"}, _JSON)
        except TimeoutError:
            message = f"The request's body did not arrive within {limits.TIMEOUT:.0f} s."
            return Response(replies.error(message), 408, {"connection": "close"}, _JSON)
        except ClientDisconnect:
            return Response(status_code=Code.CANCELLED.http)
        except Exception:
            logger.exception("%s %s failed", request.method, path)
            return Response(replies.error("Internal error; the server's log says more."), 500, None, _JSON)

    app = Starlette()
    app.add_route("/{path:path}", answer, methods=_METHODS)
    return app


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
    compressed = request.headers.get("content-encoding", "").lower().strip() in ("gzip", "x-gzip")
    pieces = []
    async for piece in request.stream():
        count(len(piece))
        pieces.append(piece)
    body = b"".join(pieces)
    return await _unpack(body, count) if compressed else body


async def _unpack(body: bytes, count: Callable[[int], None]) -> bytes:
    """Unpack gzip piece by piece, so that a body that grows beyond the limit is refused in time."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    pieces = []
    try:
        while body and not unpacker.eof:
            pieces.append(unpacker.decompress(body, _PIECE))
            count(len(pieces[-1]))
            body = unpacker.unconsumed_tail
            await asyncio.sleep(0)
    except zlib.error as error:
        raise invalid(f"The body is not gzip, as its Content-Encoding says: {error}") from error
    if not unpacker.eof:
        raise invalid("The body is not gzip, as its Content-Encoding says: it ends too early")
    return b"".join(pieces)


def _dispatch(table: Table, method: str, path: str, body: bytes) -> Callable[[], bytes]:
    """Return the work that a request asks for."""
    match = (_INFERENCE if method == "POST" else _STATUS).fullmatch(path) if method in ("GET", "POST") else None
    if match is None:
        raise invalid(f"Malformed request: {method} {path[:200]}")
    if match["name"] is None:
        raise invalid("Missing model name in request.")
    name = unquote(match["name"])
    label = unquote(match["label"]) if match["label"] else None
    number = _number(match["number"]) if match["number"] else None

    def infer() -> bytes:
        document = requests.parse(body)
        signature = requests.signature_name(document)
        with table.lease(name, number, label) as version:
            return _ANSWERS[match["method"].lower()](version.servable, signature, document)

    if method == "POST":
        return infer
    describe = descriptions.metadata_json if match["what"] else descriptions.status_json
    return lambda: describe(table, name, number, label)


def _number(text: str) -> int:
    digits = text.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS or int(digits) >= 2**63:
        raise invalid(f"Failed to convert version: {text[:40]} to numeric.")
    return int(digits)


def _predict(servable: Servable, name: str, document: dict[str, object]) -> bytes:
    signature = servable.signature(name)
    if signature is None:
        raise invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    inputs, in_rows = requests.read_tensors(document, signature.dtypes())
    outputs = prediction.predict(servable, signature, inputs, timeout=limits.TIMEOUT)
    return replies.predictions(outputs, rows=in_rows)


def _classify(servable: Servable, name: str, document: dict[str, object]) -> bytes:
    given = examples.read_examples(document)
    return replies.classifications(prediction.classify(servable, name, given, timeout=limits.TIMEOUT))


def _regress(servable: Servable, name: str, document: dict[str, object]) -> bytes:
    given = examples.read_examples(document)
    return replies.regressions(prediction.regress(servable, name, given, timeout=limits.TIMEOUT))


_ANSWERS = {"predict": _predict, "classify": _classify, "regress": _regress}
