"""REST on the wire: JSON bodies over urllib3, arrays in columns."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3

from serving.client.errors import ServerError, TimedOutError, UnreachableError, from_http
from serving.client.wire import Target

_LONGEST_REASON = 500  # characters of a reply that is not the server's own JSON


class RestWire:
    """A pool of connections to one server."""

    def __init__(self, url: str, *, timeout: float, headers: Mapping[str, str], ca: str | None) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers)
        # Retries are the client's own, the same for both wires.
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, ca_certs=ca)

    def predict(
        self, target: Target, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """The outputs for whole arrays. REST has no output filter: all are sent, and those asked for are kept."""
        body: dict[str, Any] = {"inputs": {name: _to_json(value) for name, value in inputs.items()}}
        if target.signature:
            body["signature_name"] = target.signature
        answer = self._call("POST", f"{_path(target)}:predict", json.dumps(body).encode())
        if "outputs" not in answer:
            raise ServerError(f"The reply holds no outputs, but {', '.join(answer) or 'nothing'}.")
        found = answer["outputs"]
        # A single output comes without its name.
        named = found if isinstance(found, dict) and found.keys() != {"b64"} else {"": found}
        arrays = {name: _from_json(value) for name, value in named.items()}
        return {name: value for name, value in arrays.items() if not outputs or name in outputs or name == ""}

    def status(self, target: Target) -> list[dict[str, Any]]:
        """The versions of the model, as the server describes them."""
        found = self._call("GET", _path(target), None).get("model_version_status", [])
        return [
            {
                "version": int(version["version"]),
                "state": version["state"],
                "message": version.get("status", {}).get("error_message", ""),
            }
            for version in found
        ]

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
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
            answer = json.loads(reply.data)  # takes the bare NaN and Infinity that the server writes
        except ValueError as error:
            raise ServerError(f"{url} did not answer with JSON. Is it TensorFlow Serving's REST port?", 200) from error
        if not isinstance(answer, dict):
            raise ServerError(f"{url} did not answer with a JSON object.", 200)
        return answer


def _path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        return f"{path}/versions/{target.version}"
    return f"{path}/labels/{quote(target.label, safe='')}" if target.label is not None else path


def _to_json(value: np.ndarray) -> Any:
    if value.dtype.kind in "OS":
        return _encode(value.tolist())
    return value.tolist()


def _encode(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return {"b64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes) else value


def _from_json(value: Any) -> np.ndarray:
    decoded = _decode(value)
    array = np.array(decoded)
    # JSON does not say float32; what comes with a decimal point was float32 in every network here.
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(object) if array.dtype.kind in "SU" else array


def _decode(value: Any) -> Any:
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
