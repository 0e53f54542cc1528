"""The Grafana dashboard, built as data so that every panel has the same shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Panels = Mapping[str, tuple[str, dict[str, str]]]  # {title: (unit, {legend: query})}

_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_RATE = "[$__rate_interval]"
_MODELS = 'model_name=~"$model"'
# Only predictions have an API: health checks ask for a status, which counts as a fast request that is answered.
_ANSWERED = f':tensorflow:serving:request_latency_count{{{_MODELS},API!=""}}{_RATE}'
_OTHERS = f':tensorflow:serving:request_count{{{_MODELS},status!="OK"}}{_RATE}'
_REFUSED = 'status=~"UNAVAILABLE|RESOURCE_EXHAUSTED"'
_FAILED = 'status=~"UNKNOWN|INTERNAL|DATA_LOSS|DEADLINE_EXCEEDED|UNIMPLEMENTED|ABORTED"'


def _share(status: str) -> str:
    selected = f":tensorflow:serving:request_count{{{_MODELS},{status}}}{_RATE}"
    # A status that never occurred has no series; without the zero the panel would stay empty instead of flat.
    every = f"(sum(rate({_ANSWERED})) or vector(0)) + (sum(rate({_OTHERS})) or vector(0))"
    return f"(sum(rate({selected})) or vector(0)) / ({every})"


def _quantiles(metric: str, label: str) -> dict[str, str]:
    selector = f'{{{_MODELS},API!=""}}' if label == "model_name" else ""
    rate = f"sum by (le, {label}) (rate(:tensorflow:serving:{metric}_bucket{selector}{_RATE}))"
    return {
        f"p{100 * quantile:.0f} {{{{{label}}}}}": f"histogram_quantile({quantile}, {rate})"
        for quantile in (0.5, 0.95, 0.99)
    }


_PANELS: Panels = {
    "Requests": (
        "reqps",
        {
            "{{model_name}} {{entrypoint}}": f"sum by (model_name, entrypoint) (rate({_ANSWERED}))",
            "{{model_name}} {{status}}": f"sum by (model_name, status) (rate({_OTHERS}))",
        },
    ),
    "Share of requests that failed or were refused": (
        "percentunit",
        {"failed": _share(_FAILED), "refused (queue full)": _share(_REFUSED)},
    ),
    "Latency of requests (REST: of answered ones only)": ("µs", _quantiles("request_latency", "model_name")),
    "Latency of TensorFlow alone": ("µs", _quantiles("runtime_latency", "model_name")),
    "Wait in the batching queue": ("µs", _quantiles("batching_session:queuing_latency", "thread_pool_name")),
    "Requests in one batch, mean": (
        "short",
        {
            "requests": f'sum(rate(:tensorflow:serving:request_latency_count{{API!=""}}{_RATE}))'
            f" / sum(rate(:tensorflow:serving:batching_session:wrapped_run_count{_RATE}))"
        },
    ),
    "Requests at work, mean": (
        "short",
        {
            "{{model_name}}": "sum by (model_name) "
            f'(rate(:tensorflow:serving:request_latency_sum{{{_MODELS},API!=""}}{_RATE})) / 1e6'
        },
    ),
    "Attempts to load a version": (
        "short",
        {"{{model_path}} {{status}}": "sum by (model_path, status) (:tensorflow:cc:saved_model:load_attempt_count)"},
    ),
    "Time to load and to warm up, mean": (
        "µs",
        {
            "load {{model_path}}": "max by (model_path) (:tensorflow:cc:saved_model:load_latency)",
            "warm-up {{model_path}}": "sum by (model_path) (:tensorflow:serving:model_warmup_latency_sum)"
            " / sum by (model_path) (:tensorflow:serving:model_warmup_latency_count)",
        },
    ),
}
_GPU_PANELS: Panels = {
    "GPU: share of time at work": ("percent", {"GPU {{gpu}}": "DCGM_FI_DEV_GPU_UTIL"}),
    "GPU: memory": ("decmbytes", {"used {{gpu}}": "DCGM_FI_DEV_FB_USED", "free {{gpu}}": "DCGM_FI_DEV_FB_FREE"}),
}


def build(*, gpu: bool) -> str:
    """Return the dashboard as JSON; with `gpu`, panels of the GPU's own exporter (DCGM) come last."""
    models = "label_values(:tensorflow:serving:request_count, model_name)"
    return assemble("TensorFlow Serving", models, {**_PANELS, **(_GPU_PANELS if gpu else {})})


def assemble(title: str, models: str, panels: Panels) -> str:
    """Return a dashboard as JSON.

    Args:
        title: Its title.
        models: The query for the values of $model.
        panels: The panels, two in a row.
    """
    name = title.lower().replace(" ", "-")
    model = {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": _SOURCE,
        "query": models,
        "definition": models,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
    dashboard = {
        "uid": name,
        "title": title,
        "tags": [name],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [model]},
        "panels": [_panel(number, title, *panel) for number, (title, panel) in enumerate(panels.items())],
    }
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def _panel(position: int, title: str, unit: str, queries: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(queries.items())
        ],
        "id": position + 1,
        "gridPos": {"x": 12 * (position % 2), "y": 8 * (position // 2), "w": 12, "h": 8},
    }
