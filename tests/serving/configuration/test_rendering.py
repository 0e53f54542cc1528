"""The rendered files, run by what will read them: bash, nginx, promtool, the schema of compose."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from serving.artifacts import ServedModel, find_models
from serving.configuration import checking, rendering
from serving.configuration.tfs import batching, flags, messages, model_config
from serving.contract import BATCH_SIZES
from serving.errors import RequestError
from tests.serving.exported import put_model

STATUS = {
    "loading": '{"model_version_status": [{"version": "1", "state": "LOADING", "status": {"error_code": "OK"}}]}',
    "failed": '{"model_version_status": [{"version": "1", "state": "END", "status": {"error_code": "UNAVAILABLE"}}]}',
    "ready": '{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}',
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServedModel, ...]:
    """A network of photos, one of small images, and one laid out by somebody else."""
    folder = tmp_path_factory.mktemp("artifacts")
    put_model(folder, "squeezenet", side=227)
    put_model(folder, "resnet20_cifar", side=32)
    (folder / "theirs/3").mkdir(parents=True)
    (folder / "theirs/3/saved_model.pb").write_bytes(b"")
    return find_models(folder)


@pytest.fixture(scope="module")
def files(models: tuple[ServedModel, ...]) -> dict[str, str]:
    """The files of init --gpu."""
    return rendering.render(models, gpus=1, models_folder="../artifacts")


@pytest.fixture
def folder(files: dict[str, str], tmp_path: Path) -> Path:
    """The files of init --gpu on the disk."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving's REST port does, as far as a proxy and a health check see it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self._answer(200 if name in STATUS else 404, STATUS.get(name, '{"error": "Could not find any versions"}'))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, json.dumps({"predictions": [0.5], "key": self.headers.get("X-Api-Key")}))

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """The port of a Backend."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def grpc_backend() -> Iterator[int]:
    """The port of a gRPC server that answers every call with the call's own path and bytes."""
    grpc = pytest.importorskip("grpc")

    class Echo(grpc.GenericRpcHandler):
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, _: call.method.encode() + b" " + request)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


class TestMessages:
    """The messages that the stubs lack have the real fields; a wrong number would be read as another field."""

    def test_numbers_of_batching_parameters(self) -> None:
        """The bytes of `session_bundle_config.proto`: key = number << 3 | wire type, a wrapper being a message."""
        message = messages.new("BatchingParameters")
        message.max_batch_size.value = 7
        message.allowed_batch_sizes.append(7)
        message.pad_variable_length_inputs = True
        message.max_execution_batch_size.value = 7
        assert message.SerializeToString(deterministic=True) == bytes.fromhex("0a020807 320107 3801 4a020807")

    def test_profiles_survive_their_text(self) -> None:
        for profile in batching.PROFILES:
            text = batching.to_text(profile)
            assert messages.parse(text, "BatchingParameters", "it") == batching.to_message(profile)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("max_batch_size: 32", r'it is not a BatchingParameters: 1:17 .*Expected "\{"'),
            ("max_size { value: 1 }", "max_size"),
        ],
    )
    def test_error_says_where(self, text: str, message: str) -> None:
        with pytest.raises(RequestError, match=message):
            messages.parse(text, "BatchingParameters", "it")

    def test_every_profile_takes_every_warmup_request(self) -> None:
        """A server refuses to load a model whose warm-up request is larger than max_batch_size."""
        assert all(profile.largest >= max(BATCH_SIZES) for profile in batching.PROFILES)

    def test_model_config_says_where_the_container_finds_each_model(self, models: tuple[ServedModel, ...]) -> None:
        paths = {c.name: c.base_path for c in model_config.build(models).model_config_list.config}
        assert paths == {
            "squeezenet": "/models/squeezenet/saved_model",
            "resnet20_cifar": "/models/resnet20_cifar/saved_model",
            "theirs": "/models/theirs",
        }

    def test_small_images_get_batching_of_their_own(self, files: dict[str, str]) -> None:
        own = [name for name in files if name.endswith(rendering.PER_MODEL)]
        assert own == ["tfs/per_model/resnet20_cifar/batching_params.pbtxt"]
        assert messages.parse(files[own[0]], "BatchingParameters", own[0]).max_batch_size.value == 256


