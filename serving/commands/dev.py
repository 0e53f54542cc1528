"""`python -m serving dev`: arguments → the models, the batching, a running server."""

from __future__ import annotations

import ipaddress
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kerascnn.console import quiet
from serving.commands import options
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.development.server import Listening
    from serving.development.version_table import Table

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--models", type=options.PATH, metavar="DIR", help="The folder that export wrote to, such as artifacts/.")
@click.option(
    "--config",
    type=options.PATH,
    metavar="FILE",
    help="A model config file of TensorFlow Serving; /models in it is the folder of --models. Read again on a change.",
)
@click.option("--batching", type=options.PATH, metavar="FILE", help="A batching parameters file; none: no batching.")
@click.option(
    "--repository",
    type=options.PATH,
    metavar="DIR",
    help="Triton's model repository instead: the Open Inference Protocol over ONNX Runtime.",
)
@click.option("--rest-port", type=_PORT, default=8501, show_default=True, help="0 takes any free port.")
@click.option("--grpc-port", type=_PORT, default=8500, show_default=True, help="0 takes any free port.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on; there is no protection."
)
def command(
    models: Path | None,
    config: Path | None,
    batching: Path | None,
    repository: Path | None,
    rest_port: int,
    grpc_port: int,
    host: str,
) -> None:
    """Serve models over TensorFlow Serving's REST and gRPC interfaces, or Triton's, for development.

    \b
    python -m serving dev --models artifacts/
    python -m serving dev --models artifacts/ --config deploy/tfs/models.config
    python -m serving dev --models artifacts/ --batching deploy/tfs/batching.cpu.config
    python -m serving dev --repository deploy-triton/repository --rest-port 8000 --grpc-port 8001
    """
    if repository is not None:
        if models or config or batching:
            raise RequestError("--repository holds models and configuration; leave the other files out.")
        _check_host(host)
        _serve_repository(repository, rest_port, grpc_port, host)
        return
    from serving.development.configuration import reader
    from serving.development.runtime.batching import read_batching

    read = reader(models, config)
    configs = read() or ()
    parameters = read_batching(batching) if batching is not None else None
    _check_host(host)
    from serving.development import server

    listener = server.bind(host, rest_port)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("serving").setLevel(logging.INFO)
    print("Starting TensorFlow …", file=sys.stderr, flush=True)
    with quiet():
        import tensorflow  # noqa: F401
    table = server.make_table(parameters)
    table.configure(configs)
    table.poll()
    try:
        with server.following(table, read), server.listening(table, listener, grpc_port, models=models) as where:
            _announce(table, where, batching)
            _wait_for_end()
    finally:
        table.close()


def _serve_repository(folder: Path, rest_port: int, grpc_port: int, host: str) -> None:
    from serving.development import server
    from serving.development.v2.repository import Repository

    listener = server.bind(host, rest_port)
    try:
        repository = Repository(folder)
    except RequestError:
        listener.close()
        raise
    with server.listening_v2(repository, listener, grpc_port) as where:
        print("Development server. For production: Triton (python -m serving init --server triton).")
        for model in repository.models():
            print(f"  {model.name}: version {model.version}")
        print(f"gRPC  grpc://{where.host}:{where.grpc_port}/v2")
        print(f"HTTP  http://{where.host}:{where.rest_port}/v2", flush=True)
        _wait_for_end()


def _check_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise RequestError(f"--host is an IP address, such as 127.0.0.1; it is {host!r}.") from error
    if not address.is_loopback:
        print(
            f"Warning: whoever reaches {host} can use this server: it has no TLS, no password and no rate limit.",
            file=sys.stderr,
        )


def _announce(table: Table, where: Listening, batching: Path | None) -> None:
    print("Development server. For production: TensorFlow Serving (python -m serving init).")
    print(f"Batching: {batching or 'none'}")
    for name in table.names():
        states = [f"version {v.number} {v.message or v.state.name.lower()}" for v in table.versions(name)]
        print(f"  {name}: {', '.join(states) or 'no version found'}")
    print(f"gRPC  {where.host}:{where.grpc_port}")
    print(f"REST  http://{where.host}:{where.rest_port}  (open it in a browser to try a photo)", flush=True)


def _wait_for_end() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    print("Stopping …", file=sys.stderr)
