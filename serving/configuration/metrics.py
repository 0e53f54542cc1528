"""The metrics that dashboards, alerts and autoscaling may name.

A monitoring name of TensorFlow becomes a Prometheus name by turning each "/" into ":", the leading one too
(`prometheus_exporter.cc`). Durations are in microseconds. Histograms have `_bucket`, `_sum` and `_count`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.findings import Finding


@dataclass(frozen=True)
class Metric:
    """A metric of the server or of the GPU exporter, and the file that defines it."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    labels: tuple[str, ...]
    source: str


_SERVING = "tensorflow/serving: tensorflow_serving/"
_CORE = "tensorflow/tensorflow: tensorflow/"
_DCGM = "NVIDIA/dcgm-exporter: etc/default-counters.csv"

METRICS = (
    Metric(
        ":tensorflow:serving:request_count",
        "counter",
        ("model_name", "status"),
        _SERVING + "servables/tensorflow/util.cc",
    ),
    Metric(
        ":tensorflow:serving:request_latency",
        "histogram",
        ("model_name", "API", "entrypoint"),
        _SERVING + "servables/tensorflow/util.cc",
    ),
    Metric(
        ":tensorflow:serving:runtime_latency",
        "histogram",
        ("model_name", "API", "runtime"),
        _SERVING + "servables/tensorflow/util.cc",
    ),
    Metric(
        ":tensorflow:serving:batching_session:queuing_latency",
        "histogram",
        ("thread_pool_name",),
        _SERVING + "batching/batching_session.cc",
    ),
    Metric(
        ":tensorflow:serving:batching_session:wrapped_run_count",
        "counter",
        (),
        _SERVING + "batching/batching_session.cc",
    ),
    Metric(
        ":tensorflow:serving:model_warmup_latency",
        "histogram",
        ("model_path", "status"),
        _SERVING + "servables/tensorflow/saved_model_warmup_util.cc",
    ),
    Metric(
        ":tensorflow:cc:saved_model:load_attempt_count",
        "counter",
        ("model_path", "status"),
        _CORE + "cc/saved_model/loader.cc",
    ),
    Metric(":tensorflow:cc:saved_model:load_latency", "counter", ("model_path",), _CORE + "cc/saved_model/loader.cc"),
    Metric("DCGM_FI_DEV_GPU_UTIL", "gauge", ("gpu",), _DCGM),
    Metric("DCGM_FI_DEV_FB_USED", "gauge", ("gpu",), _DCGM),
    Metric("DCGM_FI_DEV_FB_FREE", "gauge", ("gpu",), _DCGM),
)

# Names that look like a metric of the server or of the exporter. A name written without its leading colon is one too.
_NAMES = re.compile(r":?\btensorflow[:_][A-Za-z0-9_:]+|\bDCGM_[A-Z0-9_]+|:[A-Za-z_][A-Za-z0-9_:]+:[A-Za-z0-9_:]+")


_ADDED = frozenset({"le", "job", "instance"})  # labels that histograms and Prometheus itself add
_QUERY_FIELDS = frozenset({"expr", "query", "definition"})


def names_in(query: str) -> set[str]:
    """The names of metrics in a PromQL expression; what stands in quotes (values of labels) is none."""
    return set(_NAMES.findall(re.sub(r'"[^"]*"', '""', query)))


def known_names() -> frozenset[str]:
    """Every name that a scrape can hold."""
    names = set()
    for metric in METRICS:
        if metric.kind == "histogram":
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(metric.name)
    return frozenset(names)


def check(documents: Mapping[str, list[Any]]) -> Iterator[Finding]:
    """Metrics and labels in dashboards, alerts and autoscaling that no scrape holds, in {path: parsed documents}."""
    known = known_names()
    for name, parsed in documents.items():
        for query in _queries(parsed):
            for unknown in sorted(names_in(query) - known):
                nearest = difflib.get_close_matches(unknown, known, n=1)
                mend = f"Did you mean {nearest[0]}?" if nearest else "See serving/configuration/metrics.py."
                yield Finding("error", name, f"There is no metric {unknown}.", mend)
            labels = {label for metric in METRICS if metric.name in query for label in metric.labels}
            for unknown in sorted(_labels_in(query) - labels - _ADDED if labels else ()):
                mend = f"There are {', '.join(sorted(labels))}."
                yield Finding("error", name, f"The metrics of {query!r} have no label {unknown}.", mend)


def _queries(value: Any) -> Iterator[str]:
    """Every PromQL expression below a value, by the names of its fields."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key in _QUERY_FIELDS and isinstance(child, str):
                yield child
            else:
                yield from _queries(child)
    elif isinstance(value, list):
        for child in value:
            yield from _queries(child)


def _labels_in(query: str) -> set[str]:
    query = re.sub(r'"[^"]*"', '""', query)
    grouped = {
        label.strip() for group in re.findall(r"\b(?:by|without) \(([^)]*)\)", query) for label in group.split(",")
    }
    return grouped | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", query))
