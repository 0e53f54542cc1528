"""Load tests: what they count, and a short one against the development server on loopback."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.client.images import to_bytes
from serving.commands.loadtest import command
from serving.errors import RequestError
from serving.operations import loadtest
from serving.operations.loadtest import Sample


def test_latencies_are_those_of_the_right_answers() -> None:
    """A quick refusal must not make a server look fast."""
    samples = [Sample(0.0, 0.1 * i, 200, "right") for i in range(1, 11)]
    samples += [Sample(0.0, 0.001, 503, "refused")] * 90 + [
        Sample(0.0, 9.0, 500, "failed"),
        Sample(0, 9.0, 200, "wrong"),
    ]
    report = loadtest.summarize(samples, 5.0)
    assert (report.requests, report.right, report.refused, report.failed, report.wrong) == (102, 10, 90, 1, 1)
    assert report.per_second == 2.0
    assert report.percentiles_ms[50] == pytest.approx(550)
    assert report.max_ms == pytest.approx(1000)
    assert report.max_refusal_ms == pytest.approx(1)


def test_a_server_that_answered_nothing() -> None:
    """Has no latency, and is no division by zero."""
    report = loadtest.summarize([Sample(0.0, 0.1, 503, "refused")], 1.0)
    assert np.isnan(report.percentiles_ms[99])
    assert report.per_second == 0


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    """Also where nothing was right."""
    pytest.importorskip("matplotlib")
    samples = [Sample(i / 10, 0.01 + i / 1000, 200, "right") for i in range(200)] + [Sample(1.0, 0.001, 503, "refused")]
    for chosen in (samples, samples[-1:]):
        loadtest.plot(chosen, tmp_path / "latency.png", "title")
        assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [["--users", "2", "--rate", "3"], ["--url", "grpc://127.0.0.1:8500"]])
def test_requests_that_make_no_test(arguments: list[str]) -> None:
    """Refused before anything is sent."""
    from click.testing import CliRunner

    done = CliRunner().invoke(command, ["--model", "m", "p.jpg", *arguments], standalone_mode=False)
    assert isinstance(done.exception, RequestError)


@pytest.mark.parametrize("load", [["--users", "3"], ["--rate", "20"]])
def test_both_loops_against_the_development_server(photo_server: Any, tmp_path: Path, load: list[str]) -> None:
    """Every answer is compared with the one before the test; two seconds are enough to see both work."""
    if importlib.util.find_spec("locust") is None:  # importing it would replace the sockets of this process
        pytest.skip("Locust is not installed")
    from click.testing import CliRunner

    for name, colour in (("red", 0), ("blue", 2)):
        image = np.full((20, 20, 3), 10, np.uint8)
        image[..., colour] = 240
        (tmp_path / f"{name}.jpg").write_bytes(to_bytes(image))
    photos = [str(path) for path in sorted(tmp_path.glob("*.jpg"))]
    url = f"http://127.0.0.1:{photo_server.rest_port}"
    arguments = ["--url", url, "--model", "colours", "--seconds", "2", "--json", *load, *photos]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    report = json.loads(done.output)
    assert done.return_value == 0
    assert report["right"] == report["requests"] >= 10
    if load[0] == "--rate":
        assert report["requests"] < 20 * 2 * 2
