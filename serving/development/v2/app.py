"""The protocol over HTTP: paths, JSON, and tensors in the binary form behind it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from serving import tensors
from serving.client.v2 import LENGTH
from serving.development import limits
from serving.development.rest.admission import Admission, TooLarge
from serving.development.statuses import StatusError, invalid
from serving.development.v2.repository import Model, Repository, Wanted

SERVER = {"name": "kerascnn development server", "version": "2", "extensions": ["classification", "binary_tensor_data"]}
_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|config|infer))?")
_HEALTH = ("/v2/health/live", "/v2/health/ready")


def make_app(repository: Repository) -> Starlette:
    """Make the ASGI application that serves the models of a repository."""
    admission = Admission()

    async def answer(request: Request) -> Response:
        try:
            async with admission.request(request) as body:
                return await asyncio.to_thread(_answer, repository, request, body)
        except StatusError as error:
            return _json({"error": error.message}, error.code.http)
        except TooLarge as error:
            return _json({"error": str(error)}, 413)
        except TimeoutError:
            return _json({"error": f"The request's body did not arrive within {limits.TIMEOUT:.0f} s."}, 408)

    app = Starlette()
    app.add_route("/{path:path}", answer, methods=["GET", "POST"])
    return app


def _answer(repository: Repository, request: Request, body: bytes) -> Response:
    path, is_get = request.url.path.rstrip("/"), request.method == "GET"
    if is_get and path in _HEALTH:
        return Response()
    if is_get and path == "/v2":
        return _json(SERVER)
    if not is_get and path == "/v2/repository/index":
        return _json([{"name": m.name, "version": str(m.version), "state": "READY"} for m in repository.models()])
    match = _MODEL.fullmatch(path)
    if match is None or is_get == (match["what"] == "infer"):
        return _json({"error": "Not Found"}, 404)
    model = repository.find(match["name"], match["version"] or "")
    if match["what"] == "ready":
        return Response()
    if match["what"] == "config":
        return _json(_config(model))
    if match["what"] == "infer":
        return _infer(model, body, request.headers.get(LENGTH))
    return _json(
        {
            "name": model.name,
            "versions": [str(model.version)],
            "platform": "onnxruntime_onnx",
            "inputs": _described(model.inputs),
            "outputs": _described(model.outputs),
        }
    )


def _infer(model: Model, body: bytes, length: str | None) -> Response:
    if length is not None and not (length.isdecimal() and int(length) <= len(body)):
        raise invalid(f"{LENGTH} is {length!r}; the body has {len(body)} bytes")
    end = len(body) if length is None else int(length)
    try:
        document = json.loads(body[:end])
        described = document["inputs"]
        inputs = _read(described, memoryview(body)[end:])
        binary = bool(document.get("parameters", {}).get("binary_data_output"))
        asked = {one["name"]: one.get("parameters", {}) for one in document.get("outputs", [])}
        wanted = [Wanted(name, int(parameters.get("classification", 0))) for name, parameters in asked.items()]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise invalid(f"failed to parse the request: {error}") from error
    outputs, contents = [], []
    for name, value in model.infer(inputs, wanted).items():
        entry: dict[str, Any] = {"name": name, "datatype": tensors.datatype_of(value), "shape": list(value.shape)}
        if asked.get(name, {}).get("binary_data", binary):
            contents.append(tensors.to_bytes(value))
            entry["parameters"] = {"binary_data_size": len(contents[-1])}
        else:
            flat = value.reshape(-1).tolist()
            entry["data"] = [one.decode() if isinstance(one, bytes) else one for one in flat]
        outputs.append(entry)
    reply = {"model_name": model.name, "model_version": str(model.version), "outputs": outputs}
    if "id" in document:
        reply["id"] = document["id"]
    header = json.dumps(reply).encode()
    if not contents:
        return Response(header, media_type="application/json")
    return Response(
        header + b"".join(contents), headers={LENGTH: str(len(header))}, media_type="application/octet-stream"
    )


def _read(described: list[Mapping[str, Any]], binary: memoryview) -> dict[str, np.ndarray]:
    inputs, start = {}, 0
    for entry in described:
        name, datatype, shape = entry["name"], entry["datatype"], tuple(map(int, entry["shape"]))
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is not None:
            inputs[name] = tensors.from_bytes(bytes(binary[start : start + size]), datatype, shape)
            start += size
        elif datatype not in tensors.DATATYPES:
            raise ValueError(f"{datatype!r} is not a type of the protocol")
        else:
            inputs[name] = np.array(entry["data"], tensors.DATATYPES[datatype]).reshape(shape)
    if start != len(binary):
        raise ValueError(f"{len(binary) - start} bytes follow the tensors")
    return inputs


def _described(parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": [-1, *one.dims]} for one in parts.values()]


def _config(model: Model) -> dict[str, Any]:
    from google.protobuf import json_format

    config: dict[str, Any] = json_format.MessageToDict(model.config, preserving_proto_field_name=True)
    for tensor in (*config["input"], *config["output"]):
        tensor["dims"] = [int(side) for side in tensor["dims"]]  # protobuf writes numbers of 64 bits as strings
    return config


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, media_type="application/json")
