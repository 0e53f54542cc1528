"""`python -m serving loadtest`: the throughput and latency of a running server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.commands import options
from serving.errors import RequestError

if TYPE_CHECKING:
    from serving.operations.loadtest import Report


def _batch_sizes(text: str) -> tuple[int, ...]:
    """Read numbers of photos, separated by commas."""
    sizes = str(text).split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise click.UsageError(f"--batch is a list of whole numbers from 1 on, such as 1,4,16; it is {text!r}.")
    return tuple(map(int, sizes))


@click.command()
@click.argument("photos", nargs=-1, type=options.PATH, metavar="PHOTO…")
@click.option("--url", default=options.URL, show_default=True, help="The server's REST address.")
@options.model_name
@click.option("--users", type=click.IntRange(1, 1000), help="Closed loop: so many, each waiting for its answer.")
@click.option("--rate", type=options.SECONDS, help="Open loop: requests a second, come what may.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True)
@click.option(
    "--batch",
    "batches",
    type=_batch_sizes,
    default="1",
    metavar="N[,N…]",
    help="Photos in a request; several sizes in turn: 1,4,16.",
)
@click.option(
    "--evaluate",
    "labeled",
    type=options.PATH,
    metavar="DIR",
    help="Measure accuracy instead: photos in folders named by class, in a folder or a zip; at any address.",
)
@options.models
@options.timeout
@options.headers
@click.option("--plot", "picture", type=options.PATH, metavar="FILE", help="Draw the latencies (.png, .svg).")
@options.as_json
def command(
    photos: Sequence[Path],
    url: str,
    model: str,
    users: int | None,
    rate: float | None,
    seconds: float,
    batches: tuple[int, ...],
    labeled: Path | None,
    models_folder: Path,
    timeout: float,
    headers: Sequence[tuple[str, str]],
    picture: Path | None,
    as_json: bool,
) -> int:
    """Measure how many photos a server answers, how fast and how well. Only for servers of your own.

    Every answer is compared with the one that the server gave before the test. Goodput counts right answers alone.

    \b
    python -m serving loadtest --model squeezenet --users 8 photos/*.jpg
    python -m serving loadtest --model squeezenet --rate 50 --seconds 60 --batch 1,8 --plot latency.png photos/*.jpg
    python -m serving loadtest --model squeezenet --evaluate labeled/ --models artifacts/
    """
    from serving.operations import loadtest

    if labeled is not None:
        if photos or users or rate:
            raise RequestError("--evaluate sends its own photos, one request after the other; leave the rest out.")
        return _evaluate(url, model, labeled, models_folder, dict(headers), as_json)
    if not photos:
        raise RequestError("Name the photos to send, or a folder of labeled ones with --evaluate.")
    if users and rate:
        raise RequestError("--users is a closed loop and --rate an open one; give one of them.")
    if not url.startswith(("http://", "https://")) or url.rstrip("/").endswith("/v2"):
        raise RequestError(f"--url is a REST address of TensorFlow Serving, http://HOST:8501; it is {url!r}.")
    load = loadtest.Load(users or 1, rate or 0.0, seconds, timeout, batches)
    samples = loadtest.run(url, model, photos, load, headers=dict(headers))
    report = loadtest.summarize(samples, seconds)
    asked = f"{rate:g} requests a second" if rate else f"{load.users} at a time"
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        _print(report, f"{model}, {asked}, {seconds:g} s")
    if picture is not None:
        loadtest.plot(samples, picture, f"{model}: {asked}")
    return 1 if report.wrong or report.failed or not report.right else 0


def _print(report: Report, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", title=title, title_justify="left", show_header=False, box=None)
    rows = {
        "goodput": f"{report.goodput:.1f} right photos a second",
        "requests": f"{report.requests}",
        "right, wrong": f"{report.right}, {report.wrong}",
        "refused (429, 503), failed": f"{report.refused}, {report.failed}",
        "latency, mean": f"{report.mean_ms:.1f} ms",
        **{f"latency, {p} %": f"{value:.1f} ms" for p, value in report.percentiles_ms.items()},
        "latency, longest": f"{report.max_ms:.1f} ms",
    }
    if report.refused:
        rows["refusal, median and slowest"] = f"{report.refusal_ms:.1f}, {report.max_refusal_ms:.1f} ms"
    if len(report.by_batch_ms) > 1:
        for size, percentiles in report.by_batch_ms.items():
            shown = ", ".join(f"{p} %: {value:.1f}" for p, value in percentiles.items())
            rows[f"latency of {size} photo{'s' if size > 1 else ''}"] = f"{shown} ms"
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def _evaluate(url: str, name: str, folder: Path, models: Path, headers: dict[str, str], as_json: bool) -> int:
    from serving.client import Client
    from serving.operations.evaluation import evaluate, find_exported

    exported = find_exported(models, name)
    with Client(url, name, headers=headers) as client:
        evaluation = evaluate(client, exported, folder)
    if as_json:
        print(json.dumps(asdict(evaluation)))
        return 1 if evaluation.unreadable else 0
    shares = f"top-1 {evaluation.top1:.1%}, top-5 {evaluation.top5:.1%}"
    print(f"{name} at {url}: {shares} of {evaluation.photos} photos of {folder.name}")
    if evaluation.unreadable:
        print(f"The server could not read {len(evaluation.unreadable)}: {', '.join(evaluation.unreadable[:5])}")
    if evaluation.exported is None:
        print("The manifest has no accuracy to compare with; export with --evaluate DIR.")
    else:
        shares = f"top-1 {evaluation.exported['top1']:.1%}, top-5 {evaluation.exported['top5']:.1%}"
        print(f"the manifest: {shares} of {evaluation.exported['images']} photos of {evaluation.exported_photos}")
    return 1 if evaluation.unreadable else 0