class TestCompose:
    """Compose files: their schema, the merge of the two, and what listens where."""

    @pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
    def test_schema(self, files: dict[str, str], name: str) -> None:
        pytest.importorskip("check_jsonschema", reason="check-jsonschema brings the schema of compose")
        from serving.configuration import schemas

        document = yaml.safe_load(files[name])
        assert not list(schemas.check({name: [document]}))
        document["services"]["serving"]["comand"] = document["services"]["serving"].pop("command")
        assert "comand" in next(iter(schemas.check({name: [document]}))).what

    def test_compose_itself(self, folder: Path) -> None:
        """Where there is a Docker Compose, it reads both files and merges them."""
        command = ["docker", "compose"]
        if shutil.which("docker") is None or subprocess.run([*command, "version"], capture_output=True).returncode:
            pytest.skip("needs docker compose")
        command += ["-f", "compose.yaml", "-f", "compose.gpu.yaml", "config", "--format", "json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        serving = json.loads(done.stdout)["services"]["serving"]
        assert serving["image"] == "tensorflow/serving:2.20.0-gpu"
        assert "--batching_parameters_file=/config/batching.latency.config" in serving["command"]

    def test_gpu_file_reserves_a_gpu_and_runs_the_gpu_image(self, files: dict[str, str]) -> None:
        service = yaml.safe_load(files["compose.gpu.yaml"])["services"]["serving"]
        assert service["image"] == "tensorflow/serving:${TFS_VERSION:-2.20.0}-gpu"
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}

    def test_each_of_several_gpus_has_a_server_behind_one_name(self, models: tuple[ServedModel, ...]) -> None:
        files = rendering.render(models, gpus=3, models_folder="../artifacts")
        assert checking.check_files(files, models) == []
        services = yaml.safe_load(files["compose.gpu.yaml"])["services"]
        servers = [services[name] for name in ("serving", "serving-1", "serving-2")]
        devices = [server["deploy"]["resources"]["reservations"]["devices"] for server in servers]
        assert [device["device_ids"] for (device,) in devices] == [["0"], ["1"], ["2"]]
        base = yaml.safe_load(files["compose.yaml"])["services"]["serving"]
        for server in servers[1:]:
            assert server["networks"]["default"]["aliases"] == ["serving"]
            assert {key for key in base if key not in server} == {"ports"}  # which one server alone can have
            assert server["command"] == servers[0]["command"]
        assert set(services["proxy"]["depends_on"]) == {"serving-1", "serving-2"}
        (scraped, _) = yaml.safe_load(files["prometheus/prometheus.yml"])["scrape_configs"]
        assert scraped["dns_sd_configs"] == [{"names": ["serving"], "type": "A", "port": 8501}]

    def test_nothing_listens_beyond_this_machine_unless_asked(self, files: dict[str, str]) -> None:
        services = yaml.safe_load(files["compose.yaml"])["services"].values()
        ports = [port for service in services for port in service.get("ports", ())]
        assert len(ports) == 5
        for port in ports:
            assert port.startswith(("127.0.0.1:", "${PROXY_ADDRESS:-127.0.0.1}:")), port

    def test_models_and_configuration_are_mounted_read_only(self, files: dict[str, str]) -> None:
        models, config = yaml.safe_load(files["compose.yaml"])["services"]["serving"]["volumes"]
        assert (models["target"], models["read_only"], config) == ("/models", True, "./tfs:/config:ro")

    def test_a_signal_ends_the_server(self, files: dict[str, str]) -> None:
        """It is started itself, behind an init that hands signals on."""
        serving = yaml.safe_load(files["compose.yaml"])["services"]["serving"]
        assert (serving["init"], serving["entrypoint"]) == (True, ["tensorflow_model_server"])
        assert serving["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "1"}

    def test_a_batch_and_the_next_one_find_threads(self) -> None:
        """A request holds a thread until its batch is back; 4 for each CPU, the default, never fill a batch of 32."""
        given = dict(flag.split("=") for flag in flags.server_flags("cpu", gpu=False))
        largest = max(profile.largest for profile in batching.PROFILES)
        assert int(given["--rest_api_num_threads"]) == int(given["--grpc_max_threads"]) == 2 * largest

    def test_every_flag_is_one_of_the_server(self) -> None:
        given = {flag.removeprefix("--").split("=")[0] for flag in flags.server_flags("cpu", gpu=True)}
        assert given <= flags.known_flags()

    def test_variables_are_explained_in_the_environment(self, files: dict[str, str]) -> None:
        """Each variable of the compose files stands in .env, or has a default."""
        used = set(re.findall(r"\$\{(\w+):?\?", files["compose.yaml"] + files["compose.gpu.yaml"]))
        assert used == {"MODELS_FOLDER", "GRAFANA_PASSWORD"}
        assert all(re.search(rf"^{name}=.+", files[".env"], re.MULTILINE) for name in used)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
class TestHealthCheck:
    """The script that stands in for curl, asked by compose and by the probes."""

    def check(self, folder: Path, port: int, *names: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", folder / "tfs/healthcheck.sh", *names],
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "REST_PORT": str(port)},
        )

    def test_ready(self, folder: Path, backend: int) -> None:
        assert self.check(folder, backend, "ready", "ready").returncode == 0

    @pytest.mark.parametrize("name", ["loading", "failed", "absent"])
    def test_not_ready(self, folder: Path, backend: int, name: str) -> None:
        """While a version loads the status is 200 too; and UNAVAILABLE has AVAILABLE in it."""
        done = self.check(folder, backend, "ready", name)
        assert (done.returncode, done.stdout) == (1, f"no version of {name} is available\n")

    def test_nothing_listens(self, folder: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            done = self.check(folder, unused.getsockname()[1], "ready")
        assert (done.returncode, "nothing listens" in done.stdout) == (1, True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificates")
    key, certificate = folder / "tls.key", folder / "tls.crt"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return key, certificate


def test_ssl_config_holds_the_very_files(folder: Path, certificate: tuple[Path, Path]) -> None:
    """The script for gRPC's TLS: what it prints is read back by the message as the PEM text of the files."""
    from serving.configuration.checking import check_files

    key, crt = certificate
    script = ["bash", folder / "tfs/write_ssl_config.sh"]
    text = subprocess.run([*script, key, crt, crt], check=True, capture_output=True, text=True).stdout
    message = messages.parse(text, "SSLConfig", "ssl.config")
    assert (message.server_key, message.server_cert) == (key.read_text(), crt.read_text())
    assert (message.custom_ca, message.client_verify) == (crt.read_text(), True)
    plain = subprocess.run([*script, key, crt], check=True, capture_output=True, text=True).stdout
    assert not messages.parse(plain, "SSLConfig", "ssl.config").client_verify
    assert [f.where for f in check_files({"tfs/ssl.config": text}, ())] == ["tfs/models.config"]
    assert subprocess.run(script, capture_output=True).returncode == 2


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('{"instances": [[[[0.5, NaN]]]]}', True),
        ('  {"a": "]]]][[[[[[[[[[[[", "b": "\\\\"} and what comes after it', True),
        ("[" * 10 + "]" * 10, True),
        ("[" * 11 + "]" * 11, False),
        ('{"a": "\\", [[[[[[[[[["}', True),  # an escaped quotation mark: all of it is the string
        ('{"a": "\\\\", "b": ' + "[" * 10 + "]" * 10 + "}", False),
        ("[" + "[], " * 100_000, False),
        ("[" * 100_000, False),
    ],
)
def test_the_proxy_tells_shallow_json_from_deep(text: str, passes: bool) -> None:
    """The same pattern in Python's re, where there is no nginx."""
    assert bool(re.match(rendering._shallow_json(10), text)) is passes


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, str],
    backend: int,
    grpc_backend: int,
    certificate: tuple[Path, Path],
) -> Iterator[tuple[int, str]]:
    """Its port and an API key that it knows."""
    folder = tmp_path_factory.mktemp("proxy")
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, inner = free.getsockname()[1], other.getsockname()[1]
    (folder / "certificates").mkdir()
    for file in certificate:
        shutil.copy(file, folder / "certificates")
    for name in ("nginx.conf", "rest.conf", "api-keys.conf"):
        text = files[f"proxy/{name}"]
        for old, new in {
            # Slower than any machine that runs this test.
            "rate=50r/s": "rate=1r/s",
            "burst=100 ": "burst=20 ",
            "serving:8501": f"127.0.0.1:{backend}",
            "serving:8500": f"127.0.0.1:{grpc_backend}",
            "127.0.0.1:8444": f"127.0.0.1:{inner}",
            "/tmp/nginx.pid": f"{folder}/nginx.pid",
            "/dev/stdout": f"{folder}/access.log",
            # nginx 1.22, which Debian has, says the same in one line.
            "listen 8443 ssl;\n    http2 on;": f"listen 127.0.0.1:{port} ssl http2;",
        }.items():
            text = text.replace(old, new)
        (folder / name).write_text(text)
    with (folder / "api-keys.conf").open("a") as keys:
        keys.write('"flood" "second-client";\n')
    command = ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off;"]
    check = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _wait_for(port)
    yield port, re.search(r'^"(\S+)" "first-client";$', files["proxy/api-keys.conf"], re.MULTILINE)[1]
    process.terminate()
    process.wait(timeout=10)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")
