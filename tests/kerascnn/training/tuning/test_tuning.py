"""A trained network learns new classes in stages, goes on as if it had never stopped, and leaves what export needs."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.build_info import build_info
from kerascnn.files import alone_in
from kerascnn.photos.files import find_photos
from kerascnn.training.tuning import STAGES, Stage, Tuning, fitting, tune
from kerascnn.training.tuning.fitting import BEST, release
from kerascnn.training.tuning.results import mistakes
from kerascnn.training.tuning.stages import PATIENCE
from tests.kerascnn.training.test_runs import Stop


@pytest.fixture
def tuning(photos: Path, tmp_path: Path) -> Tuning:
    """Digits' network on bars: 32 photos to train on and 8 held out, in two steps an epoch."""
    return Tuning("lenet5", "mnist", photos, tmp_path / "bars", epochs=12, rate=0.01)


def weights(tuned: Any) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in tuned.model.get_weights()])


def test_stages_release_more_and_more_and_what_is_frozen_stays(tuning: Tuning) -> None:
    begun: list[tuple[int, list[str]]] = []
    before = kerascnn.create_model("lenet5", weights="mnist")
    head_alone = tune(replace(tuning, epochs=4), begins=lambda number, stage, layers: begun.append((number, layers)))
    assert begun == [(0, ["predictions"])]
    for layer in before.layers[:-1]:
        for old, new in zip(layer.get_weights(), head_alone.model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    tuned = tune(tuning, begins=lambda number, stage, layers: begun.append((number, layers)))
    assert [number for number, _ in begun[1:]] == [0, 1, 2]
    assert [len(layers) for _, layers in begun[2:]] == [3, 5]
    assert any((old != new).any() for old, new in zip(before.get_weights(), tuned.model.get_weights(), strict=False))
    rates = [row["learning_rate"] for row in tuned.history]
    assert rates == pytest.approx([0.01] * 5 + [0.001] * 5 + [0.0003] * 2)
    assert tuned.accuracy == 1.0
    assert tuned.confusion.tolist() == [[4, 0], [0, 4]]


def test_a_stopped_run_that_goes_on_is_the_same(tuning: Tuning, tmp_path: Path) -> None:
    """Extended after its end, between two stages, and killed within an epoch of the second."""
    whole = tune(replace(tuning, epochs=7, output=tmp_path / "whole"))
    tune(replace(tuning, epochs=5))
    with pytest.raises(KeyboardInterrupt):
        tune(replace(tuning, epochs=7), [Stop(3)])  # the seventh epoch's first step
    again = tune(replace(tuning, epochs=7))
    np.testing.assert_allclose(weights(again), weights(whole), rtol=1e-4, atol=1e-6)
    assert [row["epoch"] for row in again.history] == list(range(7))
    with pytest.raises(ValueError, match="has 7 epochs behind it, and 3 are asked for. Give 7 or more"):
        tune(replace(tuning, epochs=3))
    with pytest.raises(ValueError, match="recipe's rate was 0.01 and is now 0.02"):
        tune(replace(tuning, epochs=9, rate=0.02))


def test_it_ends_where_held_out_photos_are_named_no_better(tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best weights are kept, not the last ones: here those after the first epoch."""
    monkeypatch.setattr(fitting, "STAGES", (Stage("the new head", 0.0, 1.0, None),))
    seen = []

    class Spoil(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(np.asarray(self.model.get_layer("predictions").kernel))
            logs["val_loss"] = 1.0 + epoch

    tuned = tune(replace(tuning, epochs=30), [Spoil()])
    assert tuned.stopped_early
    assert len(tuned.history) == 1 + PATIENCE
    np.testing.assert_array_equal(tuned.model.get_layer("predictions").get_weights()[0], seen[0])


def test_normalization_is_frozen_in_every_stage() -> None:
    model = kerascnn.create_model("resnet20_cifar")
    for stage in STAGES:
        released = release(model, stage)
        assert released[-1] == "predictions"
        assert not [name for name in released if name.endswith("_bn")]
        trainable = [layer for layer in model.layers if layer.trainable_weights]
        assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in trainable)


def test_one_run_a_folder(tuning: Tuning) -> None:
    tuning.output.mkdir()
    with alone_in(tuning.output), pytest.raises(ValueError, match="Another run is at work in .*bars"):
        tune(tuning)
    with alone_in(tuning.output):  # which is free again
        pass


ARGUMENTS = ("--model", "lenet5", "--data", "photos", "--output", "runs/mine", "--rate", 0.01, "--epochs")


def test_the_command(call: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "lying" / "IMG_1.HEIC").write_bytes(b"")
    (photos / "standing" / "broken.png").write_bytes(b"")
    code, printed = call("finetune", *ARGUMENTS, 2)
    assert code == 0, printed.err
    assert "100.0 % of 8 held-out photos are named correctly (8)." in printed.out
    folder = tmp_path / "runs/mine"
    files = {path.name for path in folder.iterdir()}
    assert files == {
        *("mine.keras", "run.json", "calibration.zip", "checkpoint.npz", BEST),
        *("history.csv", "history.png", "confusion.csv", "confusion.png"),
    }
    run = json.loads((folder / "run.json").read_text())
    assert (run["file"], run["labels"], run["finished"]) == ("mine.keras", ["lying", "standing"], True)
    assert run["images"] == {"training": 32, "validation": 8, "skipped": 2}
    held, used = run["held_out"]["names"], run["calibration"]["names"]
    assert set(held).isdisjoint(used)
    assert list(find_photos(folder / "calibration.zip").names) == sorted(used)
    with zipfile.ZipFile(folder / "calibration.zip") as archive:
        assert archive.read(used[0]) == (photos / used[0]).read_bytes()
    model = kerascnn.load_model(folder / "mine.keras")
    info = build_info(model)
    assert info is not None
    assert info.labels == ("lying", "standing")
    assert info.weights is not None
    assert info.weights.full_name == "lenet5/mnist"
    (answer,) = kerascnn.predict(folder, photos / held[0])
    assert answer.classes[0].name == held[0].split("/")[0]
    assert "python -m kerascnn predict runs/mine PHOTO" in printed.out
    code, printed = call("finetune", *ARGUMENTS, 3, "--max-time", "0.001s")
    assert code == 0, printed.err
    assert "stopped by --max-time after 2 epochs" in printed.out
    assert "Run the same command again to continue" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "lenet6"), "The nearest names are: lenet5"),
        (("--model", "plain20_cifar"), "plain20_cifar has no published weights to begin with. Give --weights FILE"),
        (("--model", "lenet5", "--weights", "imagenet"), "lenet5 has no weights named 'imagenet'"),
        (("--model", "lenet5", "--data", "nowhere"), "nowhere does not exist"),
        (("--model", "lenet5", "--data", "empty"), "empty holds no images"),
        (("--model", "lenet5", "--data", "loose"), "lies directly in loose, so its class is not known"),
        (("--model", "lenet5", "--data", "one"), "one holds images of one class alone (lying)"),
        (("--model", "lenet5", "--data", "single"), "No class has 2 images, of which one could be kept"),
        (("--model", "lenet5", "--max-time", "soon"), "--max-time is a time such as"),
        (("--model", "lenet5", "--input-size", "7"), "lenet5 takes images of 32 pixels"),
        (("--data", "photos"), "Missing option '--model'"),
    ],
)
def test_what_cannot_be_done(arguments: tuple[str, ...], message: str, call: Any, photos: Path, tmp_path: Path) -> None:
    pixels = (photos / "lying/000.png").read_bytes()
    for name in ("loose/a.png", "one/lying/a.png", "one/lying/b.png", "single/lying/a.png", "single/standing/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(pixels)
    (tmp_path / "empty").mkdir()
    data = () if "--data" in arguments else ("--data", photos)
    code, printed = call("finetune", *arguments, *data, "--output", "runs/mine")
    assert code == 2
    assert message in printed.err
    assert not (tmp_path / "runs").exists()


def test_confusions_are_named() -> None:
    class Tuned:
        confusion = np.array([[5, 3, 0], [0, 8, 0], [1, 0, 7]])

        class images:
            classes = ("cat", "dog", "fox")

    assert list(mistakes(Tuned())) == [("cat", "dog", 3, 8), ("fox", "cat", 1, 8)]  # type: ignore[arg-type]
