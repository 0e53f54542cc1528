"""The client: what it sends, what it makes of answers, what it tries again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("grpc")
pytest.importorskip("urllib3")

from serving.client import (
    BadRequestError,
    Client,
    NotFoundError,
    OverloadedError,
    RefusedError,
    ServerError,
    TimedOutError,
    TooLargeError,
    UnreachableError,
    UnreadableImageError,
    messages,
)
from serving.client.errors import from_grpc
from serving.client.images import to_bytes
from serving.errors import RequestError

GOOD = {"outputs": {"top_ids": [[3, 1]], "top_scores": [[0.75, 0.25]], "top_labels": [["cat", "dog"]]}}


class Scripted:
    """An HTTP server that gives the answers it was told to, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, json.loads(body) if body else None, headers))
                time.sleep(outer.delay)
                status, data = outer.answers.pop(0) if outer.answers else (200, json.dumps(GOOD).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def test_importing_the_client_imports_neither_tensorflow_nor_keras() -> None:
    """A service that only asks must not carry the frameworks; grpcio and urllib3 come when a wire is opened."""
    code = (
        "import sys\nfrom serving.client import Client\n"
        "Client('http://127.0.0.1:1', 'm'); Client('grpc://127.0.0.1:1', 'm')\n"
        "print([m for m in ('tensorflow', 'keras', 'kerascnn', 'tensorflow_serving') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_photos_travel_as_the_files_they_are(scripted: Scripted, photo: np.ndarray, tmp_path: Path) -> None:
    """Not decoded and encoded again, which would cost quality; in the signature that prepares them."""
    import base64

    path = tmp_path / "photo.jpg"
    path.write_bytes(to_bytes(photo))
    with Client(scripted.url, "net") as client:
        ((first, second),) = client.classify([path])
    assert (first.index, first.label, first.score) == (3, "cat", 0.75)
    assert second.label == "dog"
    ((method, where, body, _),) = scripted.requests
    assert (method, where) == ("POST", "/v1/models/net:predict")
    assert body["signature_name"] == "serving_bytes"
    assert base64.b64decode(body["inputs"]["image_bytes"][0]["b64"]) == path.read_bytes()


def test_a_version_and_a_label_are_in_the_path(scripted: Scripted) -> None:
    """And a name cannot leave its place in it."""
    Client(scripted.url, "net", version=3).predict({"x": np.zeros(1)})
    Client(scripted.url, "net", label="stable").predict({"x": np.zeros(1)})
    Client(scripted.url, "../a b", label="c/d").predict({"x": np.zeros(1)})
    assert [request[1] for request in scripted.requests] == [
        "/v1/models/net/versions/3:predict",
        "/v1/models/net/labels/stable:predict",
        "/v1/models/..%2Fa%20b/labels/c%2Fd:predict",
    ]


def test_images_go_in_batches_and_come_back_in_order(scripted: Scripted, photo: np.ndarray) -> None:
    """Five photos in batches of two are three requests; a file that was not readable for the server has no classes."""
    for ids in ([0, 1], [2, -1], [4]):
        outputs = {"top_ids": [[i] for i in ids], "top_scores": [[1.0 if i >= 0 else 0.0] for i in ids]}
        scripted.answers.append((200, json.dumps({"outputs": outputs}).encode()))
    found = Client(scripted.url, "net", batch=2).classify([photo] * 5)
    assert [best[0].index if best else None for best in found] == [0, 1, 2, None, 4]
    assert [len(request[2]["inputs"]["image_bytes"]) for request in scripted.requests] == [2, 2, 1]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, RefusedError),
        (403, RefusedError),
        (404, NotFoundError),
        (413, TooLargeError),
        (500, ServerError),
        (501, ServerError),
        (504, TimedOutError),
    ],
)
def test_each_status_is_an_error_of_its_own_and_is_not_tried_again(
    scripted: Scripted, status: int, kind: type[Exception]
) -> None:
    """A wrong request stays wrong; a failing one may have been costly."""
    scripted.answers += [(status, error("what the server said"))] * 3
    with pytest.raises(kind, match=f"{status}: what the server said"):
        Client(scripted.url, "net", backoff=0.001).predict({"x": np.zeros(1)})
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "The batch scheduling queue is full", OverloadedError),
        ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!", OverloadedError),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)", TooLargeError),
        ("UNAVAILABLE", "failed to connect to all addresses", UnreachableError),
        ("FAILED_PRECONDITION", "Serving signature key not found", BadRequestError),
        ("NOT_FOUND", "Servable not found", NotFoundError),
        ("UNAUTHENTICATED", "no key", RefusedError),
        ("DEADLINE_EXCEEDED", "too late", TimedOutError),
        ("INTERNAL", "failed", ServerError),
    ],
)
def test_codes_of_grpc_end_in_the_same_errors(code: str, details: str, kind: type[Exception]) -> None:
    """Only what may pass by waiting is Overloaded, and so tried again: neither a message too large nor nobody there."""
    assert type(from_grpc(code, details)) is kind


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_server_is_asked_again(scripted: Scripted, status: int) -> None:
    """Twice refused, then answered."""
    scripted.answers += [(status, error("full"))] * 2
    assert "top_ids" in Client(scripted.url, "net", backoff=0.001).predict({"x": np.zeros(1)})
    assert len(scripted.requests) == 3


