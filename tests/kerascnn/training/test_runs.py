"""A run learns, goes on as if it had never stopped, and loses no checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.build_info import build_info
from kerascnn.training import Augmentation, Recipe, Run, Schedule, changed, checkpoints, train
from kerascnn.training.callbacks import read_history
from kerascnn.training.results import write
from tests import ROOT

# 160 images: 10 steps an epoch
RECIPE = Recipe(
    "test",
    "test",
    "test",
    ("lenet5",),
    input_size=32,
    batch=16,
    epochs=3,
    rate=0.1,
    schedule=Schedule("one_cycle", warmup=0.2),
    weight_decay=1e-4,
    augmentation=Augmentation(crop_padding=2, rotation=5),
)


class Stop(keras.callbacks.Callback):
    """Ends the process's work at a step, as a killed one would."""

    def __init__(self, step: int):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def weights(result) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in result.model.get_weights()])


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule("one_cycle", warmup=0.2),
        pytest.param(Schedule("plateau", factor=0.5, patience=1), marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_that_goes_on_is_the_same(digits, tmp_path, schedule):
    """Weights, momentum, random numbers of the augmentation, metrics and plateaus; killed within the second epoch."""
    recipe = changed(RECIPE, schedule=schedule, rate=1e-4 if schedule.kind == "plateau" else None)
    whole = train(Run("lenet5", recipe, digits, tmp_path / "whole"))
    killed = Run("lenet5", recipe, digits, tmp_path / "killed", every=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(killed, [Stop(14)])
    assert checkpoints.read_state(tmp_path / "killed" / checkpoints.NAME)["step"] == 13
    again = train(killed)
    np.testing.assert_allclose(weights(again), weights(whole), rtol=1e-4, atol=1e-6)
    for one, other in zip(again.history, whole.history, strict=True):
        for name in set(one) - {"seconds"}:
            assert one[name] == pytest.approx(other[name], rel=1e-4), name
    assert len({row["learning_rate"] for row in whole.history}) > 1


def test_training_helps_and_is_the_same_for_the_same_seed(digits, tmp_path):
    recipe = changed(RECIPE, epochs=4)
    results = [train(Run("lenet5", recipe, digits, tmp_path / str(i), seed=seed)) for i, seed in enumerate((0, 0, 1))]
    print([result.accuracy for result in results])
    assert results[0].accuracy > 0.5, "four classes"
    np.testing.assert_allclose(weights(results[0]), weights(results[1]), atol=1e-6)
    assert np.abs(weights(results[0]) - weights(results[2])).max() > 1e-3


def test_time_that_is_over_ends_a_run_in_good_order(digits, tmp_path):
    run = Run("lenet5", RECIPE, digits, tmp_path, max_time=1e-3)
    short = train(run)
    assert not short.finished
    assert checkpoints.read_state(tmp_path / checkpoints.NAME)["step"] == 1
    whole = train(Run("lenet5", RECIPE, digits, tmp_path))
    assert whole.finished
    assert [row["epoch"] for row in whole.history] == [0, 1, 2]


@pytest.mark.smoke
def test_a_finished_run_is_not_trained_again(digits, tmp_path):
    run = Run("lenet5", changed(RECIPE, epochs=1), digits, tmp_path)
    first = train(run)
    np.testing.assert_array_equal(weights(train(run, [Stop(1)])), weights(first))


def test_another_run_does_not_go_on_in_the_same_folder(digits, tmp_path):
    train(Run("lenet5", changed(RECIPE, epochs=1), digits, tmp_path))
    with pytest.raises(ValueError, match="recipe's rate was 0.1 and is now 0.2"):
        train(Run("lenet5", changed(RECIPE, epochs=1, rate=0.2), digits, tmp_path))


def test_a_full_disk_leaves_the_last_checkpoint(digits, tmp_path, monkeypatch):
    run = Run("lenet5", RECIPE, digits, tmp_path)
    whole = train(Run("lenet5", RECIPE, digits, tmp_path / "whole"))
    save, written = np.savez, []

    def full(file, **arrays):
        if written:
            file.write(b"begun")
            raise OSError(28, "No space left on device")
        written.append(True)
        save(file, **arrays)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space left on device.*untouched.*again"):
            train(run)
    assert sorted(path.name for path in tmp_path.glob("*checkpoint*")) == [checkpoints.NAME]
    assert checkpoints.read_state(tmp_path / checkpoints.NAME)["step"] == 10
    again = train(run)
    np.testing.assert_allclose(weights(again), weights(whole), rtol=1e-4, atol=1e-6)
    # the state of the metrics after an epoch is that of its validation
    assert [row["loss"] for row in again.history] == pytest.approx([row["loss"] for row in whole.history], rel=1e-4)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(digits, tmp_path):
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[-1].kernel.assign(np.full(self.model.layers[-1].kernel.shape, np.nan))

    run = Run("lenet5", RECIPE, digits, tmp_path)
    with pytest.raises(FloatingPointError, match=r"step 1 of epoch 2.*--rate 0\.01"):
        train(run, [Break()])
    assert checkpoints.read_state(tmp_path / checkpoints.NAME)["step"] == 10
    assert train(run).accuracy > 0


def test_what_does_not_fit_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="A batch of 512 is larger than the training set of 160"):
        train(Run("lenet5", changed(RECIPE, batch=512), digits, tmp_path))
    with pytest.raises(ValueError, match="for images of 32x32 pixels, lenet_caffe takes 28x28"):
        train(Run("lenet_caffe", RECIPE, digits, tmp_path))
    with pytest.raises(ValueError, match="32 pixels a side at least"):
        train(Run("lenet5", changed(RECIPE, any_size=True), digits, tmp_path, input_size=20))


def test_a_run_begins_with_the_weights_that_it_is_given(digits, tmp_path):
    """They are there, also after a restart, belong to the run, and must fit the data."""
    first = train(Run("lenet5", changed(RECIPE, epochs=2), digits, tmp_path / "first"))
    path, _ = write(Run("lenet5", RECIPE, digits, tmp_path / "first"), first, ["command"])
    still = changed(RECIPE, epochs=1, rate=1e-9)
    run = Run("lenet5", still, digits, tmp_path / "second", weights=str(path))
    second = train(run)
    np.testing.assert_allclose(weights(second), weights(first), atol=1e-5)
    assert checkpoints.read_state(tmp_path / "second" / checkpoints.NAME)["weights"] == "lenet5.kdc"
    assert '"weights": "' in write(run, second, ["command"])[1].read_text()
    with pytest.raises(ValueError, match=r"weights was 'lenet5\.kdc' and is now None"):
        train(Run("lenet5", still, digits, tmp_path / "second"))
    with pytest.raises(ValueError, match=r"The weights mnist are for 10 classes, and .*digits\.npz has 4"):
        train(Run("lenet5", RECIPE, digits, tmp_path / "third", weights="mnist"))
    assert not (tmp_path / "third").exists()


def test_the_file_is_the_network(digits, tmp_path):
    """What is written is loaded again, in float16 where that was asked for, and gives the same answers."""
    result = train(Run("lenet5", changed(RECIPE, epochs=1), digits, tmp_path, half=True))
    path, manifest = write(Run("lenet5", RECIPE, digits, tmp_path, half=True), result, ["command"])
    model = kerascnn.create_model("lenet5", weights=str(path))
    assert build_info(model).preprocessing == result.preprocessing
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 1)).astype("float32")
    np.testing.assert_array_equal(model(images), result.model(images))
    assert path.stat().st_size < 150_000
    assert '"accuracy"' in manifest.read_text()


