"""The development server: versions, batching, overload, rude clients, and its command."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving")
pytest.importorskip("uvicorn")

from serving.client import BadRequestError, Client, NotFoundError, OverloadedError
from serving.development import configuration, limits
from serving.development.runtime.batching import Batching, read_batching
from serving.development.statuses import Code, StatusError
from serving.development.version_table import ModelConfig, Policy, State, Table
from serving.errors import RequestError
from tests.serving.servers import running, write_colours


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def solid(colour: tuple[int, int, int], size: int = 24) -> np.ndarray:
    return np.full((size, size, 3), colour, np.uint8)


RED, GREEN, BLUE = solid((250, 5, 5)), solid((5, 250, 5)), solid((5, 5, 250))


# --- the version table, without TensorFlow ---


class Fake:
    """A version in memory that remembers whether it was closed."""

    def __init__(self, folder: Path) -> None:
        if (folder / "broken").exists():
            raise StatusError(Code.DATA_LOSS, "it is broken")
        self.closed = False

    def close(self) -> None:
        self.closed = True


def make_table(base: Path, policy: Policy = Policy()) -> Table:  # noqa: B008
    table = Table(Fake)  # type: ignore[arg-type]
    table.configure([ModelConfig("net", base, policy)])
    return table


def states(table: Table) -> dict[int, State]:
    return {version.number: version.state for version in table.versions("net")}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), [15]),
        (Policy(latest=2), [10, 15]),
        (Policy(latest=0), [-5, 1, 7, 9, 10, 15]),
        (Policy(specific=(1, 8)), [1]),
    ],
)
def test_the_policy_chooses_versions_by_number(tmp_path: Path, policy: Policy, expected: list[int]) -> None:
    """10 is newer than 9; what is no number is no version, and whatever is one counts, as in the real server."""
    for name in ("1", "9", "10", "v11", "0.12", ".13", "١٤", "-5", "007"):
        (tmp_path / name).mkdir()
    (tmp_path / "15").write_text("a file")
    table = make_table(tmp_path, policy)
    table.poll()
    assert sorted(states(table)) == expected


def test_the_old_version_goes_only_after_the_new_one_came(tmp_path: Path) -> None:
    """And not while a request still uses it."""
    (tmp_path / "1").mkdir()
    table = make_table(tmp_path)
    table.poll()
    with table.lease("net") as old:
        assert old.number == 1
        (tmp_path / "2").mkdir()
        thread = threading.Thread(target=table.poll)
        thread.start()
        wait_until(lambda: states(table) == {1: State.UNLOADING, 2: State.AVAILABLE})
        with table.lease("net") as new:
            assert new.number == 2
        with pytest.raises(StatusError, match="Specific"), table.lease("net", 1):
            pass
        servable = old.servable
        assert not servable.closed
    thread.join(10)
    assert servable.closed
    assert states(table) == {1: State.END, 2: State.AVAILABLE}


def test_a_broken_new_version_leaves_the_old_one_serving(tmp_path: Path) -> None:
    """Its status says why. Its number stays failed even when its files are mended, as in the real server."""
    (tmp_path / "1").mkdir()
    table = make_table(tmp_path)
    table.poll()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "broken").touch()
    table.poll()
    assert states(table) == {1: State.AVAILABLE, 2: State.END}
    (broken,) = table.statuses("net", 2)
    assert (broken.code, broken.message) == (Code.DATA_LOSS, "it is broken")
    (tmp_path / "2" / "broken").unlink()
    table.poll()
    assert states(table) == {1: State.AVAILABLE, 2: State.END}
    (tmp_path / "3").mkdir()
    table.poll()
    assert states(table) == {1: State.END, 2: State.END, 3: State.AVAILABLE}


def test_a_label_in_use_moves_only_to_a_version_that_is_loaded(tmp_path: Path) -> None:
    """The whole list is refused otherwise. A new label may come before its version."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    table = Table(Fake)  # type: ignore[arg-type]

    def configure(labels: dict[str, int], *versions: int) -> None:
        table.configure([ModelConfig("net", tmp_path, Policy(specific=versions), labels)])
        table.poll()

    configure({"stable": 1}, 1)
    with pytest.raises(StatusError, match="not currently available") as caught:
        configure({"stable": 2}, 1, 2)
    assert caught.value.code is Code.FAILED_PRECONDITION
    with table.lease("net", label="stable") as version:
        assert version.number == 1
    configure({"stable": 1, "canary": 2, "later": 7}, 1, 2)
    configure({"stable": 2}, 1, 2)
    with table.lease("net", label="stable") as version:
        assert version.number == 2