def test_a_server_that_stays_full_ends_in_an_error(scripted: Scripted) -> None:
    """After the retries that were asked for, each later than the one before."""
    scripted.answers += [(503, b"<html>no JSON</html>")] * 9
    start = time.monotonic()
    with pytest.raises(OverloadedError, match="no JSON"):
        Client(scripted.url, "net", retries=3, backoff=0.05).predict({"x": np.zeros(1)})
    assert len(scripted.requests) == 4
    assert time.monotonic() - start >= 0.5 * (0.05 + 0.1 + 0.2)


def test_a_slow_server_is_given_up(scripted: Scripted) -> None:
    """After the timeout, once."""
    scripted.delay = 1.0
    with pytest.raises(TimedOutError, match=r"0\.1 s"):
        Client(scripted.url, "net", timeout=0.1).predict({"x": np.zeros(1)})


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nothing_at_the_address(scheme: str) -> None:
    """Says so at once, over both wires, rather than retrying."""
    with pytest.raises(UnreachableError):
        Client(f"{scheme}://127.0.0.1:9", "net", backoff=5.0).predict({"x": np.zeros(1)})


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"predictions": []}'])
def test_an_answer_that_is_none(scripted: Scripted, data: bytes) -> None:
    """Some other server at the port is named as such, not as a KeyError."""
    scripted.answers.append((200, data))
    with pytest.raises(ServerError):
        Client(scripted.url, "net").predict({"x": np.zeros(1)})


def test_bare_nan_is_read(scripted: Scripted) -> None:
    """The server writes it so, and strict JSON parsers do not take it."""
    scripted.answers.append((200, b'{"outputs": [NaN, -Infinity, 0.5]}'))
    found = Client(scripted.url, "net").predict({"x": np.zeros(1)})[""]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [np.nan, -np.inf, 0.5])


def test_a_request_without_rows_is_not_sent(scripted: Scripted) -> None:
    """A server that batches would keep it until another one comes."""
    with Client(scripted.url, "net") as client:
        assert client.classify([]) == []
        with pytest.raises(RequestError, match=r"images has no rows, only the shape \[0, 4\]"):
            client.predict({"images": np.zeros((0, 4))})
    assert scripted.requests == []


def test_headers_are_sent(scripted: Scripted) -> None:
    """The key that the proxy asks for."""
    Client(scripted.url, "net", headers={"X-API-Key": "secret"}).predict({"x": np.zeros(1)})
    assert scripted.requests[0][3]["x-api-key"] == "secret"


@pytest.mark.parametrize("url", ["127.0.0.1:8501", "ftp://h", "http://", "grpc://h:1/path", ""])
def test_addresses_that_are_none(url: str) -> None:
    """Refused before anything is sent, with the two forms that work."""
    with pytest.raises(RequestError, match="http://HOST:8501"):
        Client(url, "net")


