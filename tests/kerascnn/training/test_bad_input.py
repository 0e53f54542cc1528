"""What `kerascnn train` cannot do ends in one paragraph that says what to do, and takes no checkpoint along."""

from __future__ import annotations

import resource
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kerascnn.training import checkpoints


@pytest.fixture
def refused(call, tmp_path):
    """Runs `train` of lenet5, which must end with that code; what it printed."""

    def run(code: int, *arguments: object, output: str = "run") -> str:
        common = ("--model", "lenet5", "--recipe", "onecycle_mnist", "--epochs", 1, "--output", output)
        got, printed = call("train", *common, *arguments)
        assert got == code, printed.err
        assert "Traceback" not in printed.err
        paragraphs = [line for line in printed.err.splitlines() if line.startswith("Error: ")]
        assert len(paragraphs) == (1 if code else 0), printed.err
        return paragraphs[0] if code else printed.out

    return run


def npz(folder: Path, **changes: object) -> Path:
    arrays: dict[str, object] = {"x_train": np.zeros((40, 28, 28), np.uint8), "y_train": np.arange(40) % 4}
    arrays |= {"x_test": np.zeros((8, 28, 28), np.uint8), "y_test": np.arange(8) % 4} | changes
    np.savez(folder / "some.npz", **{name: value for name, value in arrays.items() if value is not None})
    return folder / "some.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"y_train": np.arange(40) % 4 + 1},
            "labels y_train .* out of range: .* from 1 to 4. Number the classes from 0",
        ),
        ({"y_test": np.arange(8)}, "labels y_test of .* go up to 7; those of the training set to 3"),
        ({"y_train": np.linspace(0, 1, 40)}, "labels y_train .* are float64; they must be whole numbers"),
        (
            {"y_train": np.array([str(i % 4) for i in range(40)])},
            "labels y_train .* are <U1; they must be whole numbers",
        ),
        ({"y_train": np.array([None] * 40)}, "is not a readable .npz"),
        ({"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.zeros(0, int)}, "has no images in x_train"),
        ({"x_train": np.zeros((40, 28, 28))}, "must be uint8 images .* it is float64 of shape"),
        (
            {"x_train": None, "y_train": None, "images": np.zeros(3)},
            "lacks x_train and y_train. .* and holds x_test, y_test, images",
        ),
    ],
)
def test_arrays(refused, tmp_path, changes, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refused(2, "--data", npz(tmp_path, **changes)))
    assert not (tmp_path / "run").exists()


def test_files_that_are_no_data(refused, tmp_path):
    """Not there, empty, of another kind, cut short."""
    assert "There is no" in refused(2, "--data", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(2, "--data", tmp_path / "empty")
    (tmp_path / "text.npz").write_text("no arrays")
    assert "is not a readable .npz" in refused(2, "--data", tmp_path / "text.npz")
    whole = npz(tmp_path).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    assert "is not a readable .npz" in refused(2, "--data", tmp_path / "half.npz")
    (tmp_path / "folder.npz").mkdir()
    assert "is not a readable .npz" in refused(2, "--data", tmp_path / "folder.npz")
    (tmp_path / "text.txt").write_text("no photos")
    assert "is neither a folder nor a zip" in refused(2, "--data", tmp_path / "text.txt")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut short")
    assert "is neither a folder nor a zip" in refused(2, "--data", tmp_path / "broken.zip")
    assert "There is no" in refused(2, "--data", npz(tmp_path), "--validation", tmp_path / "nowhere")


def test_folders_that_cannot_be_used(refused, photos, tmp_path):
    shutil.copytree(photos / "lying", tmp_path / "one" / "lying")
    assert "images of one class alone (lying)" in refused(2, "--data", tmp_path / "one")
    assert "lies directly in" in refused(2, "--data", photos / "lying")
    assert "batch of 128 is larger than the training set of 36" in refused(2, "--data", photos)
    assert "--batch 9" in refused(2, "--data", photos)
    for file in photos.rglob("*.png"):
        file.write_bytes(b"")
    assert "None of the 40 images" in refused(2, "--data", photos)


def test_unreadable_images_are_left_out_and_counted(refused, photos, tmp_path):
    """Empty, cut short, a text, a folder that is named as an image; in a folder and in a zip."""
    files = sorted((photos / "lying").iterdir())
    whole = files[0].read_bytes()
    for file, data in zip(files, (b"", whole[: len(whole) // 2], b"a text"), strict=False):
        file.write_bytes(data)
    (photos / "lying" / "folder.png").mkdir()
    out = refused(0, "--data", photos, "--batch", 8)
    assert "Left out 3 files that are not readable images: lying/000.png (" in out
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    out = refused(0, "--data", archive, "--batch", 8, output="other")
    assert "Left out 3 files" in out


def test_an_entry_of_a_zip_that_is_damaged(refused, photos, tmp_path):
    """Its checksum does not fit: left out, as a file that is no image."""
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(photos.rglob("*.png")):
            file.write(path, path.relative_to(photos))
    data = bytearray(archive.read_bytes())
    data[200] ^= 0xFF
    archive.write_bytes(data)
    assert "Left out 1 file that is not a readable image: lying/000.png (Bad CRC-32" in refused(
        0, "--data", archive, "--batch", 8
    )


def test_a_recipe_for_another_input_size(refused, digits):
    error = refused(2, "--data", digits, "--recipe", "resnet_cifar", "--input-size", 28)
    assert "is for images of 32x32 pixels" in error
    assert "28x28" in error


def test_a_loss_that_is_no_number(refused, digits, tmp_path):
    """A rate that is far too high: advice, and an older checkpoint stays."""
    first = ("--data", digits, "--batch", 16, "--rate", 1e25)
    error = refused(1, *first)
    assert error.startswith("Error: The loss is no longer a finite number, in step")
    assert "--rate 1e+24" in error


@pytest.fixture
def small_disk():
    """Refuses files of more than that many bytes, as a full disk refuses them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_at_a_checkpoint(refused, digits, tmp_path, small_disk):
    """The older one is untouched, nothing half-written lies about, and with room again the run goes on."""
    run = ("--data", digits, "--batch", 16)
    refused(0, *run, "--max-time", 0.001)
    path = tmp_path / "run" / checkpoints.NAME
    before = path.read_bytes()
    small_disk(100_000)
    error = refused(1, *run)
    small_disk(None)
    assert "could not be written (File too large). The one before it is untouched: make room" in error
    assert path.read_bytes() == before
    assert not list((tmp_path / "run").glob(".*"))
    assert "trained" in refused(0, *run)


def test_a_full_disk_at_the_first_checkpoint(refused, digits, tmp_path, small_disk):
    small_disk(100_000)
    error = refused(1, "--data", digits, "--batch", 16)
    assert "could not be written (File too large). Make room and run the same command again" in error
    assert not list((tmp_path / "run").glob("*checkpoint*"))


def test_a_damaged_checkpoint_is_not_trained_over(refused, digits, tmp_path):
    run = ("--data", digits, "--batch", 16)
    refused(0, *run, "--max-time", 0.001)
    path = tmp_path / "run" / checkpoints.NAME
    path.write_bytes(path.read_bytes()[:1000])
    error = refused(2, *run)
    assert "is not a checkpoint, or is damaged" in error
    assert path.stat().st_size == 1000
