"""Fetching published weights from a server that behaves, and from servers that do not."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import URLError
from urllib.request import Request
from zipfile import ZipFile

import pytest

from kerascnn.registry import WeightsRecord
from kerascnn.weights import WeightsError, WeightsUnavailable, downloading, fetch, list_weights, sources

CONTENT = bytes(range(256)) * 400


class Handler(BaseHTTPRequestHandler):
    """One address for each way in which a download can go."""

    requests: ClassVar[list[str]] = []
    ranges: ClassVar[list[str | None]] = []

    def do_HEAD(self) -> None:
        if self.path == "/no_head.h5":
            self.send_error(405)
        elif self.path == "/missing.h5":
            self.send_error(404)
        elif self.path == "/hub.h5":
            self._redirect_from_the_hub(hashlib.sha256(CONTENT).hexdigest())
        else:
            self._start(len(CONTENT))

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.ranges.append(self.headers["Range"])
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
        elif self.path in ("/flaky.h5", "/changing.h5"):
            self._send_a_part()
        elif self.path == "/no_head.h5":
            self._send_range(0, 1)
        elif self.path == "/hub_other.h5":
            self._redirect_from_the_hub("0" * 64)
        elif self.path == "/endless.h5":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))
        elif self.path == "/page.h5":
            self._start(10)
            self.wfile.write(b"<html>hi!<")
        else:
            self._start(len(CONTENT))
            self.wfile.write(CONTENT)

    def _send_a_part(self) -> None:
        """Send a third of what is asked for, and break off; the file that changes is another at each request."""
        begin = int((self.headers["Range"] or "bytes=0-")[6:-1])
        changing = self.path == "/changing.h5"
        if changing and self.headers["If-Range"]:
            begin = 0
        self._send_range(begin, 40_000, f'"{len(self.requests) if changing else 1}"')

    def _send_range(self, begin: int, most: int, tag: str = '"1"') -> None:
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(CONTENT[begin : begin + most])

    def _redirect_from_the_hub(self, digest: str) -> None:
        self.send_response(302)
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", "1234abcd")
        self.send_header("Location", "/good.h5")
        self.end_headers()

    def _start(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.requests, Handler.ranges = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
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


def test_a_broken_connection_is_resumed(server: str, cache: Path) -> None:
    """Each connection goes on where the last one ended."""
    assert fetch(record(server + "/flaky.h5")).read_bytes() == CONTENT
    assert Handler.ranges == [None, "bytes=40000-", "bytes=80000-"]
    assert cached(cache) == ["some.h5"]


def test_a_file_without_a_digest_is_not_pieced_together(server: str, cache: Path) -> None:
    """Where nothing can be compared, parts are joined only if the server says that they are of one file."""
    bare = {"sha256": "", "bytes": None}
    assert fetch(replace(record(server + "/flaky.h5"), **bare)).read_bytes() == CONTENT
    (cache / "weights/some.h5").unlink()
    with pytest.raises(WeightsUnavailable):
        fetch(replace(record(server + "/changing.h5"), **bare))
    assert cached(cache) == []


def test_a_stopped_download_goes_on_later(server: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C keeps what there is, if the server can send the rest and the whole can be checked."""
    published = record(server + "/flaky.h5")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(sources, "check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        fetch(published)
    assert cached(cache) == ["some.h5.partial"]
    rest = cache / "weights/some.h5.partial"
    rest.write_bytes(CONTENT[:70_000])
    assert fetch(published).read_bytes() == CONTENT
    assert Handler.ranges[-1] == "bytes=70000-"
    assert cached(cache) == ["some.h5"]


@pytest.mark.parametrize("left", [b"other" * 9_000, CONTENT + b"more"], ids=["another file", "too long"])
def test_what_does_not_fit_is_fetched_anew(server: str, cache: Path, left: bytes) -> None:
    (cache / "weights").mkdir()
    (cache / "weights/some.h5.partial").write_bytes(left)
    assert fetch(record(server + "/flaky.h5")).read_bytes() == CONTENT


def test_other_addresses_are_tried(server: str, cache: Path) -> None:
    """A mirror goes on with what the first address gave, and replaces a file that is not the published one."""
    for first in ("/missing.h5", "/cut.h5", "/page.h5"):
        published = record(server + first, mirrors=(server + "/flaky.h5",))
        assert fetch(published).read_bytes() == CONTENT
        (cache / "weights/some.h5").unlink()
    with pytest.raises(WeightsUnavailable, match=r"missing\.h5: .*404.*cut\.h5: the connection ended"):
        fetch(record(server + "/missing.h5", mirrors=(server + "/cut.h5",)))


def test_an_endless_file_is_given_up(server: str, cache: Path) -> None:
    """A server cannot fill the disk."""
    with pytest.raises(WeightsUnavailable, match="longer than 102,400 bytes"):
        fetch(record(server + "/endless.h5"))
    assert cached(cache) == []


def test_what_the_hub_says_is_compared(server: str, cache: Path) -> None:
    """Records without a digest rely on the hub's own."""
    bare = {"sha256": "", "bytes": None}
    with pytest.raises(WeightsError, match="not what it says"):
        fetch(replace(record(server + "/hub_other.h5"), **bare))
    assert cached(cache) == []


def test_https_stays_https() -> None:
    """A redirect to plain HTTP would let anybody in between answer."""
    redirects = downloading._Redirects()
    with pytest.raises(URLError, match="from https to http:"):
        redirects.redirect_request(Request("https://a/b"), None, 302, "Found", {}, "http://a/b")
    with pytest.raises(WeightsUnavailable, match="not an address of the web"):
        fetch(record("file:///etc/hostname"))


def test_a_zip_is_checked_by_what_it_holds(server: str, cache: Path) -> None:
    """pytorchcv publishes the SHA-1 of what its archives hold."""
    folder = cache / "weights"
    folder.mkdir()
    with ZipFile(folder / "some.pth.zip", "w") as archive:
        archive.writestr("some.pth", CONTENT)
    published = replace(record(server), file="some.pth.zip", sha256="", bytes=None)
    assert fetch(replace(published, sha1=hashlib.sha1(CONTENT).hexdigest())) == folder / "some.pth.zip"
    with pytest.raises(WeightsError, match=r"was altered \(SHA-1"):
        fetch(replace(published, sha1="0" * 40))
    with ZipFile(folder / "some.pth.zip", "a") as archive:
        archive.writestr("other.pth", CONTENT)
    with pytest.raises(WeightsError, match="it holds 2 files"):
        fetch(replace(published, sha1=hashlib.sha1(CONTENT).hexdigest()))


def test_check_says_which_addresses_are_alive(server: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kerascnn weights check` asks for heads alone, of mirrors too, and says what the hub knows."""
    bare = {"sha256": "", "bytes": None}
    some = [
        record(server + "/good.h5", mirrors=(server + "/missing.h5",)),
        replace(record(server + "/hub.h5"), **bare),
        replace(record(server + "/hub.h5"), sha256="0" * 64),
        replace(record(server + "/no_head.h5"), bytes=7),
    ]
    monkeypatch.setattr(sources, "list_weights", lambda pattern: some)
    code, printed = call("weights", "check")
    lines = printed.out.splitlines()
    assert code == 1
    assert [line.split()[0] for line in lines[:5]] == ["alive", "GONE", "alive", "GONE", "GONE"]
    assert "404" in lines[1]
    assert f"SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, commit 1234abcd" in lines[2]
    assert "has 102,400 bytes instead of 7" in lines[4]
    assert lines[5] == "2 of 5 addresses are alive; 4 have a published digest."
    assert set(Handler.requests) == {"/no_head.h5"}
    monkeypatch.setattr(sources, "list_weights", lambda pattern: some[1:2])
    assert call("weights", "check", "squeezenet")[0] == 0
