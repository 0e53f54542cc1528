"""Is a training step ever kept waiting for its images?

KERASCNN_DATA=../shared/data python benchmarks/input_pipeline.py --networks resnet20_cifar squeezenet googlenet

Three views of each network's own recipe, on TensorFlow:
- `alone`: making a batch with nothing else running, by one thread and by the four that `train` gives to photos that are
  cut where they are read (images that lie in memory need one);
- `step`: `fit` on these batches, beside `fit` on one batch again and again, which costs no reading at all. What reading
  takes from a step is the difference, also where it waits for nothing but shares the cores;
- `waiting`: TensorFlow's profiler on the first of these: the time in which a step waits for its next batch.
CIFAR-10 is read into memory; ImageNet's photos are decoded and cut from the zip for every batch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
from subsets import data, zip_subset

THREADS = 4  # of kerascnn.training.batches
SKIPPED = 12  # steps at the start of a fit, in which the threads also fill Keras's queue of 10 batches
WAIT = "IteratorGetNextOp::DoCompute"  # what the profiler calls it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet20_cifar", "squeezenet"])
    parser.add_argument("--steps", type=int, default=12, help="of a fit that are timed")
    parser.add_argument("--rounds", type=int, default=3, help="fits of each kind, in turn")
    parser.add_argument("--batch", type=int, default=32, help="photos in a step of the networks for ImageNet")
    parser.add_argument("--cifar", type=int, default=5000, help="CIFAR-10 images to read")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"

    print(
        "| network | images | batch | alone, 1 thread, ms | alone, 4 threads, ms | step, ms | with one batch, ms "
        "| added | waiting |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for network in arguments.networks:
        print(row(network, arguments), flush=True)


def row(network: str, arguments: Any) -> str:
    """The line of a table for a network by its recipe."""
    import keras

    from kerascnn.training import Run, changed, recipe_for
    from kerascnn.training.batches import Batches
    from kerascnn.training.data import Images, open_data
    from kerascnn.training.networks import build, compile_model, preprocessing_of

    cifar = network.endswith("_cifar")
    settings = recipe_for(network)
    settings = changed(settings, batch=settings.batch if cifar else arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        path = data("imagenet_sample_250.zip")
        if cifar:
            path = zip_subset(data("cifar10_train.zip"), arguments.cifar, Path(folder))
        run = Run(network, settings, path, Path(folder))
        preprocessing = preprocessing_of(network, run.side)
        images, _ = open_data(path, path, preprocessing, settings.augmentation)
        keras.utils.set_random_seed(0)
        model = build(run, preprocessing, len(images.classes))
        compile_model(model, run, steps=1000)
        batches = Batches(images, settings.batch, seed=0)
        alone = [reading(batches, threads, max(4, arguments.steps // 2)) for threads in (1, THREADS)]
        sources = {"images": batches, "one batch": repeated(batches[0])}
        times: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(arguments.rounds):
            for name, source in sources.items():
                times[name] += fit(model, source, arguments.steps)
        waits, steps = profiled(model, batches, arguments.steps, Path(folder))
    step, same = (1000 * statistics.median(times[name]) for name in sources)
    where = f"{path.stem} {'in memory' if isinstance(images, Images) else 'cut from the zip'}"
    return (
        f"| {network} | {where} | {settings.batch} | {1000 * alone[0]:.1f} | {1000 * alone[1]:.1f} | {step:.0f} "
        f"| {same:.0f} | {step / same - 1:+.1%} | {waits / steps:.1%} |"
    )


def reading(batches: Any, threads: int, count: int) -> float:
    """Seconds for a batch, by so many threads, with nothing else to do."""
    batches[0]
    with ThreadPool(threads) as pool:
        start = time.perf_counter()
        pool.map(batches.__getitem__, range(count), chunksize=1)
        return (time.perf_counter() - start) / count


def repeated(batch: tuple[np.ndarray, np.ndarray]) -> Any:
    """A data set of one batch, without end."""
    import keras

    class Repeated(keras.utils.PyDataset):
        @property
        def num_batches(self) -> None:
            return None

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return batch

    return Repeated()


def fit(model: Any, source: Any, steps: int) -> list[float]:
    """Seconds of each of `steps` steps of a `fit`, from the end of the step before; SKIPPED ones come first."""
    import keras

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(source, steps_per_epoch=steps + SKIPPED, verbose=0, shuffle=False, callbacks=[clock])
    return np.diff(ends[SKIPPED - 1 :]).tolist()


def profiled(model: Any, source: Any, steps: int, folder: Path) -> tuple[float, float]:
    """(seconds that steps waited for their batch, seconds of these steps), from TensorFlow's profiler."""
    import tensorflow as tf

    with tf.profiler.experimental.Profile(str(folder)):
        taken = fit(model, source, steps)
    found = waits(next(folder.rglob("*.xplane.pb")))
    if len(found) != steps + SKIPPED:
        raise RuntimeError(f"The profile has {len(found)} events {WAIT}, not one for each of {steps + SKIPPED} steps.")
    return sum(found[SKIPPED:]), sum(taken)


def waits(path: Path) -> list[float]:
    """Seconds of each wait for a batch in a profile, in order."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    found = [
        (1000 * line.timestamp_ns + event.offset_ps, event.duration_ps / 1e12)
        for plane in space.planes
        for line in plane.lines
        for event in line.events
        if plane.event_metadata[event.metadata_id].name == WAIT
    ]
    return [seconds for _, seconds in sorted(found)]


if __name__ == "__main__":
    main()