class TestProxy:
    """The proxy's own configuration in a real nginx, before a small server in TensorFlow Serving's place."""

    def ask(
        self, port: int, method: str, path: str, key: str | None = None, body: bytes = b"{}", **headers: str
    ) -> tuple[int, dict[str, object]]:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"X-Api-Key": key} if key else {}
        with closing(connection):
            connection.request(method, path, body if method == "POST" else None, sent | headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")

    def test_prediction_with_a_key(self, proxy: tuple[int, str]) -> None:
        """It is answered, and the key does not go on to the server."""
        port, key = proxy
        for path in ("ready", "ready/versions/1", "ready/labels/stable"):
            assert self.ask(port, "POST", f"/v1/models/{path}:predict", key) == (
                200,
                {"predictions": [0.5], "key": None},
            )
        assert self.ask(port, "GET", "/v1/models/ready", key)[1] == json.loads(STATUS["ready"])

    @pytest.mark.parametrize("key", [None, "wrong", "first-client"])
    def test_without_a_known_key(self, proxy: tuple[int, str], key: str | None) -> None:
        for method, path in (("POST", "/v1/models/ready:predict"), ("GET", "/v1/models/ready")):
            status, body = self.ask(proxy[0], method, path, key)
            assert (status, "X-Api-Key" in str(body["error"])) == (401, True)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/monitoring/prometheus/metrics", 404),
            ("GET", "/v1/models/../../etc/passwd", 404),
            ("GET", "/v1/models/%2e%2e/%2e%2e/etc/passwd", 404),
            ("POST", "/tensorflow.serving.ModelService/HandleReloadConfigRequest", 404),
            ("POST", "/tensorflow.ProfilerService/Profile", 404),
            ("GET", "/v1/models/ready:predict", 405),
            ("DELETE", "/v1/models/ready", 405),
        ],
    )
    def test_what_is_not_for_clients(self, proxy: tuple[int, str], method: str, path: str, status: int) -> None:
        port, key = proxy
        answered, body = self.ask(port, method, path, key)
        assert (answered, list(body)) == (status, ["error"])

    def test_grpc(self, proxy: tuple[int, str], certificate: tuple[Path, Path]) -> None:
        """Predictions go through with a key; without one, and to what changes the server, nothing does."""
        import grpc

        port, key = proxy
        credentials = grpc.ssl_channel_credentials(certificate[1].read_bytes())
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:

            def call(path: str, *metadata: tuple[str, str]) -> bytes:
                return channel.unary_unary(path)(b"request", metadata=metadata, timeout=10)

            for path in ("PredictionService/Predict", "ModelService/GetModelStatus"):
                path = f"/tensorflow.serving.{path}"
                assert call(path, ("x-api-key", key)) == f"{path} request".encode()
                with pytest.raises(grpc.RpcError) as refused:
                    call(path, ("x-api-key", "wrong"))
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as refused:
                call("/tensorflow.serving.ModelService/HandleReloadConfigRequest", ("x-api-key", key))
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_body_has_a_limit(self, proxy: tuple[int, str]) -> None:
        port, key = proxy
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        with ssl._create_unverified_context().wrap_socket(plain) as connection:
            head = f"POST /v1/models/ready:predict HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n"
            connection.sendall(f"{head}Content-Length: {33 << 20}\r\n\r\n".encode())
            assert b" 413 " in connection.recv(100)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"inputs": []}', "no rows"),
            (b'{"signature_name": "serving_bytes", "inputs": {"image_bytes" : [ ] }}', "no rows"),
            (b'{"\\u0069nputs":[]}', "no rows"),
            (b'{"instances": ' + b"[" * 50_000 + b"1.0" + b"]" * 50_000 + b"}", "nested more than 10"),
            (b'{"x": ' + b"[[0], " * 20_000, "nested more than 10"),
            (b'{"x": "\\"", "y": ' + b'{"a":' * 20_000, "nested more than 10"),
            (b"photo", "not JSON"),
        ],
    )
    def test_what_would_end_or_hang_the_server(self, proxy: tuple[int, str], body: bytes, reason: str) -> None:
        port, key = proxy
        status, answer = self.ask(port, "POST", "/v1/models/ready:predict", key, body)
        assert (status, reason in str(answer["error"])) == (400, True)

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps({"inputs": np.zeros((24, 224, 224, 3)).tolist()}).encode(),  # 22 MB
            json.dumps({"instances": [{"b64": "[[[[[[[[[[[[" + "A" * 1_000_000}]}).encode(),
            json.dumps({"inputs": {"x": [["\\", '"[[[[[[[[[[[[', "]"]]}}).encode(),
            b"",
        ],
        ids=["pixels", "a file", "text", "nothing"],
    )
    def test_large_and_odd_requests_go_through(self, proxy: tuple[int, str], body: bytes) -> None:
        port, key = proxy
        assert self.ask(port, "POST", "/v1/models/ready:predict", key, body, X_Objection="rows")[0] == 200

    @pytest.mark.parametrize(
        ("headers", "status"), [({"Transfer_Encoding": "chunked"}, 411), ({"Content_Encoding": "gzip"}, 415)]
    )
    def test_a_body_that_cannot_be_looked_at(
        self, proxy: tuple[int, str], headers: dict[str, str], status: int
    ) -> None:
        port, key = proxy
        answered, body = self.ask(port, "POST", "/v1/models/ready:predict", key, b"2\r\n{}\r\n0\r\n\r\n", **headers)
        assert (answered, list(body)) == (status, ["error"])

    def test_rate_limit_of_one_client(self, proxy: tuple[int, str]) -> None:
        """The burst is served, then one client is refused in the contract's form, and the other goes on."""
        port, key = proxy
        answers = [self.ask(port, "GET", "/v1/models/ready", "flood") for _ in range(30)]
        statuses = [status for status, _ in answers]
        assert statuses[:21] == [200] * 21
        assert 429 in statuses
        assert "Too many requests" in str(answers[statuses.index(429)][1]["error"])
        assert self.ask(port, "GET", "/v1/models/ready", key)[0] == 200