def test_arrays_and_other_formats_become_jpeg_or_png(photo: np.ndarray, tmp_path: Path) -> None:
    """An array is close as JPEG and exact as PNG; what the server cannot decode is converted without loss."""
    from PIL import Image

    assert to_bytes(photo).startswith(b"\xff\xd8\xff")
    exact = to_bytes(photo, lossless=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(exact))), photo)
    Image.fromarray(photo).save(tmp_path / "photo.webp", lossless=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_bytes(tmp_path / "photo.webp")))), photo)
    assert to_bytes(photo[..., 0]).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    "image",
    [b"", b"no image", "absent.jpg", np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros(3, np.uint8), 5],
)
def test_what_is_no_image_is_not_sent(scripted: Scripted, image: Any) -> None:
    """One sentence instead of a failed batch on the server."""
    with pytest.raises(UnreadableImageError):
        Client(scripted.url, "net").classify([image])
    assert scripted.requests == []


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "bool"]
)
def test_messages_are_those_of_tensorflow(dtype: str) -> None:
    """The client's own descriptors write what the official messages read, and read what they write, in every way."""
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    import tensorflow as tf

    value = np.arange(6).reshape(2, 3).astype(dtype)
    ours = messages.message_class("PredictRequest")()
    ours.model_spec.name, ours.model_spec.version.value, ours.model_spec.signature_name = "net", 7, "s"
    ours.output_filter.append("y")
    messages.to_proto(value, ours.inputs["x"])
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert (theirs.model_spec.name, theirs.model_spec.version.value, theirs.model_spec.signature_name) == (
        "net",
        7,
        "s",
    )
    assert list(theirs.output_filter) == ["y"]
    np.testing.assert_array_equal(tf.make_ndarray(theirs.inputs["x"]), value)

    reply = predict_pb2.PredictResponse()
    reply.outputs["raw"].CopyFrom(tf.make_tensor_proto(value))
    reply.outputs["listed"].CopyFrom(tf.make_tensor_proto(value.tolist(), dtype))
    reply.outputs["repeated"].CopyFrom(tf.make_tensor_proto(value.flat[1], dtype, shape=[2, 3]))
    found = messages.message_class("PredictResponse").FromString(reply.SerializeToString())
    for name, expected in (("raw", value), ("listed", value), ("repeated", np.full((2, 3), value.flat[1]))):
        array = messages.from_proto(found.outputs[name])
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == dtype


def test_messages_of_strings_and_status() -> None:
    """The fields that the numbers above do not touch."""
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_status_pb2

    ours = messages.message_class("PredictRequest")()
    ours.model_spec.version_label = "stable"
    messages.to_proto(np.array([b"\xff\x00", "ü"], object), ours.inputs["x"])
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.version_label == "stable"
    assert tf.make_ndarray(theirs.inputs["x"]).tolist() == [b"\xff\x00", "ü".encode()]
    status = get_model_status_pb2.GetModelStatusResponse()
    status.model_version_status.add(version=2, state=30).status.error_message = "why"
    found = messages.message_class("GetModelStatusResponse").FromString(status.SerializeToString())
    (version,) = found.model_version_status
    assert (version.version, version.state, version.status.error_message) == (2, 30, "why")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_both_wires_against_the_development_server(golden_server: Any, scheme: str) -> None:
    """The same call, the same answer, the same error."""
    port = golden_server.rest_port if scheme == "http" else golden_server.grpc_port
    url = f"{scheme}://127.0.0.1:{port}"
    with Client(url, "half", label="stable") as client:
        (found,) = client.predict({"x": np.array([1.0, 2.0], np.float32)}).values()
        assert found.tolist() == [2.5, 3.0]
        assert [(v.version, v.state) for v in client.status()] == [(2, "AVAILABLE"), (1, "AVAILABLE")]
        with pytest.raises(BadRequestError):
            client.predict({"x": np.array([[1.0]], np.float32)})
        with pytest.raises(BadRequestError, match="absent"):
            client.predict({"x": np.array([1.0], np.float32)}, signature="absent")
    with Client(url, "half", version=9) as client, pytest.raises(NotFoundError):
        client.predict({"x": np.array([1.0], np.float32)})


def test_replies_beyond_the_default_of_grpc(golden_server: Any) -> None:
    """grpcio takes 4 MB unless it is told otherwise."""
    with Client(f"grpc://127.0.0.1:{golden_server.grpc_port}", "half") as client:
        (found,) = client.predict({"x": np.zeros(3_000_000, np.float32)}).values()
    assert found.shape == (3_000_000,)


def test_the_command_prints_a_table_and_json(scripted: Scripted, photo: np.ndarray, tmp_path: Path) -> None:
    """Exit code 0 with classes, 1 when a photo had none, 2 when the request was wrong."""
    from click.testing import CliRunner

    from serving.commands.client import command

    path = tmp_path / "photo.png"
    path.write_bytes(to_bytes(photo, lossless=True))
    run = CliRunner().invoke
    done = run(command, ["--url", scripted.url, "--model", "net", str(path)], standalone_mode=False)
    assert done.return_value == 0
    assert "cat" in done.output
    assert "75.0%" in done.output
    done = run(command, ["--url", scripted.url, "--model", "net", "--json", str(path)], standalone_mode=False)
    assert json.loads(done.output)[0]["predictions"][0] == {"index": 3, "label": "cat", "score": 0.75}
    unreadable = {"outputs": {"top_ids": [[-1]], "top_scores": [[0.0]]}}
    scripted.answers.append((200, json.dumps(unreadable).encode()))
    done = run(command, ["--url", scripted.url, "--model", "net", str(path)], standalone_mode=False)
    assert done.return_value == 1
    assert "could not be decoded" in done.output
    done = run(command, ["--url", scripted.url, "--model", "net"], standalone_mode=False)
    assert isinstance(done.exception, RequestError)
