"""Fetch a file by HTTP: from the first of several addresses that gives it, and on from where a connection broke."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

BLOCK = 1 << 18
LARGEST = 4 << 30  # bytes of a file whose size nobody publishes
TRIES = 20  # connections to one address; each has to bring something new
_HUB_DIGEST = "X-Linked-ETag"  # the SHA-256 that the Hugging Face hub has of a large file, on its redirect
_HUB_REVISION = "X-Repo-Commit"
_FAILURES = (URLError, HTTPException, OSError, ValueError)


class Report(Protocol):
    """Told how many bytes are there, and of how many (None: not known)."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show it."""


@dataclass(frozen=True)
class Head:
    """What an address says of its file.

    Attributes:
        bytes: Its size; None where the server does not say.
        ranges: Whether the server sends parts of it.
        validator: The tag by which a later part is known to be of the same file; "" where there is none.
        sha256: Where the address is on the Hugging Face hub, the hub's own; "" elsewhere.
        revision: There too, the commit.
    """

    bytes: int | None
    ranges: bool
    validator: str = ""
    sha256: str = ""
    revision: str = ""


class _Redirects(HTTPRedirectHandler):
    """Follow redirects, keep what the hub says on them, and stay with https."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise URLError(f"it redirects from https to {newurl}")
        self.seen |= {name: headers[name] for name in (_HUB_DIGEST, _HUB_REVISION) if headers[name]}
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)
        if followed is not None and req.get_method() == "HEAD":
            followed.method = "HEAD"
        return followed


def _opener() -> tuple[OpenerDirector, _Redirects]:
    redirects = _Redirects()
    return build_opener(redirects), redirects


@contextmanager
def _ask(
    url: str, timeout: float, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Iterator[tuple[Any, Head]]:
    """Open an address; give the response and what it says of the file."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an address of the web")
    opener, redirects = _opener()
    agent = {"User-Agent": "kerascnn", "Accept-Encoding": "identity"}
    try:
        with opener.open(
            Request(url, headers={**agent, **(headers or {})}, method=method), timeout=timeout
        ) as response:
            yield response, _read_head(response, redirects.seen)
    except HTTPError as error:
        error.close()  # its connection
        raise


def _read_head(response: Any, seen: Mapping[str, str]) -> Head:
    size, part = response.headers["Content-Length"], response.headers["Content-Range"]
    if part:
        size = part.rpartition("/")[2]
    tag = response.headers["ETag"] or ""
    digest = (seen.get(_HUB_DIGEST) or response.headers[_HUB_DIGEST] or "").strip('"')
    return Head(
        bytes=int(size) if size and size.isdigit() else None,
        ranges=response.status == 206 or response.headers["Accept-Ranges"] == "bytes",
        validator=tag if not tag.startswith("W/") else "",
        sha256=digest if re.fullmatch("[0-9a-f]{64}", digest) else "",
        revision=seen.get(_HUB_REVISION) or response.headers[_HUB_REVISION] or "",
    )


def head(url: str, timeout: float) -> Head:
    """Ask what is at an address, without fetching it.

    Args:
        url: The address.
        timeout: Seconds to wait for an answer.

    Raises:
        OSError: It is not there, or the server does not answer.
    """
    try:
        with _ask(url, timeout, "HEAD") as (_, headers):
            return headers
    except HTTPError as error:
        if error.code not in (403, 405, 501):
            raise
    with _ask(url, timeout, headers={"Range": "bytes=0-0"}) as (_, headers):  # some servers answer no HEAD
        return headers


@dataclass
class Download:
    """One file on its way, which may go on from what is there already.

    Attributes:
        target: Where it is written.
        size: Its published size, which ends a download that is longer; None where nobody publishes it.
        checkable: Its publisher gives a digest, so that what is there may be from another connection or address.
        timeout: Seconds without a byte before a connection is given up.
        report: Told of the progress.
        head: What the last address said.
        joined: The file has parts of more than one connection.
    """

    target: Path
    size: int | None = None
    checkable: bool = False
    timeout: float = 20.0
    report: Report = lambda done, total: None
    head: Head = field(default_factory=lambda: Head(None, False))
    joined: bool = False

    def fetch(self, url: str) -> None:
        """Write the file; ask again for the rest as long as each connection brings something.

        Raises:
            OSError: The address does not give all of it.
        """
        self.head = Head(None, False)
        for attempt in range(TRIES):
            before = self._done()
            try:
                if self._connect(url):
                    return
                failure: Exception = OSError(f"the connection ended after {self._done():,} bytes")
            except HTTPError:
                raise
            except _FAILURES as error:
                failure = error
            if self._done() <= before or self._done() > self._most() or attempt == TRIES - 1:
                raise failure if isinstance(failure, OSError) else OSError(str(failure)) from failure

    def _connect(self, url: str) -> bool:
        """Read what one connection gives; return whether the file is complete."""
        headers, begin = {}, self._done()
        if begin and (self.checkable or self.head.validator):
            headers["Range"] = f"bytes={begin}-"
            if self.head.validator:
                headers["If-Range"] = self.head.validator
        try:
            return self._read(url, headers, begin)
        except HTTPError as error:
            if error.code != 416 or not headers:  # what is there is longer than the file
                raise
            return self._read(url, {}, 0)

    def _read(self, url: str, headers: Mapping[str, str], begin: int) -> bool:
        with _ask(url, self.timeout, headers=headers) as (response, self.head):
            part = response.status == 206
            if part and not (response.headers["Content-Range"] or "").startswith(f"bytes {begin}-"):
                raise OSError(f"asked for bytes from {begin:,}, got {response.headers['Content-Range']}")
            self.joined = self.joined or part
            done = begin if part else 0
            with self.target.open("ab" if part else "wb") as file:
                while block := response.read1(BLOCK):
                    file.write(block)
                    done += len(block)
                    self.report(done, self.head.bytes)
                    if done > self._most():
                        raise OSError(f"it is longer than {self._most():,} bytes")
            return self.head.bytes is None or done >= self.head.bytes

    def _most(self) -> int:
        return self.size or LARGEST

    def _done(self) -> int:
        return self.target.stat().st_size if self.target.exists() else 0


@contextmanager
def progress(name: str) -> Iterator[Report]:
    """Show a bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = sys.stderr.isatty()
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not shown
    ) as bar:
        task = bar.add_task(f"Fetching {name}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
