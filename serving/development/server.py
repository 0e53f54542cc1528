"""The running server: load, listen, follow the file system, stop."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.development.runtime.batching import Batching
from serving.development.runtime.servable import Servable
from serving.development.runtime.warmup import warm_up
from serving.development.version_table import ModelConfig, Table
from serving.errors import RequestError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from serving.development.v2.repository import Repository

logger = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_GRACE_SECONDS = 5  # for the requests that are running when the server is stopped
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Listening:
    """Where a server listens."""

    host: str
    rest_port: int
    grpc_port: int


def make_table(batching: Batching | None) -> Table:
    """Make a version table that loads SavedModels, warms them up, and batches their requests."""

    def load(folder: Path) -> Servable:
        servable = Servable(folder, batching)
        try:
            count = warm_up(servable, folder, all_sizes=batching is not None)
        except BaseException:
            servable.close()
            raise
        if count:
            logger.info("%s: %d warm-up requests answered", folder, count)
        return servable

    return Table(load)


@contextmanager
def following(table: Table, read_configs: Callable[[], Sequence[ModelConfig] | None]) -> Iterator[None]:
    """Poll the file system every second in a thread, and `read_configs` for a new list of models."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(_POLL_SECONDS):
            try:
                configs = read_configs()
                if configs is not None:
                    table.configure(configs)
                table.poll()
            except Exception as error:
                logger.error("the models could not be polled: %s", error)

    thread = threading.Thread(target=follow, name="versions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def listening(
    table: Table, listener: socket.socket, grpc_port: int, *, models: Path | None = None
) -> Iterator[Listening]:
    """Answer REST and gRPC while the block runs; both listen when it starts.

    Args:
        table: The models to serve.
        listener: The socket for REST, as `bind` gives it. It is closed in the end.
        grpc_port: The port for gRPC, at the same host; 0 is any free one.
        models: The folder that stands for /models in a list of models that comes over gRPC.
    """
    from serving.development import grpc_service
    from serving.development.rest import app

    with listener:
        host, rest_port, *_ = listener.getsockname()
        grpc_server, grpc_port = grpc_service.start(table, f"{shown(host)}:{grpc_port}", models=models)
        try:
            with answering(app.make_app(table), listener):
                yield Listening(shown(host), rest_port, grpc_port)
        finally:
            grpc_server.stop(_GRACE_SECONDS).wait()


@contextmanager
def listening_v2(repository: Repository, listener: socket.socket, grpc_port: int) -> Iterator[Listening]:
    """Answer the Open Inference Protocol while the block runs; arguments as for `listening`."""
    from serving.development.v2 import app, rpc

    with listener:
        host, http_port, *_ = listener.getsockname()
        grpc_server, grpc_port = rpc.start(repository, f"{shown(host)}:{grpc_port}")
        try:
            with answering(app.make_app(repository), listener):
                yield Listening(shown(host), http_port, grpc_port)
        finally:
            grpc_server.stop(_GRACE_SECONDS).wait()


@contextmanager
def answering(app: Starlette, listener: socket.socket) -> Iterator[None]:
    """Answer HTTP on a socket while the block runs."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="rest", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        server.should_exit = True
        thread.join()


def shown(host: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def bind(host: str, port: int) -> socket.socket:
    """Open a socket for REST, before the models are loaded, which takes much longer; port 0 is any free one.

    Raises:
        RequestError: The port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off (40 ms an answer) only if the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise RequestError(f"REST cannot listen on {host}:{port}: {error.strerror or error}.") from error
    return listener
