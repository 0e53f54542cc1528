"""The Open Inference Protocol, client and development server: over both wires, and against Triton's own client."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

import kerascnn
from serving.client import BadRequestError, Client, ClientError, NotFoundError
from serving.client.rest import RestWire
from serving.client.v2 import LENGTH
from serving.development import server
from serving.development.v2.repository import Repository
from serving.errors import RequestError
from serving.operations.evaluation import evaluate, find_exported
from tests.serving.small import CLASSES, SIDE, encoded, photo

INPUTS = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def where(triton_folder: Path) -> Iterator[Any]:
    """A development server with what `init` has written."""
    repository = Repository(triton_folder / "repository")
    with server.listening_v2(repository, server.bind("127.0.0.1", 0), 0) as listening:
        yield listening


@pytest.fixture(params=["http", "grpc"])
def url(where, request) -> str:
    port = where.rest_port if request.param == "http" else where.grpc_port
    return f"{request.param}://{where.host}:{port}/v2"


def post(where, body: bytes, model: str = "colours", **headers: str) -> tuple[int, dict[str, Any]]:
    reply = urllib3.request(
        "POST", f"http://{where.host}:{where.rest_port}/v2/models/{model}/infer", body=body, headers=headers
    )
    return reply.status, json.loads(reply.data)


class TestClient:
    """The same over HTTP and gRPC."""

    def test_photos_get_the_classes_that_the_file_gives(self, url, onnx_folder):
        files = [encoded(photo(seed=seed), "PNG") for seed in range(5)]
        expected = kerascnn.predict(onnx_folder / "colours/small.onnx", files)
        with Client(url, "colours", batch=2) as client:
            answers = client.classify(files)
        for best, answer in zip(answers, expected, strict=True):
            assert [one.label for one in best] == [guess.name for guess in answer.classes[:5]]
            np.testing.assert_allclose(
                [one.score for one in best], [guess.probability for guess in answer.classes[:5]], atol=2e-6
            )

    def test_arrays(self, url):
        with Client(url, "colours", version=1) as client:
            everything = client.predict({"images": INPUTS})
            one = client.predict({"images": INPUTS[:1]}, outputs=["probabilities"])
        assert set(everything) == {"probabilities"}
        np.testing.assert_allclose(everything["probabilities"].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(one["probabilities"], everything["probabilities"][:1], atol=1e-6)

    def test_every_precision_is_a_model(self, url):
        with Client(url, "colours") as exact, Client(url, "colours_float16") as half:
            answers = [client.predict({"images": INPUTS})["probabilities"] for client in (exact, half)]
        np.testing.assert_allclose(*answers, atol=5e-3)

    def test_status(self, url):
        with Client(url, "colours") as client:
            assert [(row.version, row.state) for row in client.status()] == [(1, "AVAILABLE")]

    @pytest.mark.parametrize(
        ("inputs", "says"),
        [
            ({"images": np.zeros((33, SIDE, SIDE, 3), np.float32)}, "batch-size must be <= 32"),
            ({"images": np.zeros((1, SIDE, SIDE, 4), np.float32)}, "unexpected shape"),
            ({"images": np.zeros((SIDE, SIDE, 3), np.float32)}, "unexpected shape"),
            ({"images": np.zeros((1, SIDE, SIDE, 3), np.uint8)}, "data-type is 'UINT8'"),
            ({"pictures": INPUTS}, "unexpected inference input 'pictures'"),
        ],
    )
    def test_wrong_requests(self, url, inputs, says):
        with Client(url, "colours") as client, pytest.raises(BadRequestError, match=says):
            client.predict(inputs)

    def test_what_is_not_there(self, url):
        for options in ({"model": "shapes"}, {"model": "colours", "version": 2}):
            with Client(url, **options) as client:
                for call in (client.status, lambda: client.classify([encoded(photo())])):
                    with pytest.raises(NotFoundError):
                        call()

    def test_what_the_protocol_does_not_have(self, url):
        with Client(url, "colours", label="stable") as client, pytest.raises(RequestError, match="neither labels"):
            client.classify([encoded(photo())])
        with Client(url, "colours") as client, pytest.raises(RequestError, match="signatures"):
            client.predict({"images": INPUTS}, signature="serving_bytes")

    def test_a_damaged_photo_costs_the_others_nothing(self, url):
        with Client(url, "colours") as client:
            first, damaged, last = client.classify([encoded(photo()), b"\xff\xd8\xff damaged", encoded(photo())])
            assert client.classify([b"\xff\xd8\xff damaged"]) == [()]
        assert (damaged, first) == ((), last)
        assert len(first) == 5

    def test_a_protocol_that_the_address_does_not_say(self, url):
        with Client(url.removesuffix("/v2"), "colours", protocol="v2") as client:
            assert len(client.classify([encoded(photo())])[0]) == 5
        with Client("http://localhost/v2", "colours", protocol="v1") as client:
            assert isinstance(client._wire, RestWire)
        with pytest.raises(RequestError, match="give v1 or v2"):
            Client(url, "colours", protocol="v3")

    def test_addresses(self):
        for wrong in ("ftp://localhost/v2", "grpc://localhost:8001/v2/models", "http:///v2"):
            with pytest.raises(RequestError, match="http://HOST:8000/v2"):
                Client(wrong, "colours")


def test_accuracy_behind_the_wire(url, onnx_folder, tmp_path):
    """Top-1 of a server beside that of the manifest, for an ONNX file as for a SavedModel."""
    for seed in range(3):
        path = tmp_path / "photos" / CLASSES[seed] / "photo.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(encoded(photo(seed=seed)))
    models = Path(shutil.copytree(onnx_folder, tmp_path / "artifacts"))
    manifest = json.loads((models / "colours/manifest.json").read_text())
    entry = next(one for one in manifest["artifacts"] if one["precision"] == "float16")
    entry["accuracy"] = {"top1": 0.25, "top5": 1.0, "images": 8}
    (models / "colours/manifest.json").write_text(json.dumps(manifest))
    exported = find_exported(models, "colours_float16")
    with Client(url, "colours_float16") as client:
        found = evaluate(client, exported, tmp_path / "photos")
        right = [
            best[0].label == name
            for name, best in zip(
                CLASSES, client.classify(tmp_path / "photos" / name / "photo.jpg" for name in CLASSES[:3]), strict=False
            )
        ]
    assert found.photos == 3
    assert found.top1 == pytest.approx(sum(right) / 3)
    assert found.exported == entry["accuracy"]
    with pytest.raises(RequestError, match="Give --models"):
        find_exported(models, "shapes")


def test_a_model_that_does_not_say_how_photos_are_prepared(where, triton_folder, tmp_path):
    config = (triton_folder / "repository/colours/config.pbtxt").read_text()
    (tmp_path / "plain/1").mkdir(parents=True)
    start, end = config.index("parameters {"), config.index("model_warmup")
    (tmp_path / "plain/config.pbtxt").write_text((config[:start] + config[end:]).replace('"colours"', '"plain"'))
    for name in ("labels.txt", "1/model.onnx"):
        (tmp_path / "plain" / name).write_bytes((triton_folder / "repository/colours" / name).read_bytes())
    with server.listening_v2(Repository(tmp_path), server.bind("127.0.0.1", 0), 0) as other:
        for url in (f"http://{other.host}:{other.rest_port}/v2", f"grpc://{other.host}:{other.grpc_port}/v2"):
            with Client(url, "plain") as client, pytest.raises(ClientError, match="does not say how photos"):
                client.classify([encoded(photo())])


class TestServer:
    """Requests as others send them."""

    def test_json_without_the_binary_form(self, where):
        entry = {"name": "images", "shape": [1, SIDE, SIDE, 3], "datatype": "FP32", "data": INPUTS[0].ravel().tolist()}
        status, reply = post(where, json.dumps({"id": "7", "inputs": [entry]}).encode())
        assert (status, reply["id"], reply["model_version"]) == (200, "7", "1")
        assert reply["outputs"][0]["shape"] == [1, len(CLASSES)]
        assert sum(reply["outputs"][0]["data"]) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{}",
            b'{"inputs": 1}',
            b'{"inputs": [1]}',
            b'{"inputs": [{"name": "images", "shape": [1], "datatype": "FP8", "data": [1]}]}',
            b'{"inputs": [{"name": "images", "shape": [2], "datatype": "FP32", "data": [1]}]}',
            b'{"inputs": [{"name": "images", "shape": "x", "datatype": "FP32", "data": [1]}]}',
            b'{"inputs": [{"name": "images", "shape": [1], "datatype": "FP32"}]}',
            b'{"inputs": [], "outputs": [{}]}',
            b"[" * 100_000,
            b"\xff",
        ],
    )
    def test_malformed_requests(self, where, body):
        status, reply = post(where, body)
        assert status == 400
        assert reply["error"]

    @pytest.mark.parametrize("length", ["9999", "-1", "x", "0"])
    def test_a_wrong_length_of_the_header(self, where, length):
        assert post(where, b'{"inputs": []}', **{LENGTH: length})[0] == 400

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/v2", 200),
            ("/v2/health/live", 200),
            ("/v2/health/ready", 200),
            ("/v2/models/colours/ready", 200),
            ("/v2/models/colours/versions/1", 200),
            ("/v2/models/colours/versions/2", 404),
            ("/v2/models/colours/versions/x", 404),
            ("/v2/models/shapes", 404),
            ("/v1/models/colours", 404),
            ("/v2/models/colours/infer", 404),
        ],
    )
    def test_paths(self, where, path, status):
        assert urllib3.request("GET", f"http://{where.host}:{where.rest_port}{path}").status == status

    def test_a_folder_that_cannot_be_served(self, tmp_path):
        with pytest.raises(RequestError, match="There is no model"):
            Repository(tmp_path)
        (tmp_path / "a/1").mkdir(parents=True)
        (tmp_path / "a/1/model.onnx").write_bytes(b"damaged")
        (tmp_path / "a/config.pbtxt").write_text('name: "a"')
        with pytest.raises(RequestError, match="cannot be loaded"):
            Repository(tmp_path)


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritons_own_client(where, kind):
    """A second opinion, of Triton's authors: their client reads what the development server writes."""
    pytest.importorskip("tritonclient", reason="needs tritonclient[grpc,http]")
    triton = pytest.importorskip(f"tritonclient.{kind}")
    port = where.rest_port if kind == "http" else where.grpc_port
    client = triton.InferenceServerClient(f"{where.host}:{port}")
    entry = triton.InferInput("images", INPUTS.shape, "FP32")
    entry.set_data_from_numpy(INPUTS)
    theirs = client.infer("colours", [entry]).as_numpy("probabilities")
    with Client(f"{kind}://{where.host}:{port}/v2", "colours") as ours:
        np.testing.assert_array_equal(theirs, ours.predict({"images": INPUTS})["probabilities"])
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    best = client.infer("colours", [entry], outputs=wanted).as_numpy("probabilities")
    assert best.shape == (3, 2)
    assert best[0, 0].decode().rpartition(":")[2] == CLASSES[theirs[0].argmax()]
    client.close()
