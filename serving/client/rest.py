"""REST on the wire: JSON bodies over urllib3, arrays in columns."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np

from serving.client.errors import ServerError
from serving.client.http import Http
from serving.client.wire import Arrays, Connection, Target, VersionStatus, as_objects
from serving.contract import BYTES_SIGNATURE


class RestWire:
    """A pool of connections to one server."""

    def __init__(self, connection: Connection) -> None:
        self._http = Http(connection)

    def classify(self, target: Target, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Return the best classes of photos: `top_ids`, `top_scores`, and `top_labels` where the model has them."""
        return self.predict(replace(target, signature=BYTES_SIGNATURE), {"image_bytes": as_objects(files)}, ())

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
        self._http.close()

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        reply = self._http.call(method, path, body)
        url = self._http.url + path
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
