"""Training over several workers and devices, by the backend's own means.

JAX uses Keras's own distribution: a step is computed over the global batch wherever its parts are, so batch
normalization, dropout and augmentation are those of one device. TensorFlow uses tf.distribute's MirroredStrategy within
one machine: Keras 3 cannot train under its MultiWorkerMirroredStrategy (keras-team/keras issue 20585).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:7000", "10.0.0.2:7000"]}, "task": {"type": "worker", "index": 0}}'
PATIENCE = 300.0  # seconds that a worker waits for worker 0; JAX waits for the others as long
COLLECTIVES = ("Gloo", "gloo", "NCCL", "coordination service", "CoordinationService")  # words of a lost worker
NO_WORKERS = (
    "Keras 3 does not train over several workers on TensorFlow (https://github.com/keras-team/keras/issues/20585). "
    "Set KERAS_BACKEND=jax on every worker, or unset TF_CONFIG to train on this machine alone."
)


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, and which of them this one is.

    Attributes:
        coordinator: Address of worker 0, where they find each other.
        count: How many there are.
        index: Number of this worker.
    """

    coordinator: str = ""
    count: int = 1
    index: int = 0

    @property
    def chief(self) -> bool:
        """Whether this is worker 0, which alone writes files."""
        return self.index == 0


ALONE = Cluster()


def cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Read the workers from TF_CONFIG or Keras's KERAS_DISTRIBUTION_JOB_ADDRESSES; one where neither is set.

    Raises:
        ValueError: What is set does not describe workers.
    """
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    addresses = environment.get("KERAS_DISTRIBUTION_JOB_ADDRESSES", "").split(",")
    if not addresses[0]:
        return ALONE
    count = environment.get("KERAS_DISTRIBUTION_NUM_PROCESSES", str(len(addresses)))
    index = environment.get("KERAS_DISTRIBUTION_PROCESS_ID", "")
    port = addresses[0].rpartition(":")[2]
    if not (port.isdecimal() and count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ValueError(
            "KERAS_DISTRIBUTION_JOB_ADDRESSES lists addresses such as 10.0.0.1:7000, KERAS_DISTRIBUTION_NUM_PROCESSES "
            "is how many workers there are, and KERAS_DISTRIBUTION_PROCESS_ID which of them this is, from 0; they are "
            f"{addresses[0]!r}, {count!r} and {index!r}."
        )
    return Cluster(addresses[0], int(count), int(index)) if int(count) > 1 else ALONE


def _from_tf_config(text: str) -> Cluster:
    try:
        config = json.loads(text)
        kinds = config.get("cluster") or {}
        strange = sorted(set(kinds) - {"chief", "worker"})
        if strange:
            raise ValueError(f"its cluster has tasks of the kind {strange[0]!r}, but only chief and worker train")
        addresses = [*kinds.get("chief", ()), *kinds.get("worker", ())]
        if not all(isinstance(address, str) and address.rpartition(":")[2].isdecimal() for address in addresses):
            raise ValueError("its cluster must list addresses such as 10.0.0.1:7000")
        if len(addresses) < 2:
            return ALONE
        kind, index = config["task"]["type"], config["task"]["index"]
        if kind not in kinds or not isinstance(index, int) or not 0 <= index < len(kinds[kind]):
            raise ValueError(f"its cluster has no task {kind!r} of index {index!r}")
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG is not JSON ({error}). It should be like {EXAMPLE}") from None
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"TF_CONFIG describes no cluster and task. It should be like {EXAMPLE}") from None
    except ValueError as error:
        raise ValueError(f"TF_CONFIG cannot be used: {error}. It should be like {EXAMPLE}") from None
    return Cluster(addresses[0], len(addresses), index + (len(kinds.get("chief", ())) if kind == "worker" else 0))


def check(workers: Cluster) -> None:
    """Refuse several workers on a backend that cannot train over them.

    Raises:
        ValueError: Keras runs on another backend than JAX.
    """
    import keras

    if workers.count > 1 and keras.backend.backend() != "jax":
        raise ValueError(NO_WORKERS)


def connect(workers: Cluster) -> None:
    """Wait for the other workers, before anything is computed.

    JAX waits five minutes for the others, and then aborts the process.

    Raises:
        ConnectionError: Worker 0 did not answer within five minutes.
    """
    import keras

    if workers.count == 1:
        return
    import jax

    if not jax.distributed.is_initialized():
        if not workers.chief:
            _wait_for(workers)
        keras.distribution.initialize(workers.coordinator, workers.count, workers.index)


def replicas() -> int:
    """Count the devices of all workers that train together: the GPUs if there are any."""
    import keras

    if keras.backend.backend() == "tensorflow":
        return len(_devices())
    return keras.distribution.get_device_count() if keras.backend.backend() == "jax" else 1


def check_replicas(count: int, batch: int, validation: int) -> None:
    """Refuse what cannot be divided among `count` devices.

    Args:
        count: How many devices there are.
        batch: Images in a step of all devices together.
        validation: Images to validate with.

    Raises:
        ValueError: The batch cannot be divided, or there are fewer validation images than devices.
    """
    if batch % count:
        raise ValueError(
            f"A batch of {batch} cannot be divided among {count} devices. Give --batch {-(-batch // count) * count}, "
            "for example: it counts the images of all devices together."
        )
    if validation < count:
        raise ValueError(f"{validation} images to validate with are too few for {count} devices.")


@contextlib.contextmanager
def distributed(workers: Cluster) -> Iterator[None]:
    """Build and train a network over all devices of all workers; with one device this does nothing.

    Raises:
        ConnectionError: Another worker is gone.
    """
    import keras

    scope: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if replicas() > 1 and keras.backend.backend() == "jax":
        scope = keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    elif replicas() > 1:
        import tensorflow as tf

        scope = tf.distribute.MirroredStrategy(_devices()).scope()
    try:
        with scope:
            yield
    except (RuntimeError, ValueError) as error:  # JAX raises either
        if workers.count == 1 or not any(word in str(error) for word in COLLECTIVES):
            raise
        raise ConnectionError(
            f"The training over {workers.count} workers stopped at worker {workers.index}: {_first_line(error)}. "
            "Most likely another worker has ended. Run the same command again on every worker to continue from the "
            "last checkpoint."
        ) from error


def check_same(workers: Cluster, facts: Mapping[str, Any], step: int) -> None:
    """Make sure that all workers are about to train the same.

    Args:
        workers: The workers.
        facts: What is trained, see `Run.facts`.
        step: The step that this worker continues from.

    Raises:
        ValueError: Another worker trains something else, or did not find the checkpoint. Every worker raises it.
    """
    if workers.count == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    own = np.array([zlib.crc32(json.dumps(facts, sort_keys=True).encode()), step], np.uint32)
    everyone = multihost_utils.process_allgather(own)
    if len(set(everyone[:, 0].tolist())) > 1:
        raise ValueError("Not all workers were given the same network, recipe, data, seed, precision and --max-time.")
    if len(set(everyone[:, 1].tolist())) > 1:
        steps = ", ".join(f"worker {i} at step {step}" for i, step in enumerate(everyone[:, 1].tolist()))
        raise ValueError(f"The workers do not see the same checkpoint: {steps}. --output must be a folder they share.")


def chiefs(workers: Cluster, value: bool) -> bool:
    """Return the chief's value on every worker; all must ask at the same step."""
    if workers.count == 1:
        return value
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def leave(workers: Cluster, code: int) -> None:
    """Let this process exit at once after a failure, with that exit code.

    Otherwise JAX waits at exit for the other workers, which wait for this one, and then aborts the process.
    """

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    if workers.count > 1:
        atexit.register(end)


def _wait_for(workers: Cluster) -> None:
    host, _, port = workers.coordinator.rpartition(":")
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise ConnectionError(
                    f"Worker {workers.index} did not find worker 0 at {workers.coordinator} within {PATIENCE:.0f} "
                    f"seconds ({error.strerror or error}). Start the same command on every worker, each with its index."
                ) from None
            time.sleep(0.5)


def _devices() -> list[str]:
    """List the names of TensorFlow's GPUs, or of its CPU."""
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")
