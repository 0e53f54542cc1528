"""The Grafana dashboard and the list of metrics that it may name."""

from __future__ import annotations

import importlib.util
import json
import mmap
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.configuration.monitoring import dashboard, metrics


def panels(gpu: bool) -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    return json.loads(dashboard.build(gpu=gpu))["panels"]


def check_queries(panels: list[dict[str, Any]], folder: Path) -> None:
    """Every query of a dashboard as a rule: promtool parses it, braces, functions and all."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m").replace("$model", ".*")}
        for number, query in enumerate(queries)
    ]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", folder / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


class TestDashboard:
    """What Grafana needs: panels that do not overlap, a data source that is provisioned, queries that can answer."""

    def test_panels_do_not_overlap(self) -> None:
        cells = [
            (x, y)
            for panel in panels(gpu=True)
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24

    def test_names_and_numbers_are_unique(self) -> None:
        for key in ("id", "title"):
            values = [panel[key] for panel in panels(gpu=True)]
            assert len(values) == len(set(values))

    def test_only_known_metrics_and_labels(self) -> None:
        assert not list(metrics.check({"dashboard": [json.loads(dashboard.build(gpu=True))]}))

    def test_health_checks_are_left_out(self) -> None:
        """They are requests without an API, quick and never failing: they would pull every quantile and share down."""
        for target in (target for panel in panels(gpu=False) for target in panel["targets"]):
            for metric in re.findall(r":tensorflow:serving:request_(?:latency|count)\w*(?:\{[^}]*\})?", target["expr"]):
                assert 'API!=""' in metric or "status" in metric, target["expr"]

    def test_gpu_panels_only_with_a_gpu(self) -> None:
        assert "DCGM" not in dashboard.build(gpu=False)
        assert sum("DCGM" in json.dumps(panel) for panel in panels(gpu=True)) == 2

    def test_latency_panels_say_microseconds(self) -> None:
        """The server counts microseconds; a panel in seconds would be wrong by a million."""
        for panel in panels(gpu=True):
            if any("latency_bucket" in target["expr"] for target in panel["targets"]):
                assert panel["fieldConfig"]["defaults"]["unit"] == "µs"

    def test_queries_are_read_by_promtool(self, tmp_path: Path) -> None:
        check_queries(panels(gpu=True), tmp_path)


class TestMetrics:
    """The list of documented metrics, and how names are found in a query."""

    def test_names_follow_the_rule_of_the_exporter(self) -> None:
        """`prometheus_exporter.cc`: every "/" becomes ":", the leading one too."""
        for metric in metrics.METRICS:
            assert re.fullmatch(r":tensorflow(:[a-z_]+)+|DCGM_FI_DEV_[A-Z_]+", metric.name)
            assert metric.source

    def test_tensorflow_itself_has_the_metrics_of_loading(self) -> None:
        """Those that TensorFlow, not the server, defines stand in the library that is installed here."""
        spec = importlib.util.find_spec("tensorflow")
        folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
        library = next(iter(folder.glob("libtensorflow_framework*.so*")), None)
        if library is None:
            pytest.skip("needs TensorFlow's library")
        names = [m.name.replace(":", "/").encode() for m in metrics.METRICS if m.name.startswith(":tensorflow:cc:")]
        assert len(names) == 2
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name in names:
                assert content.find(b"\0" + name + b"\0") >= 0, name

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ('sum(rate(:tensorflow:serving:request_count{status="OK"}[1m]))', {":tensorflow:serving:request_count"}),
            ("tensorflow:serving:request_count", {"tensorflow:serving:request_count"}),
            ("tensorflow_serving_request_count", {"tensorflow_serving_request_count"}),
            ('up{job="tensorflow-serving"} == 0', set()),
            (
                "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)",
                {"DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"},
            ),
        ],
    )
    def test_names_in_a_query(self, query: str, names: set[str]) -> None:
        """Also in the wrong spellings, so that they are found to be unknown."""
        assert metrics.names_in(query) == names
