"""`python -m serving client`: photos → a table of their likeliest classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from serving.commands import options
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.client import Prediction, VersionStatus


@click.command()
@click.argument("photos", nargs=-1, metavar="PHOTO…")
@click.option("--url", default=options.URL, show_default=True, help="http(s)://… is REST, grpc(s)://… gRPC.")
@click.option(
    "--protocol",
    type=click.Choice(["v1", "v2"]),
    help="TensorFlow Serving's, or the Open Inference Protocol (Triton, KServe).  [default: v2 if --url ends in /v2]",
)
@options.model_name
@click.option("--version", type=click.IntRange(min=0), help="A version; the newest without it.")
@click.option("--label", help="A version by its label, such as stable.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Photos in a request.")
@options.timeout
@click.option("--retries", type=click.IntRange(min=0), default=4, show_default=True, help="When the server is full.")
@options.headers
@click.option("--ca", type=click.Path(), metavar="FILE", help="The authority's certificate, for TLS with your own.")
@click.option("--status", is_flag=True, help="Print the versions that the server has, instead of sending photos.")
@options.as_json
def command(
    photos: Sequence[str],
    url: str,
    protocol: Literal["v1", "v2"] | None,
    model: str,
    version: int | None,
    label: str | None,
    batch: int,
    timeout: float,
    retries: int,
    headers: Sequence[tuple[str, str]],
    ca: str | None,
    status: bool,
    as_json: bool,
) -> int:
    """Classify photos with a running server. They are sent as they are, as JPEG or PNG; with v2, prepared here.

    \b
    python -m serving client --model squeezenet cat.jpg dog.png
    python -m serving client --url grpc://127.0.0.1:8500 --model squeezenet --json photos/*.jpg
    """
    from serving.client import Client

    if not photos and not status:
        raise RequestError("Name the photos to classify, or ask for --status.")
    with Client(
        url,
        model,
        version=version,
        label=label,
        timeout=timeout,
        retries=retries,
        batch=batch,
        headers=dict(headers),
        ca=ca,
        protocol=protocol,
    ) as client:
        if status:
            _print_status(client.status(), as_json)
            return 0
        predictions = client.classify(photos)
    _print_predictions(photos, predictions, as_json)
    return 0 if all(predictions) else 1


def _print_status(versions: Sequence[VersionStatus], as_json: bool) -> None:
    if as_json:
        print(json.dumps([vars(version) for version in versions]))
        return
    for version in versions:
        print(f"version {version.version}: {version.state} {version.message}".rstrip())


def _print_predictions(photos: Sequence[str], predictions: Sequence[tuple[Prediction, ...]], as_json: bool) -> None:
    answers = list(zip(photos, predictions, strict=True))
    if as_json:
        rows = [{"photo": photo, "predictions": [vars(row) for row in best]} for photo, best in answers]
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("photo", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("score", justify="right")
    for photo, best in answers:
        if not best:
            table.add_row(photo, "could not be decoded by the server", "")
        for rank, prediction in enumerate(best):
            name = prediction.label or f"class {prediction.index}"
            table.add_row("" if rank else photo, name, f"{prediction.score:.1%}")
    Console().print(table)
