"""REST on the wire: JSON bodies over urllib3, arrays in columns."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3

from serving.client.errors import ServerError, TimedOutError, UnreachableError, from_http
from serving.client.wire import Arrays, Connection, Target, VersionStatus

_LONGEST_REASON = 500  # characters of a reply that is not the server's own JSON


class RestWire:
    """A pool of connections to one server."""

    def __init__(self, connection: Connection) -> None:
        self._url = connection.url.rstrip("/")
        self._timeout = connection.timeout
        self._headers = dict(connection.headers)
        # The client does the retries itself, the same way for both wires.
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, ca_certs=connection.ca)

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs for whole arrays. REST sends all outputs; those named in `outputs` are kept."""
        body: dict[str, Any] = {"inputs": {name: _to_json(value) for name, value in inputs.items()}}
        if target.signature:
            body["signature_name"] = target.signature
        reply = self._call("POST", f"{_path(target)}:predict", json.dumps(body).encode())
        if "outputs" not in reply:
            raise ServerError(f"The reply holds no outputs, but {', '.join(reply) or 'nothing'}.")
        values = reply["outputs"]
        # A single output comes without its name.
        named = values if isinstance(values, dict) and values.keys() != {"b64"} else {"": values}
        arrays = {name: _to_array(value) for name, value in named.items()}
        return {name: value for name, value in arrays.items() if not outputs or name in outputs or name == ""}

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model, as the server describes them."""
        rows = self._call("GET", _path(target), None).get("model_version_status", [])
        return [
            VersionStatus(int(row["version"]), row["state"], row.get("status", {}).get("error_message", ""))
            for row in rows
        ]

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        url = self._url + path
        try:
            reply = self._pool.request(method, url, body=body, headers=headers, timeout=self._timeout, redirect=False)
        except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError) as error:
            raise UnreachableError(
                f"Nothing answers at {self._url}. Is the server running, and the port right?"
            ) from error
        except urllib3.exceptions.TimeoutError as error:
            raise TimedOutError(f"{url} gave no answer within {self._timeout:g} s.") from error
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"The connection to {self._url} failed: {error}") from error
        if reply.status != 200:
            raise from_http(reply.status, _reason(reply.data))
        try:
            document = json.loads(reply.data)  # accepts the bare NaN and Infinity that the server writes
        except ValueError as error:
            raise ServerError(f"{url} did not answer with JSON. Is it TensorFlow Serving's REST port?", 200) from error
        if not isinstance(document, dict):
            raise ServerError(f"{url} did not answer with a JSON object.", 200)
        return document


def _path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        return f"{path}/versions/{target.version}"
    return f"{path}/labels/{quote(target.label, safe='')}" if target.label is not None else path


def _to_json(value: np.ndarray) -> object:
    return _encode(value.tolist()) if value.dtype.kind in "OS" else value.tolist()


def _encode(value: object) -> object:
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return {"b64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes) else value


def _to_array(value: object) -> np.ndarray:
    array = np.array(_decode(value))
    # JSON does not distinguish float32; the networks here answer in it.
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind in "SU" else array


def _decode(value: Any) -> object:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _reason(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()[:_LONGEST_REASON]
