"""Several workers and devices: each takes its part of the batch, all do the same, and what is wrong is said before."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from kerascnn.training import Run, distribution, train
from kerascnn.training.batches import Batches, Validation
from kerascnn.training.callbacks import read_history
from kerascnn.training.data import Images
from kerascnn.training.distribution import ALONE, Cluster, cluster
from tests import ROOT
from tests.kerascnn.training.test_runs import RECIPE

TWO = ["10.0.0.1:7000", "10.0.0.2:7000"]


def tf_config(workers, kind="worker", index: object = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": workers, "task": {"type": kind, "index": index}})}


def test_the_workers_are_found_in_the_environment():
    assert cluster({}) == ALONE
    assert cluster(tf_config({"worker": TWO[:1]})) == ALONE
    assert cluster(tf_config({"worker": TWO}, index=1)) == Cluster(TWO[0], 2, 1)
    assert not cluster(tf_config({"worker": TWO}, index=1)).chief
    with_chief = {"chief": ["10.0.0.9:1"], "worker": TWO}
    assert cluster(tf_config(with_chief, "chief")) == Cluster("10.0.0.9:1", 3, 0)
    assert cluster(tf_config(with_chief, "worker", 1)) == Cluster("10.0.0.9:1", 3, 2)
    keras_own = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(TWO), "KERAS_DISTRIBUTION_PROCESS_ID": "1"}
    assert cluster(keras_own) == Cluster(TWO[0], 2, 1)
    assert cluster(keras_own | {"KERAS_DISTRIBUTION_NUM_PROCESSES": "3"}) == Cluster(TWO[0], 3, 1)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "not JSON"),
        ({"TF_CONFIG": "[1]"}, "describes no cluster and task"),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": TWO}})}, "describes no cluster and task"),
        (tf_config({"worker": TWO, "ps": TWO}), "tasks of the kind 'ps'"),
        (tf_config({"worker": ["10.0.0.1", "10.0.0.2"]}), "addresses such as"),
        (tf_config({"worker": TWO}, index=2), "no task 'worker' of index 2"),
        (tf_config({"worker": TWO}, "chief"), "no task 'chief'"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b:1"}, "KERAS_DISTRIBUTION_PROCESS_ID"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a,b", "KERAS_DISTRIBUTION_PROCESS_ID": "0"}, "such as 10.0.0.1:7000"),
        ({"KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:1,b:1", "KERAS_DISTRIBUTION_PROCESS_ID": "2"}, "'a:1', '2' and '2'"),
    ],
)
def test_what_describes_no_workers_is_refused(environment, message):
    with pytest.raises(ValueError, match=message):
        cluster(environment)


def numbered(count: int) -> Images:
    return Images(np.arange(count, dtype=np.int32), tuple(map(str, range(count))), np.zeros((count, 1, 1, 1), np.uint8))


def test_the_parts_of_the_workers_are_the_batch():
    """In the order of one worker, at every step of two epochs: random numbers of augmentation go by the place."""
    images = numbered(50)
    whole = Batches(images, 12, seed=3, first=2)
    parts = [Batches(images, 12, seed=3, first=2, worker=i, workers=3) for i in range(3)]
    for step in range(8):
        np.testing.assert_array_equal(whole[step][1], np.concatenate([part[step][1] for part in parts]))
    assert len(whole[0][1]) == 12


def test_validation_is_divided_too():
    """All but what does not fill the devices, in batches of the same number on every worker."""
    images = numbered(503)
    parts = [Validation(images, replicas=4, worker=i, workers=2) for i in range(2)]
    batches = [[part[i][1] for part in parts] for i in range(len(parts[0]))]
    assert all(len(one) == len(other) and len(one) % 2 == 0 for one, other in batches)
    np.testing.assert_array_equal(np.concatenate([label for batch in batches for label in batch]), np.arange(500))
    assert sum(len(Validation(images)[i][1]) for i in range(3)) == 503


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match=r"A batch of 100 cannot be divided among 3 devices\. Give --batch 102"):
        distribution.check_replicas(3, 100, 50)
    with pytest.raises(ValueError, match="1 images to validate with are too few for 2 devices"):
        distribution.check_replicas(2, 100, 1)
    distribution.check_replicas(2, 100, 50)


def test_workers_on_tensorflow_are_refused_with_the_way_out(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": TWO})["TF_CONFIG"])
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match="Set KERAS_BACKEND=jax on every worker"):
        train(Run("lenet5", RECIPE, digits, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_worker_without_its_chief_says_so(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(distribution, "PATIENCE", 0.0)
    with pytest.raises(ConnectionError, match=f"Worker 1 did not find worker 0 at {address}.*Start the same command"):
        distribution._wait_for(Cluster(address, 2, 1))


DEVICES = """
import sys
from pathlib import Path
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[3])
    )
from kerascnn.training import Augmentation, Run, changed, distribution, train
from tests.kerascnn.training.test_runs import RECIPE
import numpy as np
assert distribution.replicas() == int(sys.argv[3])
recipe = RECIPE if keras.backend.backend() == "jax" else changed(RECIPE, augmentation=Augmentation())
output = Path(sys.argv[2])
result = train(Run("lenet5", recipe, Path(sys.argv[1]), output))
np.save(output / "weights.npy", np.concatenate([weight.ravel() for weight in result.model.get_weights()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_as_one(digits, tmp_path, backend):
    """Logical devices of the processor; on JAX with the same augmentation, which TensorFlow draws on each device."""
    for devices in (1, 2):
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        folder = tmp_path / str(devices)
        command = [sys.executable, "-c", DEVICES, digits, folder, str(devices)]
        subprocess.run(command, env=environment, check=True, cwd=ROOT, timeout=300)
    one, two = (np.load(tmp_path / str(devices) / "weights.npy") for devices in (1, 2))
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)
    first, second = (read_history(tmp_path / str(devices) / "history.csv") for devices in (1, 2))
    for row, other in zip(first, second, strict=True):
        for name in set(row) - {"seconds"}:
            assert other[name] == pytest.approx(row[name], rel=1e-3, abs=1e-4), name


@pytest.mark.slow
def test_two_workers_train_as_one_and_survive_a_kill(digits, tmp_path):
    """The example: two processes, one of them killed in the middle of an epoch, end where one process does."""
    script = ROOT / "examples" / "train_two_workers.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, script, "--data", digits, "--batch", "16", "--epochs", "4", "--output", tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "Most likely another worker has ended. Run the same command again" in done.stderr
    assert "worker 0 ended by itself with 1" in done.stdout
    one, *others = [row for row in done.stdout.splitlines() if re.match(r"(one|two)\b.*%", row)]
    assert len(others) == 2
    losses = re.findall(r"\d+\.\d{5}", one)
    for row in others:
        assert [float(loss) for loss in re.findall(r"\d+\.\d{5}", row)] == pytest.approx(
            [float(loss) for loss in losses], abs=1e-4
        )
        difference = re.search(r"\d\.\de[-+]\d+", row)
        assert difference is not None
        assert float(difference[0]) < 1e-4
    assert len(losses) == 4
