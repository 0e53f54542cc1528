"""The table of golden requests and replies, against the development server and, where one is named, a real one.

TFS_URL and TFS_GRPC name a TensorFlow Serving that serves the models of golden_models.py, which says how to start it;
TFS_BATCHING_URL names one that batches besides.
"""

from __future__ import annotations

import gzip
import http.client
import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("tensorflow_serving")

TABLE = tomllib.loads((Path(__file__).parents[1] / "golden_requests.toml").read_text(encoding="utf-8"))
SERVERS = ("development", "tensorflow-serving")


def skip_unless_meant(server: str, row: dict[str, Any], variable: str) -> None:
    if server == "development":
        return
    if not os.environ.get(variable):
        pytest.skip(f"no TensorFlow Serving is at hand: {variable} is not set")
    if row.get("only") == "development":
        pytest.skip("about the development server alone")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("row", TABLE["rest"], ids=lambda row: row["name"])
def test_rest(row: dict[str, Any], server: str, request: pytest.FixtureRequest) -> None:
    """Each row is a rule that clients of TensorFlow Serving rely on."""
    variable = "TFS_BATCHING_URL" if row.get("batching") else "TFS_URL"
    skip_unless_meant(server, row, variable)
    if server == "development":
        where = request.getfixturevalue("golden_batching_server" if row.get("batching") else "golden_server")
        address = f"{where.host}:{where.rest_port}"
    else:
        address = urlsplit(os.environ[variable]).netloc
    status, headers, data = send(address, row)
    text = data.decode(errors="surrogateescape")
    assert status == row["status"], text
    assert {name: headers.get(name) for name in row.get("reply_headers", {})} == row.get("reply_headers", {})
    if row.get("empty"):
        assert text == ""
    if "latin_text" in row:
        assert row["latin_text"].encode("latin-1") in data
    if "reply" in row:
        assert_matches(json.loads(text), row["reply"])
    if "text" in row:
        assert row["text"] in text
        assert row.get("absent", "Traceback") not in text
    if "error" in row:
        answer = json.loads(text)
        assert list(answer) == ["error"]
        assert row["error"].lower() in answer["error"].lower()
    assert "Traceback" not in text
    assert ".py" not in text


def send(address: str, row: dict[str, Any]) -> tuple[int, http.client.HTTPMessage, bytes]:
    body = body_of(row)
    headers = dict(row.get("headers", {}))
    if encoding := row.get("gzip"):
        headers["Content-Encoding"] = "gzip" if encoding is True else encoding
        body = gzip.compress(body or b"", compresslevel=1) + row.get("trailing", "").encode()
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(row.get("method") or ("GET" if body is None else "POST"), row["path"], body, headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def body_of(row: dict[str, Any]) -> bytes | None:
    if "repeat" in row:
        part = row["repeat"]
        return (part.get("before", "") + part["text"] * part["times"] + part.get("after", "")).encode()
    if "json" in row:
        return json.dumps(row["json"]).encode()
    if "latin" in row:
        return row["latin"].encode("latin-1")
    return row["body"].encode() if "body" in row else None


def assert_matches(found: Any, expected: Any) -> None:
    """Objects may hold more than is expected, except beside bare values; numbers agree to six digits, and in kind."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        for key, value in expected.items():
            assert key in found
            assert_matches(found[key], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_matches(one, other)
    elif isinstance(expected, float):
        assert isinstance(found, float)
        assert (math.isnan(found) and math.isnan(expected)) or found == pytest.approx(expected, rel=1e-6)
    else:
        assert found == expected
        assert type(found) is type(expected)


@pytest.fixture(params=SERVERS)
def grpc_address(request: pytest.FixtureRequest) -> str:
    if request.param == "development":
        where = request.getfixturevalue("golden_server")
        return f"{where.host}:{where.grpc_port}"
    if not os.environ.get("TFS_GRPC"):
        pytest.skip("no TensorFlow Serving is at hand: TFS_GRPC is not set")
    return os.environ["TFS_GRPC"]


@pytest.mark.parametrize("row", TABLE["grpc"], ids=lambda row: row["name"])
def test_grpc(row: dict[str, Any], grpc_address: str) -> None:
    """The same over gRPC, with the stubs of tensorflow-serving-api as the client."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    with grpc.insecure_channel(grpc_address) as channel:
        stubs = (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )
        call = next(getattr(stub, row["call"]) for stub in stubs if hasattr(stub, row["call"]))
        if row["code"] == "OK":
            check_reply(row, call(make_request(row), timeout=30))
            return
        with pytest.raises(grpc.RpcError) as caught:
            call(make_request(row), timeout=30)
    assert caught.value.code().name == row["code"], caught.value.details()
    assert row.get("error", "") in caught.value.details()
    assert "Traceback" not in caught.value.details()


def make_request(row: dict[str, Any]) -> Any:
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    )

    request = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
    }[row["call"]]()
    for model, signature, method in row.get("tasks", []):
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    spec = dict(row.get("spec", {}))
    if "version" in spec:
        request.model_spec.version.value = spec.pop("version")
    for name, value in spec.items():
        setattr(request.model_spec, name, value)
    for name, (dtype, values) in row.get("inputs", {}).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.array(values, dtype)))
    for example in row.get("examples", []):
        added = request.input.example_list.examples.add()
        for name, value in example.items():
            added.features.feature[name].float_list.value.append(value)
    if "output_filter" in row:
        request.output_filter.extend(row["output_filter"])
    if row["call"] == "GetModelMetadata":
        request.metadata_field.extend(row.get("metadata_field", ["signature_def"]))
    return request


def check_reply(row: dict[str, Any], reply: Any) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

    if "outputs" in row:
        assert set(reply.outputs) == set(row["outputs"])
        for name, values in row["outputs"].items():
            assert tf.make_ndarray(reply.outputs[name]).tolist() == values
    for name, (field, values) in row.get("fields", {}).items():
        assert (list(getattr(reply.outputs[name], field)), reply.outputs[name].tensor_content) == (values, b"")
    expected = row.get("answered", {})
    match row["call"]:
        case "Predict" if expected:
            spec = reply.model_spec
            assert {"name": spec.name, "signature_name": spec.signature_name, "version": spec.version.value} == expected
        case "GetModelStatus" if "versions" in expected:
            assert [v.version for v in reply.model_version_status] == expected["versions"]
        case "GetModelStatus":
            found = [(v.version, v.state) for v in reply.model_version_status]
            assert found == [(expected["version"], expected["state"])]
        case "GetModelMetadata":
            signatures = SignatureDefMap()
            assert reply.metadata["signature_def"].Unpack(signatures)
            assert set(expected["signatures"]) <= set(signatures.signature_def)
        case "Regress":
            assert [r.value for r in reply.result.regressions] == expected["results"]
        case "Classify":
            (one,) = reply.result.classifications
            assert [[c.label, c.score] for c in one.classes] == expected["results"]
        case "MultiInference":
            classes, numbers = reply.results
            first = classes.classification_result.classifications[0]
            assert [[c.label, c.score] for c in first.classes] == expected["classes"]
            assert [r.value for r in numbers.regression_result.regressions] == expected["results"]
            assert numbers.model_spec.signature_name == "regress"
