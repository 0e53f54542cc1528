"""What every test shares: quiet TensorFlow, a weights cache of its own, and the real data where it is at hand."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# TensorFlow without oneDNN, its choice on older processors, cannot run grouped convolutions that Grappler has fused.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: threads of their own would take turns
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest

# 665 to 4,200 layers: 3 to 20 s each time they are built
SLOW = {"densenet190_bc_k40_cifar", "densenet250_bc_k24_cifar", "resnet1001_v2_cifar", "resnet1202_cifar"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests over every variant take the largest graphs only with `-m slow`; what opens pages is marked so."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        if getattr(item, "callspec", None) and item.callspec.params.get("name") in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What collection imported stays: the garbage collector need not look at its 400,000 objects in every test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Give back the memory of a test's models, which refer to themselves."""
    yield
    gc.collect(1)


@pytest.fixture(scope="module", autouse=True)
def cleared() -> Iterator[None]:
    """Each file begins with Keras as it is after its import."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session(free_memory=False)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real images and weights; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("KERASCNN_DATA", Path(__file__).parents[1] / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"real data is not at hand: {folder} does not exist; set KERASCNN_DATA")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights cache, so that no test reads or fills the user's; the charts' script is bundled once."""
    home = tmp_path_factory.mktemp("home")
    charts = tmp_path_factory.getbasetemp() / "charts"
    charts.mkdir(exist_ok=True)
    (home / "charts").symlink_to(charts)
    monkeypatch.setenv("KERASCNN_HOME", str(home))
    return home


@pytest.fixture
def filled_cache(cache: Path, data: Path) -> Path:
    """A cache that holds SqueezeNet's published weights."""
    folder = cache / "weights"
    folder.mkdir()
    name = "squeezenet_v1.0_deep_compression.net"
    (folder / name).symlink_to(data / name)
    return cache


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome")]
    program = next((path for path in found if path), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """`kerascnn` in this process: its exit code, and what it printed."""

    from kerascnn import cli
    from tests.processes import in_process

    def invoke(*arguments):
        monkeypatch.chdir(tmp_path)
        return in_process(cli.main, "kerascnn", *arguments), capsys.readouterr()

    return invoke
