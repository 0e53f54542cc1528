"""Photos that Ray Data spreads over workers get the numbers that the network itself gives them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerascnn.data import CIFAR10_CLASSES
from kerascnn.scoring import Network, score
from kerascnn.scoring.files import find_photos
from tests import ROOT

SCRIPT = ROOT / "examples" / "score_folder.py"
WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 JPEGs of other sizes than the network's in two folders, and a file that is none."""
    random = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / "photos" / ("a", "b")[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((40 + i, 36), Image.Resampling.BILINEAR).save(path, quality=90)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture
def local_ray():
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'kerascnn[scoring]'")
    pytest.importorskip("ray.data")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_the_rows_are_what_the_network_says(folder, tmp_path, local_ray):
    """In whatever order and batches; unreadable files are rows too; a second call has nothing left but new photos."""
    from pyarrow import parquet

    network = Network("resnet20_cifar", "cifar10")
    found = score(network, str(folder), str(tmp_path / "rows"), workers=2, batch=8)
    assert (found.photos, found.unreadable, found.before) == (20, 1, 0)
    rows = {Path(row["path"]).name: row for row in parquet.read_table(tmp_path / "rows").to_pylist()}
    assert len(rows) == 21
    assert "no image" in rows["broken.jpg"]["error"]
    assert rows["broken.jpg"]["class"] is None

    model, preprocessing = network.build()
    names = sorted(set(rows) - {"broken.jpg"})
    paths = [next(folder.rglob(name)) for name in names]
    wanted = model.predict(np.stack([preprocessing.load(Image.open(path)) for path in paths]), verbose=0)
    for name, probabilities in zip(names, wanted, strict=True):
        best = np.argsort(-probabilities)[:5]
        assert rows[name]["top_classes"] == best.tolist()
        assert rows[name]["label"] == rows[name]["top_labels"][0] == CIFAR10_CLASSES[best[0]]
        np.testing.assert_allclose(rows[name]["top_probabilities"], probabilities[best], rtol=1e-5)
        assert rows[name]["error"] is None

    Image.new("RGB", (32, 32)).save(folder / "new.png")
    again = score(network, str(folder), str(tmp_path / "rows"))
    assert (again.photos, again.unreadable, again.before) == (1, 0, 21)
    with pytest.raises(ValueError, match="holds what resnet20_cifar with the weights cifar10 has scored"):
        score(Network("squeezenet_cifar", "cifar10"), str(folder), str(tmp_path / "rows"))
    part = next((tmp_path / "rows").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read.*Delete"):
        score(network, str(folder), str(tmp_path / "rows"))


def test_photos_are_found_in_folders_and_by_patterns(folder):
    pytest.importorskip("pyarrow")

    def names(photos: str) -> list[str]:
        return [Path(path).name for path in find_photos(photos)[1]]

    assert names(str(folder)) == [*(f"{i:02}.jpg" for i in range(0, 20, 2)), *names(str(folder / "b")), "broken.jpg"]
    assert names(f"{folder}/*/0[01].jpg") == ["00.jpg", "01.jpg"]
    assert names(f"file://{folder}/a/*.jpg") == names(str(folder / "a"))
    assert names(str(folder / "a" / "00.jpg")) == ["00.jpg"]
    with pytest.raises(ValueError, match="There is no .*nowhere"):
        find_photos(str(folder / "nowhere"))
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="no photos .*among 0 files"):
        find_photos(str(folder / "empty"))


def test_a_pattern_of_this_folder(folder, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(folder)
    assert [Path(path).name for path in find_photos("*.jpg")[1]][-1] == "broken.jpg"
    assert len(find_photos("a/*")[1]) == 10


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "resnet20_cifar", "--weights", "cifar10"), 1, "pip install 'kerascnn[scoring]'"),
        (("--model", "resnet20_cifar"), 2, "--weights"),
    ],
)
def test_what_the_example_lacks_is_said(folder, tmp_path, arguments, code, message):
    """Without Ray, and without an option: a paragraph, no traceback."""
    command = [sys.executable, "-c", WITHOUT_RAY, SCRIPT, *arguments, "--photos", folder, "--output", tmp_path / "rows"]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, cwd=SCRIPT.parents[1])
    assert ended.returncode == code
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weights_that_cannot_score_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has no weights named 'cifar11'"):
        _ = Network("resnet20_cifar", "cifar11").record
    own = tmp_path / "own.weights.h5"
    own.write_bytes(b"")
    with pytest.raises(ValueError, match="does not say how photos are prepared"):
        _ = Network("resnet20_cifar", str(own)).record