def test_a_folder_that_is_gone_for_a_moment_unloads_nothing(tmp_path: Path) -> None:
    """An export replaces its folder by renaming; an empty one is meant."""
    base = tmp_path / "base"
    (base / "1").mkdir(parents=True)
    table = make_table(base)
    table.poll()
    base.rename(tmp_path / "away")
    table.poll()
    assert states(table) == {1: State.AVAILABLE}
    base.mkdir()
    table.poll()
    assert states(table) == {1: State.END}
    with pytest.raises(StatusError, match=r"Latest\(net\)"), table.lease("net"):
        pass


def test_going_back_to_an_older_version(tmp_path: Path) -> None:
    """Rollback: the new version is removed, and the old one is loaded again."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    table = make_table(tmp_path)
    table.poll()
    (tmp_path / "2").rmdir()
    table.poll()
    assert states(table) == {1: State.AVAILABLE, 2: State.END}


def test_a_model_that_is_no_longer_listed_is_unloaded(tmp_path: Path) -> None:
    """And nothing of it stays behind."""
    (tmp_path / "1").mkdir()
    table = make_table(tmp_path)
    table.poll()
    servable = table.versions("net")[0].servable
    table.configure([])
    table.poll()
    assert servable.closed  # type: ignore[union-attr]
    with pytest.raises(StatusError):
        table.statuses("net")


# --- configuration ---


def test_models_in_a_config_file_is_the_folder_of_models(tmp_path: Path) -> None:
    """The file is the container's; labels and policy are kept."""
    text = """model_config_list { config { name: "net" base_path: "/models/net/saved_model" model_platform: "tensorflow"
      model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } } }"""
    (tmp_path / "models.config").write_text(text)
    (config,) = configuration.from_file(tmp_path / "models.config", tmp_path)
    assert config == ModelConfig("net", tmp_path / "net/saved_model", Policy(specific=(1, 2)), {"stable": 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('model_config_list { config { name: "n" base_path: "/models/../etc" model_platform: "tensorflow" } }', "'..'"),
        ('model_config_list { config { name: "n" base_path: "n" model_platform: "tensorflow" } }', "relative"),
        ('model_config_list { config { name: "n" base_path: "/models/n" model_platform: "caffe" } }', "caffe"),
        ('model_config_list { config { base_path: "/models/n" } }', "no name"),
        (
            "model_config_list { " + 'config { name: "n" base_path: "/n" model_platform: "tensorflow" }' * 2 + "}",
            "twice",
        ),
        ('model_config_list { config { name: "n" base_path: "/models/n" } }', "model_platform ''"),
        ("", "empty"),
        ('model_config_list { config { name: "n" base_paht: "/models/n" } }', "base_paht"),
    ],
)
def test_configs_that_cannot_be_served(tmp_path: Path, text: str, reason: str) -> None:
    """Refused before TensorFlow starts, with the reason."""
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(RequestError, match=reason):
        configuration.from_file(tmp_path / "models.config", tmp_path)


def test_a_changed_config_file_is_read_again(tmp_path: Path) -> None:
    """promote and rollback change it while the server runs; an unchanged one is left alone."""
    file = tmp_path / "models.config"
    text = 'model_config_list {{ config {{ name: "{0}" base_path: "/models/{0}" model_platform: "tensorflow" }} }}'
    file.write_text(text.format("one"))
    read = configuration.reader(tmp_path, file)
    assert [config.name for config in read() or ()] == ["one"]
    assert read() is None
    file.write_text(text.format("other"))
    assert [config.name for config in read() or ()] == ["other"]
    file.unlink()
    assert read() is None


