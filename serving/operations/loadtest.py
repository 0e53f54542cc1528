"""Throughput and latency of a running server, measured by Locust."""

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

import numpy as np

from serving.contract import BYTES_SIGNATURE
from serving.errors import RequestError, ServingError

_STOP_SECONDS = 60  # for Locust to start and to end, beside the test itself
_PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Load:
    """How the server is asked."""

    users: int = 1  # closed loop: so many users, each waiting for its answer
    rate: float = 0.0  # open loop: requests a second, whatever the server does; 0 is the closed loop
    seconds: float = 10.0  # how long
    timeout: float = 30.0  # seconds that a request may take
    batches: tuple[int, ...] = (1,)  # photos in a request, in turn


@dataclass(frozen=True)
class Sample:
    """One request."""

    due: float  # seconds after the start at which it was due
    latency: float  # seconds until the answer
    status: int  # the HTTP status
    outcome: str  # "right", "wrong" (another class than before the test), "refused" (429, 503), "failed", "not sent"
    photos: int = 1


@dataclass(frozen=True)
class Report:
    """What a load test measured. Latencies are of right answers, in milliseconds."""

    requests: int
    right: int
    wrong: int
    refused: int
    failed: int  # or not sent
    per_second: float  # requests that were answered right
    goodput: float  # photos a second in them
    mean_ms: float
    percentiles_ms: Mapping[int, float]
    by_batch_ms: Mapping[int, Mapping[int, float]]  # the percentiles of requests of so many photos
    max_ms: float
    refusal_ms: float  # median latency of the refusals
    max_refusal_ms: float


def run(
    url: str, model: str, photos: Sequence[Path], load: Load, *, headers: Mapping[str, str] | None = None
) -> list[Sample]:
    """Load the server at a REST address with photos, in turn, and return every request.

    Raises:
        RequestError: Locust is not installed, or the server cannot decode a photo.
        ServingError: The server does not answer, or Locust failed.
    """
    if importlib.util.find_spec("locust") is None:
        raise RequestError("Locust is not installed. Load tests need the extra: pip install 'kerascnn[loadtest]'.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = {
            **asdict(load),
            "path": f"/v1/models/{model}:predict",
            "body": json.dumps({"signature_name": BYTES_SIGNATURE, "instances": []}).replace("[]", "[PHOTOS]"),
            "photos": _instances(url, model, photos, headers or {}),
            "headers": dict(headers or {}),
            "samples": str(folder / "samples.json"),
            "seed": 0,
        }
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        _run_locust(url, load, folder)
        return [Sample(*sample) for sample in json.loads((folder / "samples.json").read_text(encoding="utf-8"))]


def summarize(samples: Sequence[Sample], seconds: float) -> Report:
    """Return counts, percentiles, and the throughput over `seconds`, or longer if the last answer came later."""
    right = [s for s in samples if s.outcome == "right"]
    latencies = np.array([s.latency for s in right] or [np.nan]) * 1000
    refusals = [s.latency * 1000 for s in samples if s.outcome == "refused"]
    count = {outcome: sum(s.outcome == outcome for s in samples) for outcome in ("right", "wrong", "refused")}
    took = max(seconds, *(s.due + s.latency for s in right)) if right else seconds
    sizes = sorted({s.photos for s in right})
    return Report(
        requests=len(samples),
        **count,
        failed=len(samples) - sum(count.values()),
        per_second=count["right"] / took,
        goodput=sum(s.photos for s in right) / took,
        mean_ms=float(latencies.mean()),
        percentiles_ms=_percentiles(latencies),
        by_batch_ms={n: _percentiles(np.array([s.latency * 1000 for s in right if s.photos == n])) for n in sizes},
        max_ms=float(latencies.max()),
        refusal_ms=float(np.median(refusals)) if refusals else 0.0,
        max_refusal_ms=max(refusals, default=0.0),
    )


def _percentiles(latencies: np.ndarray) -> dict[int, float]:
    return {p: float(np.percentile(latencies, p)) for p in _PERCENTILES}


def plot(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Draw the latency over time and its distribution."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, distribution = figure.subplots(1, 2)
    colors = {"right": "tab:blue", "refused": "tab:orange", "failed": "tab:red", "wrong": "black"}
    for outcome, color in colors.items():
        selected = [s for s in samples if s.outcome == outcome]
        if selected:
            x, y = [s.due for s in selected], [s.latency * 1000 for s in selected]
            over_time.scatter(x, y, s=6, color=color, label=f"{outcome} ({len(selected)})")
    over_time.set(xlabel="seconds since the start", ylabel="latency in ms", ylim=(0, None))
    over_time.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    latencies = sorted(s.latency * 1000 for s in samples if s.outcome == "right")
    if latencies:
        # The scale gives each nine the same width: users complain about the last percent.
        above = 1 - (np.arange(len(latencies)) + 0.5) / len(latencies)
        distribution.plot(1 / above, latencies, color="tab:blue")
        distribution.set_xscale("log")
        ticks = [p for p in (50, 90, 99, 99.9) if 1 / (1 - p / 100) <= 1 / above[-1]]
        distribution.set_xticks([1 / (1 - p / 100) for p in ticks], [f"{p:g} %" for p in ticks], minor=False)
        distribution.minorticks_off()
    distribution.set(xlabel="share of the answers that were faster", ylabel="latency in ms", ylim=(0, None))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def _instances(url: str, model: str, photos: Sequence[Path], headers: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the photos as parts of a request, each with the class that the server answers when nobody else asks."""
    from serving.client import Client
    from serving.client.images import to_bytes

    with Client(url, model, headers=headers, batch=1) as client:
        predictions = client.classify(photos)
    instances: list[dict[str, object]] = []
    for photo, best in zip(photos, predictions, strict=True):
        if not best:
            raise RequestError(f"The server cannot decode {photo}; leave it out.")
        encoded = base64.b64encode(to_bytes(photo)).decode("ascii")
        instances.append({"instance": json.dumps({"b64": encoded}), "expected": best[0].index})
    return instances


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
