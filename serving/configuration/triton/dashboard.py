"""Triton's Grafana dashboard. It shows means: Triton reports sums of durations, and quantiles only where set up."""

from __future__ import annotations

from serving.configuration.monitoring.dashboard import Panels, assemble

_RATE = "[$__rate_interval]"


def _rate(metric: str, by: str = "model") -> str:
    return f'sum by ({by}) (rate({metric}{{model=~"$model"}}{_RATE}))'


def _mean(part: str) -> str:
    return f"{_rate(f'nv_inference_{part}_duration_us')} / {_rate('nv_inference_request_success')}"


_PANELS: Panels = {
    "Requests": (
        "reqps",
        {
            "{{model}}": _rate("nv_inference_request_success"),
            "{{model}} {{reason}}": _rate("nv_inference_request_failure", "model, reason"),
        },
    ),
    "Share of requests that failed": (
        "percentunit",
        {
            "{{model}}": f"{_rate('nv_inference_request_failure')} / "
            f"({_rate('nv_inference_request_success')} + {_rate('nv_inference_request_failure')})"
        },
    ),
    "Time of a request, mean": ("µs", {"{{model}}": _mean("request")}),
    "Wait in the queue, mean": ("µs", {"{{model}}": _mean("queue")}),
    "Time in the model, mean": (
        "µs",
        {
            "inputs {{model}}": _mean("compute_input"),
            "network {{model}}": _mean("compute_infer"),
            "outputs {{model}}": _mean("compute_output"),
        },
    ),
    "Requests that wait": (
        "short",
        {"{{model}}": 'sum by (model) (nv_inference_pending_request_count{model=~"$model"})'},
    ),
    "Images": ("short", {"{{model}} a second": _rate("nv_inference_count")}),
    "Images in one batch, mean": (
        "short",
        {"{{model}}": f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}"},
    ),
    "CPU: share at work": ("percentunit", {"{{instance}}": "nv_cpu_utilization"}),
}
_GPU_PANELS: Panels = {
    "GPU: share of time at work": ("percentunit", {"{{gpu_uuid}}": "nv_gpu_utilization"}),
    "GPU: memory": (
        "bytes",
        {"used {{gpu_uuid}}": "nv_gpu_memory_used_bytes", "of {{gpu_uuid}}": "nv_gpu_memory_total_bytes"},
    ),
}


def build(*, gpu: bool) -> str:
    """Return the dashboard as JSON; with `gpu`, panels of the GPUs come last."""
    models = "label_values(nv_inference_request_success, model)"
    return assemble("Triton", models, {**_PANELS, **(_GPU_PANELS if gpu else {})})
