"""How long an artifact takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.checking.runtimes import Runtime


@dataclass(frozen=True)
class Latency:
    """Milliseconds to answer one image, after warm-up. `threads` is None where the runtime takes what it wants."""

    median_ms: float
    p90_ms: float
    runs: int
    threads: int | None


def measure_latency(runtime: Runtime, image: np.ndarray, runs: int = 20, warm_up: int = 3) -> Latency:
    """Time `runs` answers of the unmodified artifact to one `image`, float32 [H, W, C] or [1, H, W, C]."""
    batch = image if image.ndim == 4 else image[None]
    return time_runs(lambda: runtime.predict(batch[:1]), runtime.threads, runs, warm_up)


def time_runs(run: Callable[[], object], threads: int | None, runs: int = 20, warm_up: int = 3) -> Latency:
    """Time `runs` calls, after `warm_up` that are not counted."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return Latency(float(np.median(times)), float(np.percentile(times, 90)), runs, threads)
