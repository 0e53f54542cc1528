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

from serving.development import examples, json_mapping, json_replies, limits, messages, page, prediction
from serving.development.statuses import HTTP_STATUS, Code, StatusError, invalid

if TYPE_CHECKING:
    from serving.development.version_table import Table, Version

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
    """A body beyond the limit, as it is or unpacked."""


def make_app(table: Table) -> Starlette:
    """The ASGI application that serves the models of `table`."""
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
            return Response(json_replies.error(error.message), HTTP_STATUS[error.code], None, _JSON)
        except TooLarge as error:
            return Response(json_replies.error(str(error)), 413, {"connection": "close"}, _JSON)
        except TimeoutError:
            message = f"The request's body did not arrive within {limits.TIMEOUT:.0f} s."
            return Response(json_replies.error(message), 408, {"connection": "close"}, _JSON)
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS[Code.CANCELLED])
        except Exception:
            logger.exception("%s %s failed", request.method, path)
            return Response(json_replies.error("Internal error; the server's log says more."), 500, None, _JSON)

    app = Starlette()
    app.add_route("/{path:path}", answer, methods=_METHODS)
    return app


class Admission:
    """Counts the requests that are running or waiting, and their bytes; refuses more than the limits at once.

    Used on the event loop alone, and so without a lock.
    """

    def __init__(self) -> None:
        self._requests = 0
        self._bytes = 0

    @asynccontextmanager
    async def request(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, unpacked, while it counts.

        Raises:
            StatusError: UNAVAILABLE, there are too many.
            TooLarge: the body is.
            TimeoutError: it did not arrive in time.
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
    """The body of a request; `count` is told of every piece, and may raise."""
    compressed = request.headers.get("content-encoding", "").lower().strip() in ("gzip", "x-gzip")
    pieces = []
    async for piece in request.stream():
        count(len(piece))
        pieces.append(piece)
    body = b"".join(pieces)
    return await _unpack(body, count) if compressed else body


async def _unpack(body: bytes, count: Callable[[int], None]) -> bytes:
    """Unpack gzip piece by piece, so that a body which grows beyond the limit is given up in time."""
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
    """The work that a request asks for.

    Raises:
        StatusError: it asks for none that there is.
    """
    malformed = invalid(f"Malformed request: {method} {path[:200]}")
    found = (_INFERENCE if method == "POST" else _STATUS).fullmatch(path) if method in ("GET", "POST") else None
    if found is None:
        raise malformed
    if found["name"] is None:
        raise invalid("Missing model name in request.")
    name = unquote(found["name"])
    label = unquote(found["label"]) if found["label"] else None
    number = _number(found["number"]) if found["number"] else None
    if method == "POST":
        return lambda: _infer(table, name, number, label, found["method"].lower(), body)
    if found["what"]:
        return lambda: messages.metadata_json(table, name, number, label)
    return lambda: messages.status_json(table, name, number, label)


def _number(text: str) -> int:
    digits = text.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS or int(digits) >= 2**63:
        raise invalid(f"Failed to convert version: {text[:40]} to numeric.")
    return int(digits)


def _infer(table: Table, name: str, number: int | None, label: str | None, method: str, body: bytes) -> bytes:
    document = json_mapping.parse(body)
    wanted = json_mapping.signature_name(document)
    with table.lease(name, number, label) as version:
        if method == "predict":
            return _predict(version, wanted, document)
        servable = version.servable
        assert servable is not None
        given = examples.read_examples(document)
        if method == "classify":
            return json_replies.classifications(prediction.classify(servable, wanted, given, timeout=limits.TIMEOUT))
        return json_replies.regressions(prediction.regress(servable, wanted, given, timeout=limits.TIMEOUT))


def _predict(version: Version, wanted: str, document: dict[str, object]) -> bytes:
    servable = version.servable
    assert servable is not None
    signature = servable.signature(wanted)
    if signature is None:
        raise invalid(f'Serving signature name: "{wanted or "serving_default"}" not found in signature def')
    inputs, rows = json_mapping.read_tensors(document, signature.dtypes())
    outputs = prediction.predict(servable, signature, inputs, timeout=limits.TIMEOUT)
    return json_replies.predictions(outputs, rows=rows)
