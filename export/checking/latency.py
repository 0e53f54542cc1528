"""How long an artifact takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.checking.runtimes import Runtime

SECONDS = 1.0
FEWEST = 6  # calls; the first of them warms up


@dataclass(frozen=True)
class Latency:
    """Milliseconds to answer one image, after warm-up. `threads` is None where the runtime takes what it wants."""

    median_ms: float
    p90_ms: float
    runs: int
    threads: int | None


def measure_latency(runtime: Runtime, image: np.ndarray, runs: int = 20, warm_up: int = 3) -> Latency:
    """Time the unmodified artifact on one `image`, float32 [H, W, C] or [1, H, W, C]; see `time_runs`."""
    batch = image if image.ndim == 4 else image[None]
    return time_runs(lambda: runtime.predict(batch[:1]), runtime.threads, runs, warm_up)


def time_runs(run: Callable[[], object], threads: int | None, runs: int = 20, warm_up: int = 3) -> Latency:
    """Time `runs` calls, after `warm_up` that are not counted; slow ones are timed less often, for about SECONDS."""
    times: list[float] = []
    ended = time.perf_counter() + SECONDS
    while len(times) < runs + warm_up and (len(times) < FEWEST or time.perf_counter() < ended):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    counted = times[warm_up if len(times) == runs + warm_up else 1 :]
    return Latency(float(np.median(counted)), float(np.percentile(counted, 90)), len(counted), threads)
