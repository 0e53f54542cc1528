"""REST: paths, bodies and statuses, over the version table."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from serving.contract import DEFAULT_SIGNATURE
from serving.development import descriptions, limits
from serving.development.rest import examples, metrics, page, replies, requests
from serving.development.rest.admission import Admission, TooLarge
from serving.development.rest.parsing import JSONObject, parse
from serving.development.runtime import inference, prediction
from serving.development.statuses import Code, StatusError, invalid

if TYPE_CHECKING:
    from serving.development.version_table import Leased, Table

logger = logging.getLogger(__name__)

_WHICH = r"(?:(?:/versions/(?P<number>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
# Any case matches, as in the real server; there the last part then has to be in lower case to be understood.
_INFERENCE = re.compile(rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:/(?P<what>metadata))?", re.I | re.A)
_PREFIX = "/v1/"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
_JSON = "application/json"
_MOST_DIGITS = 19  # of a version, a signed 64-bit number


def make_app(table: Table) -> Starlette:
    """Make the ASGI application that serves the models of `table`."""
    executor = ThreadPoolExecutor(limits.THREADS, thread_name_prefix="rest")
    admission, measured = Admission(), metrics.Metrics()

    async def answer(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", errors="replace").partition("?")[0]
        if path == "/" and request.method in ("GET", "HEAD"):
            return HTMLResponse(page.render(table), headers=page.HEADERS)
        if path == metrics.PATH:
            return Response(measured.page(), media_type="text/plain")
        if special := _answer_to_form(request, path):
            return special
        if request.url.query:
            path += f"?{request.url.query}"  # to the real server it is a part of the path
        try:
            async with admission.request(request) as body:
                call = _dispatch(table, request.method, path, body)
                with measured.request(call.model, call.api):
                    content = await asyncio.get_running_loop().run_in_executor(executor, call.run)
            return Response(content, media_type=_JSON)
        except StatusError as error:
            return Response(replies.error(error.message) if error.message else b"", error.code.http, None, _JSON)
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


def _answer_to_form(request: Request, path: str) -> Response | None:
    """Return the answer to a request that no model has to do with; None for others."""
    if not path.lower().startswith(_PREFIX):
        return Response(status_code=404)
    if request.method == "TRACE":
        return Response(status_code=501)
    if re.search("%(?![0-9a-fA-F]{2})", path):
        return Response(status_code=400)
    if request.method == "OPTIONS":
        return Response(status_code=200 if re.search("https?://", request.headers.get("origin", "")) else 400)
    return None


@dataclass(frozen=True)
class _Call:
    """The work that a request asks for: of which model, by which API ("" for a status), and what to run."""

    model: str
    api: str
    run: Callable[[], bytes]


def _dispatch(table: Table, method: str, path: str, body: bytes) -> _Call:
    """Return the work that a request asks for."""
    malformed = invalid(f"Malformed request: {method} {path[:200]}")
    match = (_INFERENCE if method == "POST" else _STATUS).fullmatch(path) if method in ("GET", "POST") else None
    if match is None:
        raise malformed
    if match["name"] is None:
        raise invalid("Missing model name in request.")
    name = unquote(match["name"])
    label = unquote(match["label"]) if match["label"] else None
    number = _number(match["number"]) if match["number"] else None
    if method == "GET":
        describe = descriptions.metadata_json if match["what"] == "metadata" else descriptions.status_json
        return _Call(name, "", lambda: describe(table, name, number, label))
    if match["method"] not in _ANSWERS:
        raise malformed
    answer = _ANSWERS[match["method"]]
    return _Call(name, match["method"], lambda: answer(parse(body), lambda: table.lease(name, number, label)))


def _number(text: str) -> int:
    digits = text.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS or int(digits) >= 2**63:
        raise invalid("")  # the real server says no more
    return int(digits)


_Lease = Callable[[], "AbstractContextManager[Leased]"]


def _predict(document: JSONObject, lease: _Lease) -> bytes:
    name = requests.signature_name(document)
    with lease() as version:
        signature = version.servable.signature(name)
        if signature is None:
            raise invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
        if not signature.inputs:
            raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        inputs, in_rows = requests.read_tensors(document, signature.dtypes())
        outputs = prediction.predict(version.servable, signature, inputs, timeout=limits.TIMEOUT)
    return replies.predictions(outputs, rows=in_rows)


def _classify(document: JSONObject, lease: _Lease) -> bytes:
    name, given = requests.signature_name(document), examples.read_examples(document)
    with lease() as version:
        result = inference.classify(version.servable, name, given, timeout=limits.TIMEOUT)
    return replies.classifications(result)


def _regress(document: JSONObject, lease: _Lease) -> bytes:
    name, given = requests.signature_name(document), examples.read_examples(document)
    with lease() as version:
        result = inference.regress(version.servable, name, given, timeout=limits.TIMEOUT)
    return replies.regressions(result)


_ANSWERS = {"predict": _predict, "classify": _classify, "regress": _regress}
