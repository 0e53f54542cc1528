"""The metrics that dashboards, alerts and autoscaling may name.

TensorFlow's name of a metric becomes a Prometheus name by turning each "/" into ":", the leading one too
(`prometheus_exporter.cc`). Durations are in microseconds. Histograms have `_bucket`, `_sum` and `_count`. Triton
has sums of durations instead, and metrics of the GPUs of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.configuration.documents import walk
from serving.findings import Finding


@dataclass(frozen=True)
class Metric:
    """A metric of the server or of the GPU exporter, and the file that defines it."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    labels: tuple[str, ...]
    source: str


_UTIL = "tensorflow/serving: tensorflow_serving/servables/tensorflow/util.cc"
_WARMUP = "tensorflow/serving: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc"
_BATCHING = "tensorflow/serving: tensorflow_serving/batching/batching_session.cc"
_LOADER = "tensorflow/tensorflow: tensorflow/cc/saved_model/loader.cc"
_DCGM = "NVIDIA/dcgm-exporter: etc/default-counters.csv"
_TRITON = "triton-inference-server/server: docs/user_guide/metrics.md"

METRICS = (
    Metric(":tensorflow:serving:request_count", "counter", ("model_name", "status"), _UTIL),
    Metric(":tensorflow:serving:request_latency", "histogram", ("model_name", "API", "entrypoint"), _UTIL),
    Metric(":tensorflow:serving:runtime_latency", "histogram", ("model_name", "API", "runtime"), _UTIL),
    Metric(":tensorflow:serving:batching_session:queuing_latency", "histogram", ("thread_pool_name",), _BATCHING),
    Metric(":tensorflow:serving:batching_session:wrapped_run_count", "counter", (), _BATCHING),
    Metric(":tensorflow:serving:model_warmup_latency", "histogram", ("model_path", "status"), _WARMUP),
    Metric(":tensorflow:cc:saved_model:load_attempt_count", "counter", ("model_path", "status"), _LOADER),
    Metric(":tensorflow:cc:saved_model:load_latency", "counter", ("model_path",), _LOADER),
    Metric("DCGM_FI_DEV_GPU_UTIL", "gauge", ("gpu",), _DCGM),
    Metric("DCGM_FI_DEV_FB_USED", "gauge", ("gpu",), _DCGM),
    Metric("DCGM_FI_DEV_FB_FREE", "gauge", ("gpu",), _DCGM),
)

_MODEL = ("model", "version")
TRITON_METRICS = (
    Metric("nv_inference_request_success", "counter", _MODEL, _TRITON),
    Metric("nv_inference_request_failure", "counter", (*_MODEL, "reason"), _TRITON),
    Metric("nv_inference_count", "counter", _MODEL, _TRITON),
    Metric("nv_inference_exec_count", "counter", _MODEL, _TRITON),
    Metric("nv_inference_pending_request_count", "gauge", _MODEL, _TRITON),
    Metric("nv_inference_request_duration_us", "counter", _MODEL, _TRITON),
    Metric("nv_inference_queue_duration_us", "counter", _MODEL, _TRITON),
    Metric("nv_inference_compute_input_duration_us", "counter", _MODEL, _TRITON),
    Metric("nv_inference_compute_infer_duration_us", "counter", _MODEL, _TRITON),
    Metric("nv_inference_compute_output_duration_us", "counter", _MODEL, _TRITON),
    Metric("nv_cpu_utilization", "gauge", (), _TRITON),
    Metric("nv_gpu_utilization", "gauge", ("gpu_uuid",), _TRITON),
    Metric("nv_gpu_memory_total_bytes", "gauge", ("gpu_uuid",), _TRITON),
    Metric("nv_gpu_memory_used_bytes", "gauge", ("gpu_uuid",), _TRITON),
)

# What looks like a metric of the server or of the exporter, also without its leading colon.
_NAMES = re.compile(
    r":?\btensorflow[:_][A-Za-z0-9_:]+|\b(?:DCGM|nv)_[A-Za-z0-9_]+|:[A-Za-z_][A-Za-z0-9_:]+:[A-Za-z0-9_:]+"
)
_ADDED = frozenset({"le", "job", "instance"})  # labels that histograms and Prometheus itself add
_QUERY_FIELDS = frozenset({"expr", "query", "definition"})


def names_in(query: str) -> set[str]:
    """Return the names of metrics in a PromQL expression; text in quotes (values of labels) does not count."""
    return set(_NAMES.findall(_without_values(query)))


def known_names(metrics: Sequence[Metric] = METRICS) -> frozenset[str]:
    """Return every name that a scrape can hold."""
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return frozenset(metric.name + part for metric in metrics for part in parts.get(metric.kind, ("",)))


def check(parsed: Mapping[str, object], metrics: Sequence[Metric] = METRICS) -> Iterator[Finding]:
    """Find metrics and labels in {path: parsed documents} that no scrape holds."""
    known = known_names(metrics)
    for name, documents in parsed.items():
        for query in _queries(documents):
            for unknown in sorted(names_in(query) - known):
                nearest = difflib.get_close_matches(unknown, known, n=1)
                mend = f"Did you mean {nearest[0]}?" if nearest else "See serving/configuration/monitoring/metrics.py."
                yield Finding("error", name, f"There is no metric {unknown}.", mend)
            labels = {label for metric in metrics if metric.name in query for label in metric.labels}
            for unknown in sorted(_labels_in(query) - labels - _ADDED if labels else ()):
                mend = f"There are {', '.join(sorted(labels))}."
                yield Finding("error", name, f"The metrics of {query!r} have no label {unknown}.", mend)


def _queries(documents: object) -> Iterator[str]:
    """Yield every PromQL expression in a file, by the names of its fields."""
    for value in walk(documents):
        if isinstance(value, dict):
            yield from (text for key, text in value.items() if key in _QUERY_FIELDS and isinstance(text, str))


def _labels_in(query: str) -> set[str]:
    query = _without_values(query)
    groups = re.findall(r"\b(?:by|without) \(([^)]*)\)", query)
    grouped = {label.strip() for group in groups for label in group.split(",")}
    return grouped | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", query))


def _without_values(query: str) -> str:
    return re.sub(r'"[^"]*"', '""', query)
