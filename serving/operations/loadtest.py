"""python -m serving loadtest: throughput and latency of a running server, measured by Locust."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from serving.contract import BYTES_SIGNATURE
from serving.errors import RequestError, ServingError

_STOP_SECONDS = 60  # for Locust to start and to end, beside the test itself
_PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Load:
    """How to ask: `users` who each wait for their answer (closed loop), or `rate` requests a second (open loop)."""

    users: int = 1
    rate: float = 0.0
    seconds: float = 10.0
    timeout: float = 30.0


@dataclass(frozen=True)
class Sample:
    """One request: when it was due (seconds from the start), its latency in seconds, and what became of it.

    outcome: "right", "wrong" (another class than before the test), "refused" (429, 503), "failed", or "not sent".
    """

    due: float
    latency: float
    status: int
    outcome: str


@dataclass(frozen=True)
class Report:
    """What a load test found; latencies in milliseconds, of the right answers; `refusal_ms` is the median refusal."""

    requests: int
    right: int
    wrong: int
    refused: int
    failed: int
    per_second: float
    mean_ms: float
    percentiles_ms: Mapping[int, float]
    max_ms: float
    refusal_ms: float
    max_refusal_ms: float


def run(
    url: str,
    model: str,
    photos: Sequence[Path],
    load: Load,
    *,
    headers: Mapping[str, str] | None = None,
) -> list[Sample]:
    """Load the server at `url` (REST), and give every request that was sent.

    Raises:
        RequestError: Locust is not installed.
        ServingError: the server does not answer, or Locust failed.
    """
    if importlib.util.find_spec("locust") is None:
        raise RequestError("Locust is not installed. Load tests need the extra: pip install 'kerascnn[loadtest]'.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = {
            **asdict(load),
            "path": f"/v1/models/{model}:predict",
            "photos": _photos(url, model, photos, headers or {}),
            "headers": dict(headers or {}),
            "samples": str(folder / "samples.json"),
            "seed": 0,
        }
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        _run_locust(url, load, folder)
        return [Sample(*sample) for sample in json.loads((folder / "samples.json").read_text(encoding="utf-8"))]


def summarize(samples: Sequence[Sample], seconds: float) -> Report:
    """Counts, percentiles, and throughput over `seconds`, or longer where the last answer came later."""
    latencies = np.array([s.latency for s in samples if s.outcome == "right"]) * 1000
    refusals = [s.latency * 1000 for s in samples if s.outcome == "refused"]
    count = {outcome: sum(s.outcome == outcome for s in samples) for outcome in ("right", "wrong", "refused")}
    ends = [s.due + s.latency for s in samples if s.outcome == "right"] or [0.0]
    empty = not latencies.size
    return Report(
        requests=len(samples),
        **count,
        failed=len(samples) - sum(count.values()),
        per_second=count["right"] / max(seconds, *ends),
        mean_ms=float("nan") if empty else float(latencies.mean()),
        percentiles_ms={p: float("nan") if empty else float(np.percentile(latencies, p)) for p in _PERCENTILES},
        max_ms=float("nan") if empty else float(latencies.max()),
        refusal_ms=float(np.median(refusals)) if refusals else 0.0,
        max_refusal_ms=max(refusals, default=0.0),
    )


def plot(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Latency over time, and its distribution, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, distribution = figure.subplots(1, 2)
    for outcome, colour in (
        ("right", "tab:blue"),
        ("refused", "tab:orange"),
        ("failed", "tab:red"),
        ("wrong", "black"),
    ):
        chosen = [s for s in samples if s.outcome == outcome]
        if chosen:
            x, y = [s.due for s in chosen], [s.latency * 1000 for s in chosen]
            over_time.scatter(x, y, s=6, color=colour, label=f"{outcome} ({len(chosen)})")
    over_time.set(xlabel="seconds since the start", ylabel="latency in ms", ylim=(0, None))
    over_time.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    latencies = sorted(s.latency * 1000 for s in samples if s.outcome == "right")
    if latencies:
        # The scale gives each nine the same width, since the last percent is what users complain about.
        above = 1 - (np.arange(len(latencies)) + 0.5) / len(latencies)
        distribution.plot(1 / above, latencies, color="tab:blue")
        distribution.set_xscale("log")
        ticks = [p for p in (50, 90, 99, 99.9) if 1 / (1 - p / 100) <= 1 / above[-1]]
        distribution.set_xticks([1 / (1 - p / 100) for p in ticks], [f"{p:g} %" for p in ticks], minor=False)
        distribution.minorticks_off()
    distribution.set(xlabel="share of the answers that were faster", ylabel="latency in ms", ylim=(0, None))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _photos(url: str, model: str, photos: Sequence[Path], headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """The requests, each with the class that the server gives when nobody else asks."""
    from serving.client import Client
    from serving.client.images import to_bytes

    with Client(url, model, headers=headers, batch=1) as client:
        found = client.classify(photos)
    made = []
    for photo, best in zip(photos, found, strict=True):
        if not best:
            raise RequestError(f"{photo} cannot be decoded by the server; leave it out.")
        encoded = base64.b64encode(to_bytes(photo)).decode("ascii")
        body = json.dumps({"signature_name": BYTES_SIGNATURE, "instances": [{"b64": encoded}]})
        made.append({"body": body, "expected": best[0].index})
    return made


def _run_locust(url: str, load: Load, folder: Path) -> None:
    users = 1 if load.rate else load.users
    # The open loop ends by itself, after its last answer.
    seconds = load.seconds + load.timeout if load.rate else load.seconds
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("load_users.py")), "--headless"]
    command += ["--host", url.rstrip("/"), "--users", str(users), "--spawn-rate", str(users)]
    command += ["--run-time", f"{int(np.ceil(seconds)) + 1}s", "--stop-timeout", f"{int(np.ceil(load.timeout))}"]
    command += ["--only-summary", "--exit-code-on-error", "0", "--loglevel", "WARNING"]
    environment = {**os.environ, "SERVING_LOAD_PLAN": str(folder / "plan.json")}
    limit = seconds + load.timeout + _STOP_SECONDS
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServingError(f"Locust did not end within {limit:.0f} s.") from error
    if done.returncode or not (folder / "samples.json").is_file():
        raise ServingError(f"Locust failed: {done.stderr.strip()[-1000:] or done.stdout.strip()[-1000:]}")


@click.command("loadtest")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PHOTO…")
@click.option("--url", default="http://127.0.0.1:8501", show_default=True, help="The server's REST address.")
@click.option("--model", required=True, metavar="NAME", help="The model, as it is served.")
@click.option("--users", type=click.IntRange(1, 1000), help="Closed loop: so many, each waiting for its answer.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Open loop: requests a second, come what may."
)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=10.0, show_default=True)
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="Seconds."
)
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Repeatable, such as 'X-API-Key: …'.")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw the latencies (.png, .svg)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    photos: Sequence[Path],
    url: str,
    model: str,
    users: int | None,
    rate: float | None,
    seconds: float,
    timeout: float,
    headers: Sequence[str],
    picture: Path | None,
    as_json: bool,
) -> int:
    """Measure how many photos a server answers, and how fast. Only for servers of your own.

    \b
    python -m serving loadtest --model squeezenet --users 8 photos/*.jpg
    python -m serving loadtest --model squeezenet --rate 50 --seconds 60 --plot latency.png photos/*.jpg
    """
    from serving.client.cli import parse_header

    if users and rate:
        raise RequestError("--users is a closed loop and --rate an open one; give one of them.")
    if not url.startswith(("http://", "https://")):
        raise RequestError(f"--url is a REST address, http://HOST:8501; it is {url!r}.")
    load = Load(users or 1, rate or 0.0, seconds, timeout)
    samples = run(url, model, photos, load, headers=dict(parse_header(text) for text in headers))
    report = summarize(samples, seconds)
    asked = f"{rate:g} requests a second" if rate else f"{load.users} at a time"
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        _print(report, f"{model}, {asked}, {seconds:g} s")
    if picture is not None:
        plot(samples, picture, f"{model}: {asked}")
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
    for name, value in rows.items():
        table.add_row(name, value)
    if report.refused:
        table.add_row("refusal, median and slowest", f"{report.refusal_ms:.1f}, {report.max_refusal_ms:.1f} ms")
    Console().print(table)
