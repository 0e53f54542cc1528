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


@click.command()
@click.argument("photos", nargs=-1, required=True, type=options.PATH, metavar="PHOTO…")
@click.option("--url", default=options.URL, show_default=True, help="The server's REST address.")
@options.model_name
@click.option("--users", type=click.IntRange(1, 1000), help="Closed loop: so many, each waiting for its answer.")
@click.option("--rate", type=options.SECONDS, help="Open loop: requests a second, come what may.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True)
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
    timeout: float,
    headers: Sequence[tuple[str, str]],
    picture: Path | None,
    as_json: bool,
) -> int:
    """Measure how many photos a server answers, and how fast. Only for servers of your own.

    \b
    python -m serving loadtest --model squeezenet --users 8 photos/*.jpg
    python -m serving loadtest --model squeezenet --rate 50 --seconds 60 --plot latency.png photos/*.jpg
    """
    from serving.operations import loadtest

    if users and rate:
        raise RequestError("--users is a closed loop and --rate an open one; give one of them.")
    if not url.startswith(("http://", "https://")):
        raise RequestError(f"--url is a REST address, http://HOST:8501; it is {url!r}.")
    load = loadtest.Load(users or 1, rate or 0.0, seconds, timeout)
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
        "right answers a second": f"{report.per_second:.1f}",
        "requests": f"{report.requests}",
        "right, wrong": f"{report.right}, {report.wrong}",
        "refused (429, 503), failed": f"{report.refused}, {report.failed}",
        "latency, mean": f"{report.mean_ms:.1f} ms",
        **{f"latency, {p} %": f"{value:.1f} ms" for p, value in report.percentiles_ms.items()},
        "latency, longest": f"{report.max_ms:.1f} ms",
    }
    if report.refused:
        rows["refusal, median and slowest"] = f"{report.refusal_ms:.1f}, {report.max_refusal_ms:.1f} ms"
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