def test_batching_files_are_the_servers(tmp_path: Path) -> None:
    """The same wrapper fields, the same rules."""
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 500 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 2 } allowed_batch_sizes: 1 allowed_batch_sizes: 4"
    )
    assert read_batching(file) == Batching(4, 500, 2, 1, (1, 4))
    for wrong in ("max_batch_size: 4", "max_batch_size { value: 8 } allowed_batch_sizes: 4", "max_batch: 3"):
        file.write_text(wrong)
        with pytest.raises(RequestError):
            read_batching(file)


# --- photos, and the graph ---


@pytest.mark.smoke
@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_all_paths_agree(photo_server: Any, scheme: str) -> None:
    """Floats, pixels and files of the same photo are the same answer, over both interfaces."""
    port = photo_server.rest_port if scheme == "http" else photo_server.grpc_port
    with Client(f"{scheme}://127.0.0.1:{port}", "colours") as client:
        found = client.classify([RED, GREEN, BLUE], lossless=True)
        assert [best[0].label for best in found] == ["red", "green", "blue"]
        photos = np.stack([RED, GREEN, BLUE])
        pixels = client.predict({"images": photos}, signature="serving_uint8")
        (floats,) = client.predict({"images": photos[:, :16, :16].astype(np.float32) / 127.5 - 1}).values()
    scores = np.array([[prediction.score for prediction in best] for best in found])
    np.testing.assert_allclose(pixels["top_scores"], scores, atol=1e-5)
    np.testing.assert_allclose(-np.sort(-floats, axis=1), scores, atol=1e-5)
    assert pixels["top_ids"].tolist() == [[p.index for p in best] for best in found]


def test_one_unreadable_photo_costs_the_others_nothing(photo_server: Any) -> None:
    """It has no classes; the photos around it have theirs."""
    from serving.client.images import to_bytes

    with Client(f"grpc://127.0.0.1:{photo_server.grpc_port}", "colours") as client:
        found = client.classify([RED, to_bytes(GREEN)[:60], BLUE])
    assert [best[0].label if best else None for best in found] == ["red", None, "blue"]


def test_a_small_file_with_a_huge_picture_is_not_decoded(photo_server: Any) -> None:
    """900 million pixels in a few kilobytes would be 2.7 GB; nothing like that is allocated."""
    header = (30_000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(2 * (30_000 * 3 + 1)))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Client(f"http://127.0.0.1:{photo_server.rest_port}", "colours") as client:
        bomb, fine = client.classify([png, GREEN])
    assert bomb == ()
    assert fine[0].label == "green"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_a_tensor_that_is_small_on_the_wire_and_huge_in_memory(golden_server: Any) -> None:
    """One value may stand for all of a tensor's; a terabyte is refused before it is asked for."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=2**38)
    tensor.float_val.append(1.0)
    with (
        grpc.insecure_channel(f"127.0.0.1:{golden_server.grpc_port}") as channel,
        pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"),
    ):
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=10)


def test_small_answers_come_at_once(golden_server: Any) -> None:
    """Without Nagle's algorithm, which holds the second half of an answer back for 40 ms on connections that stay."""
    with Client(f"http://127.0.0.1:{golden_server.rest_port}", "half") as client:
        times = []
        for _ in range(30):
            start = time.perf_counter()
            client.status()
            times.append(time.perf_counter() - start)
    assert sorted(times)[5] < 0.03


# --- batching and overload ---

IMAGE = {"x": np.ones((1, 2, 2), np.float32)}


def test_requests_are_batched_and_a_full_queue_refuses_at_once(golden_models: Path) -> None:
    """64 at a time at a queue of 2 batches: each is right or refused with 503, in time, and afterwards all is well."""
    batching = Batching(max_batch_size=4, timeout_micros=300_000, max_enqueued_batches=1, threads=1)
    with running(golden_models, _only_tensors(), batching) as (where, _):
        url = f"grpc://127.0.0.1:{where.grpc_port}"

        def ask(value: int) -> float | str:
            with Client(url, "tensors", retries=0) as client:
                try:
                    images = np.full((3, 2, 2), value, np.float32)
                    return float(client.predict({"x": images}, signature="image")["y"][2]) / 4
                except OverloadedError as error:
                    return str(error)

        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            found = list(pool.map(ask, range(24)))
        assert time.monotonic() - start < 20
        right = [value for value in found if isinstance(value, float)]
        refused = [value for value in found if isinstance(value, str)]
        assert all(found[int(value)] == value for value in right)
        assert right
        assert refused
        assert all("queue" in reason for reason in refused)
        assert ask(7) == 7.0
        with Client(url, "tensors") as client, pytest.raises(BadRequestError, match="larger than maximum"):
            client.predict({"x": np.ones((5, 2, 2), np.float32)}, signature="image")


