"""`--push`, to a hub on this machine that answers as the real one does: one commit, and each refusal in a sentence."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import export
from export import ExportError, RequestError, cli
from export.pushing import push
from tests.export.test_verifying import network
from tests.processes import in_process

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub is not installed")
NAME = "somebody/lenet5"


class Hub(BaseHTTPRequestHandler):
    """The calls that a commit needs. `server.files` is the repository, `server.status` what it is answered with."""

    def do_GET(self):
        files = self.server.files
        if self.path == f"/api/models/{NAME}":
            self.answer({"id": NAME, "sha": "0" * 40, "siblings": [{"rfilename": name} for name in files]})
        elif self.path.startswith(f"/{NAME}/resolve/"):
            self.answer(files[self.path.rpartition("/")[2]], ETag='"1"', **{"X-Repo-Commit": "0" * 40})
        else:
            self.answer({}, 404, **{"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != "Bearer good":
            self.answer({}, self.server.status, **{"X-Error-Message": "Invalid credentials in Authorization header"})
        elif self.path == f"/api/models/{NAME}/preupload/main":
            paths = [file["path"] for file in json.loads(body)["files"]]
            whole = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": path, **whole} for path in paths]})
        elif self.path == f"/api/models/{NAME}/commit/main":
            self.commit([json.loads(line) for line in body.splitlines()])
            self.answer({"commitUrl": f"{self.server.url}/{NAME}/commit/1", "commitOid": "1" * 40})
        else:
            self.answer({}, 500)

    def commit(self, lines):
        for line in lines:
            if line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.server.files[line["value"]["path"]]
            else:
                self.server.commits.append(line["value"])

    def answer(self, content, status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    running.url = f"http://127.0.0.1:{running.server_port}"
    running.files, running.commits, running.status = {".gitattributes": b"", "photo.png": b"mine"}, [], 401
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", running.url)  # HF_ENDPOINT, which is read once
    template = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "good")
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pushed") / "net"
    export.export(network(), folder, formats=["tflite"])
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_becomes_one_commit(server, tmp_path):
    before = dict(server.files)
    export.export(network(), tmp_path / "net", formats=["tflite"], push=NAME)
    assert server.files == {**before, **contents(tmp_path / "net")}
    (commit,) = server.commits
    assert commit["summary"] == "Export of net"
    assert commit["parentCommit"] == "0" * 40


def test_what_an_earlier_export_left_is_removed_and_nothing_else(server, folder):
    """A signature, above all: it would be of other files."""
    earlier = {"manifest.json": b'{"files": ["old.tflite"]}', "old.tflite": b"old", "model.sig": b"old"}
    own = dict(server.files)
    server.files |= earlier
    push(folder, NAME)
    assert server.files == {**own, **contents(folder)}
    server.files["manifest.json"] = b"[]"  # not of an export: nothing is known of what it names
    server.files["model.sig"] = b"other"
    push(folder, NAME)
    assert server.files == {**own, **contents(folder), "model.sig": b"other"}


@pytest.mark.parametrize(
    ("name", "token", "status", "says"),
    [
        (NAME, "bad", 401, "the hub does not take your token for it (401). Log in"),
        (NAME, "bad", 403, "the hub does not take your token for it (403). Log in"),
        (NAME, "bad", 409, "the hub answered 409"),
        (
            "somebody/other",
            "good",
            401,
            "there is no such repository, or your token does not show it. Make it",
        ),
    ],
)
def test_refusals_are_a_sentence(server, folder, monkeypatch, name, token, status, says):
    monkeypatch.setenv("HF_TOKEN", token)
    server.status, before = status, contents(folder)
    with pytest.raises(ExportError) as refused:
        push(folder, name)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert f"{folder} is published" in str(refused.value)
    assert contents(folder) == before


@pytest.mark.usefixtures("server")
def test_without_a_network_the_artifacts_stay(monkeypatch, tmp_path, capsys):
    """As the command line ends: exit code 1, and the table of what is there."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    arguments = ("--model", "lenet5", "--weights", "none", "--tflite", "--output", tmp_path, "--push", NAME)
    assert in_process(cli.main, "export", *arguments) == 1
    printed = capsys.readouterr()
    assert "the hub could not be reached" in printed.err.splitlines()[-1]
    assert "lenet5_untrained.tflite" in printed.out
    assert (tmp_path / "lenet5/manifest.json").is_file()


def test_what_cannot_be_pushed_is_refused_before_any_work(monkeypatch, tmp_path, capsys):
    with pytest.raises(RequestError, match="is OWNER/NAME"):
        export.export(network(), tmp_path / "net", push="lenet5")
    two = ("--model", "lenet5", "--model", "alexnet", "--tflite", "--push", NAME, "--output", tmp_path)
    assert in_process(cli.main, "export", *two) == 2
    assert "one model; 2 were given" in capsys.readouterr().err
    one = ("--model", "lenet5", "--weights", "none", "--tflite", "--push", NAME, "--output", tmp_path, "--dry-run")
    assert in_process(cli.main, "export", *one) == 0
    assert f"would push the folder to {NAME}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
