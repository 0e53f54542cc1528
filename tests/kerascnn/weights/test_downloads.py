"""Fetching published weights from a server that behaves, and from servers that do not."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kerascnn.registry import WeightsRecord
from kerascnn.weights import WeightsError, WeightsUnavailable, fetch, list_weights, sources

CONTENT = bytes(range(256)) * 400


class Handler(BaseHTTPRequestHandler):
    """One address for each way in which a download can go."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == "/missing.h5":
            self.send_error(404)
        elif self.path == "/redirect.h5":
            self.send_response(302)
            self.send_header("Location", "/good.h5")
            self.end_headers()
        elif self.path == "/cut.h5":
            self._start(len(CONTENT))
            self.wfile.write(CONTENT[:5000])
        elif self.path == "/cut_chunks.h5":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\n" + CONTENT[:100])
        elif self.path == "/silent.h5":
            self._start(len(CONTENT))
            self.wfile.write(CONTENT[:5000])
            self.wfile.flush()
            time.sleep(3)
        elif self.path == "/page.h5":
            self._start(10)
            self.wfile.write(b"<html>hi!<")
        else:
            self._start(len(CONTENT))
            self.wfile.write(CONTENT)

    def _start(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def record(url: str, **changes: Any) -> WeightsRecord:
    """A record of weights at that address, to be checked by SHA-256."""
    known = next(r for r in list_weights("squeezenet") if r.name == "imagenet")
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return replace(known, url=url, file="some.h5", sha256=sha256, bytes=len(CONTENT), **changes)


def cached(cache: Path) -> list[str]:
    folder = cache / "weights"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("path", ["/good.h5", "/redirect.h5"])
def test_fetch_once(server: str, cache: Path, path: str) -> None:
    """A fetched file is kept under its own name and not fetched again."""
    published = record(server + path)
    assert fetch(published).read_bytes() == CONTENT
    count = len(Handler.requests)
    assert fetch(published) == cache / "weights" / "some.h5"
    assert len(Handler.requests) == count
    assert cached(cache) == ["some.h5"]


@pytest.mark.parametrize("path", ["/missing.h5", "/cut.h5", "/cut_chunks.h5"])
def test_failed_download_leaves_nothing(server: str, cache: Path, path: str) -> None:
    """No partial file may ever be taken for weights; the error says what to do without a network."""
    with pytest.raises(WeightsUnavailable, match="put it there as") as caught:
        fetch(record(server + path))
    assert server + path in str(caught.value)
    assert cached(cache) == []
    assert fetch(record(server + "/good.h5")).read_bytes() == CONTENT


def test_no_server(cache: Path) -> None:
    """Where nothing answers, as on a machine without a network, the error comes at once."""
    with pytest.raises(WeightsUnavailable, match="could not be fetched"):
        fetch(record("http://127.0.0.1:9/some.h5"))


def test_silent_server_is_given_up(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops sending must not hang the program."""
    monkeypatch.setattr(sources, "TIMEOUT", 0.5)
    begun = time.monotonic()
    with pytest.raises(WeightsUnavailable):
        fetch(record(server + "/silent.h5"))
    assert time.monotonic() - begun < 2.5
    assert cached(cache) == []


@pytest.mark.parametrize(
    "published",
    [
        {},
        {"sha256": hashlib.sha256(CONTENT).hexdigest()[:8], "bytes": None},
        {"sha256": "", "md5": hashlib.md5(CONTENT).hexdigest(), "bytes": None},
        {"sha256": ""},
    ],
    ids=["sha256", "prefix", "md5", "size"],
)
def test_wrong_content_is_refused(server: str, cache: Path, published: dict[str, Any]) -> None:
    """Whatever the publisher gives to check by, a page in place of the file is not kept."""
    good = replace(record(server + "/good.h5"), **published)
    with pytest.raises(WeightsError, match="not the published file"):
        fetch(replace(good, url=server + "/page.h5"))
    assert cached(cache) == []
    assert fetch(good).read_bytes() == CONTENT


def test_altered_cache_is_refused(server: str, cache: Path) -> None:
    """A file that changed on disk after it was fetched is not loaded."""
    published = record(server + "/good.h5")
    path = fetch(published)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="Delete it"):
        fetch(published)


def test_restart_after_a_killed_download(server: str, cache: Path) -> None:
    """What a killed process left neither disturbs the next download nor stays; a running one is left alone."""
    folder = cache / "weights"
    folder.mkdir(parents=True)
    for name in ("some.h5.partial-1", "some.h5.partial-2"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / "some.h5.partial-1", (0, 0))
    assert fetch(record(server + "/good.h5")).read_bytes() == CONTENT
    assert cached(cache) == ["some.h5", "some.h5.partial-2"]