@pytest.mark.slow
def test_auxiliary_classifiers_and_normalisation_are_trained_and_left_out(photos, tmp_path):
    """GoogLeNet's recipe in small: the auxiliary loss's weight arrives, and the network that comes out has no such."""
    recipe = changed(
        kerascnn.training.recipe("googlenet"), epochs=1, batch=12, auxiliary_weight=0.7, any_size=True, rate=1e-3
    )
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append((self.model.auxiliary_weight, len(self.model.outputs)))

    result = train(Run("googlenet_bn", recipe, photos, tmp_path / "run", input_size=64), [Look()])
    assert seen == [(0.7, 3)]
    assert len(result.model.outputs) == 1
    moving = result.model.get_layer("conv1_7x7_s2_bn").moving_mean
    assert np.abs(np.asarray(moving)).max() > 0


KILLED = """
import sys
from pathlib import Path
from kerascnn.training import Run, train
from tests.kerascnn.training.test_runs import RECIPE, weights
import numpy as np
result = train(Run("lenet5", RECIPE, Path(sys.argv[1]), Path(sys.argv[2]), every=0.0))
np.save(Path(sys.argv[2]) / "weights.npy", weights(result))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_process_that_is_killed_at_any_moment(digits, tmp_path, backend):
    """SIGKILL wherever it happens to be, again and again, until the run is through: the same weights."""
    root = ROOT
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
    }
    folders = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, "-c", KILLED, digits, folders[0]], env=environment, check=True, cwd=root)
    kills, random = 0, np.random.default_rng(0)
    while not (folders[1] / "weights.npy").exists():
        process = subprocess.Popen([sys.executable, "-c", KILLED, digits, folders[1]], env=environment, cwd=root)
        file = folders[1] / checkpoints.NAME
        before = checkpoints.read_state(file)["step"] if file.exists() else 0
        until = before + random.integers(3, 12)
        while process.poll() is None:
            if file.exists() and before < 25 and checkpoints.read_state(file)["step"] >= until:
                process.send_signal(signal.SIGKILL)
                kills += 1
                process.wait()
            time.sleep(0.002)
        assert process.returncode in (0, -signal.SIGKILL)
    assert kills >= 2
    one, other = (np.load(folder / "weights.npy") for folder in folders)
    np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert [row["epoch"] for row in read_history(folders[1] / "history.csv")] == [0, 1, 2]