def test_a_request_without_rows_is_answered_at_once(golden_models: Path) -> None:
    """With batching the real server keeps it until another one comes; nine of them take all of its threads."""
    batching = Batching(max_batch_size=4, timeout_micros=60_000_000, max_enqueued_batches=1, threads=1)
    with running(golden_models, _only_tensors(), batching) as (where, _):
        began = time.monotonic()
        body = json.dumps({"signature_name": "image", "inputs": np.zeros((0, 2, 2)).tolist()})
        with closing(http.client.HTTPConnection("127.0.0.1", where.rest_port, timeout=30)) as connection:
            connection.request("POST", "/v1/models/tensors:predict", body)
            reply = connection.getresponse()
            assert (reply.status, b"Input x has no rows" in reply.read()) == (400, True)
        assert time.monotonic() - began < 10


def test_a_batch_of_requests_is_one_run_of_the_network(golden_models: Path) -> None:
    """Eight requests that wait for each other are answered together, long before the queue's timeout would end."""
    batching = Batching(max_batch_size=8, timeout_micros=20_000_000, max_enqueued_batches=4, threads=1)
    with running(golden_models, _only_tensors(), batching) as (where, _):
        barrier = threading.Barrier(8)

        def ask(_: int) -> float:
            with Client(f"http://127.0.0.1:{where.rest_port}", "tensors") as client:
                barrier.wait()
                return float(client.predict(IMAGE, signature="image")[""][0])

        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [4.0] * 8
        assert time.monotonic() - start < 15


def _only_tensors() -> str:
    return 'model_config_list { config { name: "tensors" base_path: "/models/tensors" model_platform: "tensorflow" } }'


