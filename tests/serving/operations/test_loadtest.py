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


def test_percentiles_are_those_of_each_batch_size() -> None:
    """Large requests take longer, and a mixture would say neither how fast small ones are nor large ones."""
    samples = [Sample(0.0, 0.1, 200, "right", 1)] * 10 + [Sample(0.0, 0.4, 200, "right", 8)] * 10
    samples += [Sample(0.0, 0.9, 200, "wrong", 8)]
    report = loadtest.summarize(samples, 2.0)
    assert {size: ms[50] for size, ms in report.by_batch_ms.items()} == {1: pytest.approx(100), 8: pytest.approx(400)}
    assert (report.per_second, report.goodput) == (10.0, 45.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--users", "2", "--rate", "3"],
        ["--url", "grpc://127.0.0.1:8500"],
        ["--evaluate", "photos"],
    ],
)
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
    arguments = ["--url", url, "--model", "colours", "--seconds", "2", "--batch", "1,3", "--json", *load, *photos]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    report = json.loads(done.output)
    assert done.return_value == 0
    assert report["right"] == report["requests"] >= 10
    assert report["goodput"] == pytest.approx(2 * report["per_second"], rel=0.2)  # 1 and 3 photos in turn
    assert {size: len(ms) for size, ms in report["by_batch_ms"].items()} == {"1": 4, "3": 4}
    if load[0] == "--rate":
        assert report["requests"] < 20 * 2 * 2


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_accuracy_behind_the_wire(photo_server: Any, tmp_path: Path, scheme: str) -> None:
    """Photos by the names of their folders, also those that the server gets wrong or cannot read."""
    from click.testing import CliRunner

    for folder, colour, name in (("red", 0, "a"), ("Green", 1, "a"), ("2", 2, "a"), ("red", 2, "wrong")):
        image = np.full((20, 20, 3), 10, np.uint8)
        image[..., colour] = 240
        path = tmp_path / "photos" / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_bytes(image, lossless=True))
    (tmp_path / "photos/red/damaged.jpg").write_bytes(b"\xff\xd8\xff")
    models = tmp_path / "artifacts"
    version = models / "colours/saved_model/1"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (version / "assets.extra/labels.txt").write_text("red\ngreen\nblue\n")
    entry = {"path": "saved_model/1", "accuracy": {"top1": 0.5, "top5": 1.0, "images": 20}}
    manifest = {"artifacts": [entry], "evaluation": {"source": "colours.zip"}}
    (models / "colours/manifest.json").write_text(json.dumps(manifest))
    port = photo_server.rest_port if scheme == "http" else photo_server.grpc_port
    arguments = ["--url", f"{scheme}://127.0.0.1:{port}", "--model", "colours", "--models", str(models)]
    done = CliRunner().invoke(command, [*arguments, "--evaluate", str(tmp_path / "photos")], standalone_mode=False)
    assert done.exception is None, done.exception
    assert "top-1 75.0%, top-5 100.0% of 4 photos of photos" in done.output
    assert "could not read 1: red/damaged.jpg" in done.output
    assert "the manifest: top-1 50.0%, top-5 100.0% of 20 photos of colours.zip" in done.output
    assert done.return_value == 1
