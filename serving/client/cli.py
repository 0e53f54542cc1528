"""python -m serving client: photos → a table of their likeliest classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.client import Client, Prediction


@click.command("client")
@click.argument("photos", nargs=-1, metavar="PHOTO…")
@click.option(
    "--url", default="http://127.0.0.1:8501", show_default=True, help="http(s)://… is REST, grpc(s)://… gRPC."
)
@click.option("--model", required=True, metavar="NAME", help="The model, as it is served.")
@click.option("--version", type=click.IntRange(min=0), help="A version; the newest without it.")
@click.option("--label", help="A version by its label, such as stable.")
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Photos in a request.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="Seconds."
)
@click.option("--retries", type=click.IntRange(min=0), default=4, show_default=True, help="When the server is full.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Repeatable, such as 'X-API-Key: …'.")
@click.option("--ca", type=click.Path(), metavar="FILE", help="The authority's certificate, for TLS with one's own.")
@click.option("--status", is_flag=True, help="Say which versions the server has, instead of sending photos.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    photos: Sequence[str],
    url: str,
    model: str,
    version: int | None,
    label: str | None,
    batch: int,
    timeout: float,
    retries: int,
    headers: Sequence[str],
    ca: str | None,
    status: bool,
    as_json: bool,
) -> int:
    """Classify photos with a running server; they are sent as they are, as JPEG or PNG.

    \b
    python -m serving client --model squeezenet cat.jpg dog.png
    python -m serving client --url grpc://127.0.0.1:8500 --model squeezenet --json photos/*.jpg
    """
    from serving.client import Client

    if not photos and not status:
        raise RequestError("Name the photos to classify, or ask for --status.")
    client = Client(
        url,
        model,
        version=version,
        label=label,
        timeout=timeout,
        retries=retries,
        batch=batch,
        headers=dict(parse_header(text) for text in headers),
        ca=ca,
    )
    with client:
        if status:
            _print_status(client, as_json)
            return 0
        found = client.classify(photos)
    _print_predictions(photos, found, as_json)
    return 0 if all(found) else 1


def parse_header(text: str) -> tuple[str, str]:
    """A header as it is given on the command line."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise RequestError(f"--header is 'NAME: VALUE', such as 'X-API-Key: …'; it is {text!r}.")
    return name.strip(), value.strip()


def _print_status(client: Client, as_json: bool) -> None:
    versions = client.status()
    if as_json:
        print(json.dumps([vars(version) for version in versions]))
        return
    for version in versions:
        print(f"version {version.version}: {version.state} {version.message}".rstrip())


def _print_predictions(photos: Sequence[str], found: Sequence[tuple[Prediction, ...]], as_json: bool) -> None:
    if as_json:
        rows = [
            {"photo": photo, "predictions": [vars(p) for p in best]} for photo, best in zip(photos, found, strict=True)
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("photo", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("score", justify="right")
    for photo, best in zip(photos, found, strict=True):
        if not best:
            table.add_row(photo, "could not be decoded by the server", "")
        for rank, prediction in enumerate(best):
            name = prediction.label or f"class {prediction.index}"
            table.add_row("" if rank else photo, name, f"{prediction.score:.1%}")
    Console().print(table)