def test_more_requests_than_are_admitted_are_refused(golden_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, with 503, while the others wait; and the count goes down again, whatever became of a request."""
    monkeypatch.setattr(limits, "MAX_REQUESTS", 3)
    address = ("127.0.0.1", golden_server.rest_port)
    waiting = [_send_half(address) for _ in range(3)]
    url = f"http://127.0.0.1:{golden_server.rest_port}"
    with Client(url, "half", retries=0) as client:
        wait_until(lambda: _is_overloaded(client))
        for connection in waiting:
            connection.close()
        wait_until(lambda: not _is_overloaded(client))


def test_bodies_in_memory_are_bounded_together(golden_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large ones at a time would be as much as one huge one."""
    monkeypatch.setattr(limits, "MAX_WAITING_BYTES", 1000)
    with Client(f"http://127.0.0.1:{golden_server.rest_port}", "half", retries=0) as client:
        with pytest.raises(OverloadedError, match="memory"):
            client.predict({"x": np.zeros(1000, np.float32)})
        assert client.predict({"x": np.zeros(1, np.float32)})[""].tolist() == [3.0]


def _is_overloaded(client: Client) -> bool:
    try:
        client.status()
    except OverloadedError:
        return True
    return False


def _send_half(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address)
    connection.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    return connection


# --- rude clients, changing files ---


def test_a_body_that_does_not_arrive_is_given_up(golden_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told, and its connection is closed."""
    monkeypatch.setattr(limits, "TIMEOUT", 0.3)
    with _send_half(("127.0.0.1", golden_server.rest_port)) as connection:
        connection.settimeout(10)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 408")


def test_clients_that_leave_or_talk_nonsense_disturb_nobody(golden_server: Any) -> None:
    """Half requests, other protocols and readers that never read; the server goes on answering."""
    address = ("127.0.0.1", golden_server.rest_port)
    for data in (b"", b"\x16\x03\x01 TLS?", b"GET / HTTP/1.1\r\nHost", b"POST " + b"x" * 100_000, b"\x00" * 1000):
        with socket.create_connection(address) as connection:
            connection.sendall(data)
    for _ in range(5):
        _send_half(address).close()
        connection = socket.create_connection(address)
        body = json.dumps({"instances": [0.5] * 10_000}).encode()
        head = f"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.close()
    with Client(f"http://127.0.0.1:{golden_server.rest_port}", "half") as client:
        assert client.predict({"x": np.ones(1, np.float32)})[""].tolist() == [3.5]


def test_a_version_is_replaced_during_traffic_without_a_failed_request(tmp_path: Path, photo_models: Path) -> None:
    """Every answer is right for the version that gave it; then a corrupt one changes nothing but its status."""
    base = tmp_path / "colours" / "saved_model"
    base.mkdir(parents=True)
    shutil.copytree(photo_models / "colours/saved_model/1", base / "1")
    write_colours(tmp_path / "new", strength=2.0)
    with running(tmp_path) as (where, table):
        stop, wrong, seen = threading.Event(), [], set()

        def ask() -> None:
            with Client(f"http://127.0.0.1:{where.rest_port}", "colours", retries=0) as client:
                while not stop.is_set():
                    try:
                        ((best, *_),) = client.classify([GREEN])
                        seen.add(round(best.score, 3))
                        if best.label != "green":
                            wrong.append(best)
                    except Exception as error:
                        wrong.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(seen) == 1)
            (tmp_path / "new").rename(base / "2")
            wait_until(lambda: len(seen) == 2)
            wait_until(lambda: [v.state for v in table.versions("colours")] == [State.AVAILABLE, State.END])
            shutil.copytree(base / "2", tmp_path / "corrupt")
            graph = tmp_path / "corrupt" / "saved_model.pb"
            graph.write_bytes(graph.read_bytes()[:5000])
            (tmp_path / "corrupt").rename(base / "3")
            wait_until(lambda: any(v.number == 3 and v.message for v in table.versions("colours")))
            time.sleep(0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        with Client(f"grpc://127.0.0.1:{where.grpc_port}", "colours") as client:
            third, second, _ = client.status()
        assert (second.version, second.state) == (2, "AVAILABLE")
        assert (third.version, third.state) == (3, "END")
        assert third.message


def test_a_version_whose_warm_up_fails_is_not_served(tmp_path: Path, photo_models: Path) -> None:
    """As the real server: better here than there."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    version = tmp_path / "colours" / "saved_model" / "1"
    shutil.copytree(photo_models / "colours/saved_model/1", version)
    log = PredictionLog()
    log.predict_log.request.inputs["pictures"].CopyFrom(tf.make_tensor_proto([1.0]))
    with tf.io.TFRecordWriter(str(version / "assets.extra/tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    with running(tmp_path) as (where, _), Client(f"http://127.0.0.1:{where.rest_port}", "colours") as client:
        assert "Warm-up request 1" in client.status()[0].message
        with pytest.raises(NotFoundError):
            client.classify([RED])


def test_a_new_list_of_models_over_grpc(golden_models: Path) -> None:
    """HandleReloadConfigRequest replaces all of them, and a wrong list changes nothing."""
    import grpc
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    with (
        running(golden_models, _only_tensors()) as (where, table),
        grpc.insecure_channel(f"127.0.0.1:{where.grpc_port}") as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(_half('version_labels { key: "stable" value: 2 }'), request.config)
        stub.HandleReloadConfigRequest(request, timeout=30)
        assert table.names() == ["half"]
        with Client(f"http://127.0.0.1:{where.rest_port}", "half") as client:
            assert client.predict({"x": np.ones(1, np.float32)})[""].tolist() == [3.5]
        for text, code, reason in (
            ("", "INVALID_ARGUMENT", "Only ModelConfigList"),
            (_half().replace("/models/half", "/models/../secret"), "INVALID_ARGUMENT", r"'\.\.'"),
            (_half('version_labels { key: "stable" value: 1 }'), "FAILED_PRECONDITION", "not currently available"),
        ):
            request.config.Clear()
            text_format.Parse(text, request.config)
            with pytest.raises(grpc.RpcError, match=f"{code}(.|\n)*{reason}"):
                stub.HandleReloadConfigRequest(request, timeout=30)
            assert table.names() == ["half"]
        request.config.Clear()
        for name in ("half", "absent"):
            request.config.MergeFrom(text_format.Parse(_half().replace("half", name), type(request.config)()))
        with pytest.raises(
            grpc.RpcError, match="UNKNOWN(.|\n)*1 model\\(s\\) did not become available: {{name: absent}"
        ):
            stub.HandleReloadConfigRequest(request, timeout=30)
        assert table.names() == ["absent", "half"]  # the list stays, in the real server too


def _half(more: str = "") -> str:
    model = f'name: "half" base_path: "/models/half" model_platform: "tensorflow" {more}'
    return f"model_config_list {{ config {{ {model} }} }}"


# --- the command ---


def start(models: Path, *more: str) -> tuple[subprocess.Popen[str], int, int]:
    """`python -m serving dev` as a process of its own; it, its REST port and its gRPC port."""
    command = [sys.executable, "-m", "serving", "dev", "--models", str(models), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = ""
    while "REST" not in said:
        line = process.stdout.readline()
        assert line, f"it ended early: {said}"
        said += line
    assert said.startswith("Development server.")
    ports = [line.split()[1].rpartition(":")[2] for line in said.splitlines() if line[:4] in ("REST", "gRPC")]
    return process, int(ports[1]), int(ports[0])


def test_the_command_serves_on_loopback_alone_and_survives_being_killed(photo_models: Path) -> None:
    """Killed without warning and started again at the same ports, it answers; asked to stop, it ends with 0."""
    process, rest, grpc = start(photo_models, "--rest-port", "0", "--grpc-port", "0")
    try:
        for port in (rest, grpc):
            assert _listeners(port) == {"127.0.0.1"}
        with Client(f"http://127.0.0.1:{rest}", "colours") as client:
            assert client.classify([RED])[0][0].label == "red"
        second = subprocess.run(
            [sys.executable, "-m", "serving", "dev", "--models", str(photo_models), "--rest-port", str(rest)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert second.returncode == 2
        assert f"127.0.0.1:{rest}" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.kill()
        process.communicate()
    process, *_ = start(photo_models, "--rest-port", str(rest), "--grpc-port", str(grpc))
    try:
        with Client(f"grpc://127.0.0.1:{grpc}", "colours") as client:
            assert client.classify([BLUE])[0][0].label == "blue"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def _listeners(port: int) -> set[str]:
    """The addresses that something listens on at a port, from the kernel."""
    found = set()
    for name, size in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            if line.split()[3] == "0A" and int(number, 16) == port:
                # The kernel writes each 32-bit word in the machine's order; the last one is IPv4's, bare or mapped.
                mapped = size == 8 or address.startswith("0000000000000000FFFF0000")
                found.add(socket.inet_ntoa(bytes.fromhex(address[-8:])[::-1]) if mapped else address)
    return found


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--models"),
        (["--models", "absent"], "absent"),
        (["--models", ".", "--config", "absent.config"], "absent.config"),
        (["--models", "{models}", "--host", "everywhere"], "everywhere"),
        (["--models", "{models}", "--batching", "absent.config"], "absent.config"),
    ],
)
def test_requests_that_cannot_be_served_end_before_tensorflow_starts(
    photo_models: Path, arguments: list[str], reason: str
) -> None:
    """Exit code 2 with the reason, within the time that imports nothing heavy."""
    from click.testing import CliRunner

    from serving.commands.dev import command

    given = [argument.format(models=photo_models) for argument in arguments]
    done = CliRunner().invoke(command, given, standalone_mode=False)
    assert isinstance(done.exception, RequestError)
    assert reason in str(done.exception)


def test_internal_errors_stay_inside(photo_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client learns that something failed; the log learns what."""
    from serving.development.rest import replies

    def fail(*_: object, **__: object) -> bytes:
        raise ZeroDivisionError("a secret of the server's")

    with running(photo_models) as (where, _):
        monkeypatch.setattr(replies, "predictions", fail)
        connection = http.client.HTTPConnection("127.0.0.1", where.rest_port, timeout=30)
        connection.request(
            "POST", "/v1/models/colours:predict", json.dumps({"instances": np.zeros((1, 16, 16, 3)).tolist()})
        )
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
    assert reply.status == 500
    assert "secret" not in text
    assert "ZeroDivisionError" not in text
