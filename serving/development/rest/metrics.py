"""Two of the real server's metrics, by its names and at the path that `init` configures, to try a dashboard with."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.development.statuses import Code, StatusError

PATH = "/monitoring/prometheus/metrics"
_BUCKETS = [10 * 1.8**power for power in range(33)]  # microseconds


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0


class Metrics:
    """Requests over REST by model and status, and how long those took that were answered. For one event loop alone."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str]] = Counter()
        self._latencies: dict[tuple[str, str], _Histogram] = {}

    @contextmanager
    def request(self, model: str, api: str) -> Iterator[None]:
        """Count a request to a model, and measure it. `api` is "predict", … and "" for a status."""
        began, status = time.perf_counter(), Code.OK
        try:
            yield
        except StatusError as error:
            status = error.code
            raise
        except Exception:
            status = Code.INTERNAL
            raise
        finally:
            self._requests[model, status.name] += 1
            if status is Code.OK:
                histogram = self._latencies.setdefault((model, api), _Histogram())
                micros = (time.perf_counter() - began) * 1e6
                histogram.counts[bisect_left(_BUCKETS, micros)] += 1
                histogram.total += micros

    def page(self) -> str:
        """Return the metrics in Prometheus's text format."""
        lines = ["# TYPE :tensorflow:serving:request_count counter"]
        for (model, status), count in sorted(self._requests.items()):
            labels = f'model_name={json.dumps(model)},status="{status}"'
            lines.append(f":tensorflow:serving:request_count{{{labels}}} {count}")
        lines.append("# TYPE :tensorflow:serving:request_latency histogram")
        for (model, api), histogram in sorted(self._latencies.items()):
            labels = f'model_name={json.dumps(model)},API="{api}",entrypoint="REST"'
            name, sofar = ":tensorflow:serving:request_latency", 0
            for bound, count in zip([*_BUCKETS, "+Inf"], histogram.counts, strict=True):
                sofar += count
                lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {sofar}')
            lines += [f"{name}_sum{{{labels}}} {histogram.total}", f"{name}_count{{{labels}}} {sofar}"]
        return "\n".join([*lines, ""])
