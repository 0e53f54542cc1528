"""The Open Inference Protocol (V2) over HTTP: Triton's own server and KServe's; tensors in the binary form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np

from serving import tensors
from serving.client.errors import NotFoundError, ServerError
from serving.client.http import Http
from serving.client.prepared import PREPROCESSING, Network
from serving.client.wire import Arrays, Connection, Target, VersionStatus
from serving.errors import RequestError

LENGTH = "Inference-Header-Content-Length"  # the bytes of JSON before the binary tensors
STATES = {"READY": "AVAILABLE", "UNAVAILABLE": "END"}


class V2Wire:
    """A pool of connections to one server; its address ends in /v2."""

    def __init__(self, connection: Connection) -> None:
        self._http = Http(connection)
        self._network = cache(self._read_network)

    def predict(self, target: Target, inputs: Arrays, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the outputs for whole arrays, in the binary form."""
        return self._infer(target, inputs, [{"name": name, "parameters": {"binary_data": True}} for name in outputs])

    def classify(self, target: Target, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Prepare photos, and return their best classes."""
        network = self._network(check(target))
        wanted = {"name": network.output, "parameters": {"classification": network.top, "binary_data": True}}

        def ask(images: np.ndarray) -> np.ndarray:
            return self._infer(target, {network.input: images}, [wanted])[network.output]

        return network.classify(target.model, files, ask)

    def status(self, target: Target) -> list[VersionStatus]:
        """Return the versions of the model."""
        rows = json.loads(self._http.call("POST", "/repository/index", b"{}").data)
        return versions_of(check(target), rows)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _infer(self, target: Target, inputs: Arrays, wanted: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        described, contents = [], []
        for name, value in inputs.items():
            content = tensors.to_bytes(value)
            entry = {"name": name, "shape": list(value.shape), "datatype": tensors.datatype_of(value)}
            described.append(entry | {"parameters": {"binary_data_size": len(content)}})
            contents.append(content)
        document: dict[str, Any] = {"inputs": described}
        document |= {"outputs": wanted} if wanted else {"parameters": {"binary_data_output": True}}
        header = json.dumps(document).encode()
        path = f"{_path(check(target))}/infer"
        headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(header))}
        reply = self._http.call("POST", path, header + b"".join(contents), headers)
        return _read_outputs(reply.data, reply.headers.get(LENGTH))

    def _read_network(self, target: Target) -> Network:
        config = json.loads(self._http.call("GET", f"{_path(target)}/config").data)
        return Network.of(
            target.model,
            [entry["name"] for entry in config["input"]],
            [(entry["name"], int(entry["dims"][-1])) for entry in config["output"]],
            config.get("parameters", {}).get(PREPROCESSING, {}).get("string_value", ""),
        )


def check(target: Target) -> Target:
    """Return a target that the protocol knows: it has neither labels nor signatures.

    Raises:
        RequestError: It has one of these.
    """
    if target.label is not None or target.signature:
        raise RequestError("The Open Inference Protocol has neither labels nor signatures; give a version, or none.")
    return target


def versions_of(target: Target, rows: Sequence[dict[str, Any]]) -> list[VersionStatus]:
    """Return what the index of a repository says of a model.

    Raises:
        NotFoundError: Nothing.
    """
    found = [
        VersionStatus(int(row["version"]), STATES.get(row.get("state", ""), "UNKNOWN"), row.get("reason", ""))
        for row in rows
        if row.get("name") == target.model and row.get("version")
    ]
    found = [row for row in found if target.version in (None, row.version)]
    if not found:
        raise NotFoundError(f"The server has no model {target.model!r} of that version.", 404)
    return found


def _path(target: Target) -> str:
    path = f"/models/{quote(target.model, safe='')}"
    return path if target.version is None else f"{path}/versions/{target.version}"


def _read_outputs(content: bytes, length: str | None) -> dict[str, np.ndarray]:
    end = int(length) if length else len(content)
    outputs = {}
    try:
        for entry in json.loads(content[:end])["outputs"]:
            shape, size = tuple(entry["shape"]), entry.get("parameters", {}).get("binary_data_size")
            if size is not None:
                outputs[entry["name"]] = tensors.from_bytes(content[end : end + size], entry["datatype"], shape)
                end += size
                continue
            values = [value.encode() if isinstance(value, str) else value for value in entry["data"]]
            outputs[entry["name"]] = np.array(values, tensors.DATATYPES[entry["datatype"]]).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(f"The answer is not one of the Open Inference Protocol: {error}") from error
    return outputs