COUNT, LOADS = ":tensorflow:serving:request_count", ":tensorflow:cc:saved_model:load_attempt_count"
LATENCY, WAIT = (
    ":tensorflow:serving:request_latency_bucket",
    ":tensorflow:serving:batching_session:queuing_latency_bucket",
)
ANSWERED = ":tensorflow:serving:request_latency_count"


def _buckets(api: str, values: dict[str, str]) -> dict[str, str]:
    return {f'{LATENCY}{{model_name="m",API="{api}",le="{bound}"}}': series for bound, series in values.items()}


# alert: (series a minute apart, in which it fires after a quarter of an hour; and those in which it does not)
ALERTS = {
    "ServingDown": (
        {'up{job="tensorflow-serving",instance="serving:8501"}': "1 0x20"},
        {'up{job="tensorflow-serving",instance="serving:8501"}': "1x20"},
    ),
    "ServingFails": (
        # Two of a hundred predictions fail, which a thousand health checks do not hide; and all fail.
        {
            f'{COUNT}{{model_name="m",status="OK"}}': "0+1098x20",
            f'{COUNT}{{model_name="m",status="INTERNAL"}}': "0+2x20",
            f'{ANSWERED}{{model_name="m",API="predict"}}': "0+98x20",
            f'{ANSWERED}{{model_name="m",API=""}}': "0+1000x20",
        },
        # A client's own mistakes are none of the server's.
        {
            f'{COUNT}{{model_name="m",status="OK"}}': "0+90x20",
            f'{COUNT}{{model_name="m",status="NOT_FOUND"}}': "0+90x20",
            f'{ANSWERED}{{model_name="m",API="predict"}}': "0+90x20",
        },
    ),
    "ServingQueueFull": (
        {f'{COUNT}{{model_name="m",status="UNAVAILABLE"}}': "0+1x20"},
        {f'{COUNT}{{model_name="m",status="UNAVAILABLE"}}': "5x20"},
    ),
    "ServingSlow": (
        # A hundred quick health checks beside each slow prediction.
        _buckets("predict", {"400000": "0x20", "800000": "0+9x20", "+Inf": "0+9x20"})
        | _buckets("", {"400000": "0+900x20", "+Inf": "0+900x20"}),
        _buckets("predict", {"400000": "0+9x20", "+Inf": "0+9x20"}),
    ),
    "ServingQueueWait": (
        {f'{WAIT}{{le="100000"}}': "0x20", f'{WAIT}{{le="200000"}}': "0+9x20", f'{WAIT}{{le="+Inf"}}': "0+9x20"},
        {f'{WAIT}{{le="100000"}}': "5x20", f'{WAIT}{{le="+Inf"}}': "5x20"},  # nobody asks anything
    ),
    "ServingVersionNotLoaded": (
        {f'{LOADS}{{model_path="/models/m/2",status="fail"}}': "_x12 1x8"},  # the first failure of all, then quiet
        {f'{LOADS}{{model_path="/models/m/2",status="success"}}': "_x12 1x8"},
    ),
    "GpuMemoryFull": (
        {'DCGM_FI_DEV_FB_USED{gpu="0"}': "79x20", 'DCGM_FI_DEV_FB_FREE{gpu="0"}': "1x20"},
        {'DCGM_FI_DEV_FB_USED{gpu="0"}': "60x20", 'DCGM_FI_DEV_FB_FREE{gpu="0"}': "20x20"},
    ),
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
class TestPrometheus:
    """Scrape configuration, alerts and autoscaling in Prometheus' own tool, leading colons and all."""

    def promtool(self, *arguments: str | Path) -> str:
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def test_files_are_read(self, folder: Path) -> None:
        printed = self.promtool("check", "config", folder / "prometheus/prometheus.yml")
        assert f"{len(ALERTS)} rules found" in printed

    def test_alerts_fire_when_they_should_and_only_then(self, folder: Path) -> None:
        tests = []
        for alert, cases in ALERTS.items():
            rule = next(r for r in self._rules(folder) if r["alert"] == alert)
            for series, fires in zip(cases, (True, False), strict=True):
                # The labels and texts of an alert are templates; what is checked here is whether one is there.
                count = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
                tests.append(
                    {
                        "name": f"{alert} {fires}",
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in series.items()],
                        "promql_expr_test": [
                            {"expr": count, "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": int(fires)}]}
                        ],
                    }
                )
                assert rule["annotations"]["summary"]
        self._run(folder, tests)

    def test_autoscaling_queries(self, folder: Path) -> None:
        """30 requests at work at once are 30; a wait of 60 ms is 60; and without requests both are a number, 0."""
        document = yaml.safe_load((folder / "kubernetes/autoscaling/scaled-object.yaml").read_text())
        at_work, wait = (trigger["metadata"]["query"] for trigger in document["spec"]["triggers"])
        busy = {
            # Microseconds: 30 seconds of waiting in each second.
            ':tensorflow:serving:request_latency_sum{model_name="m",API="predict"}': f"0+{30 * 60 * 10**6}x20",
            f'{WAIT}{{le="50000"}}': "0x20",
            f'{WAIT}{{le="70000"}}': "0+20x20",
            f'{WAIT}{{le="+Inf"}}': "0+20x20",
        }
        idle = dict.fromkeys(busy, "7x20")
        tests = []
        for series, expected in ((busy, (30, 69)), (idle, (0, 0))):
            queries = zip((at_work, wait), expected, strict=True)
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [
                        {"expr": query, "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": value}]}
                        for query, value in queries
                    ],
                }
            )
        self._run(folder, tests)

    def _rules(self, folder: Path) -> list[dict[str, Any]]:
        return yaml.safe_load((folder / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]

    def _run(self, folder: Path, tests: list[dict[str, Any]]) -> None:
        (folder / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["prometheus/alerts.yml"], "tests": tests}))
        self.promtool("test", "rules", folder / "tests.yml")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on {port}")
