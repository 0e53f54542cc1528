"""Time of a training step: ours beside keras.applications' ResNet50, and what precision, XLA and JAX change.

python benchmarks/training_speed.py                      # both tables
python benchmarks/training_speed.py --table pair --size 96
KERAS_BACKEND=jax python benchmarks/training_speed.py --table options

`pair` is ResNet50 on TensorFlow, not compiled with XLA, the same optimiser and random photos for both. `options` is
ResNet-20 for CIFAR as `kerascnn.training` builds and compiles it, without augmentation, for which TensorFlow's XLA has
no kernels; on JAX in a process of its own. Steps of all rows take turns, in changing order, so that other work on the
machine hits all; CPU time counts what all cores did for this process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

PRECISIONS = ("float32", "bfloat16", "float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="both", choices=["pair", "options", "both"])
    parser.add_argument("--size", type=int, default=224, help="of the photos for ResNet50, in pixels")
    parser.add_argument("--batch", type=int, default=8, help="photos in a step of ResNet50")
    parser.add_argument("--rounds", type=int, default=10, help="steps of each that are timed")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS, metavar="NAME")
    parser.add_argument("--options-batch", type=int, default=128, help="images in a step of ResNet-20")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")

    import keras

    backend = keras.backend.backend()
    if arguments.table in ("pair", "both"):
        times = measure(pair(arguments.size, arguments.batch), arguments.rounds)
        print(f"ResNet50, {backend}, {arguments.size} px, batch {arguments.batch}, {arguments.rounds} steps of each\n")
        print("\n".join(table(times, "keras.applications")), flush=True)
    if arguments.table in ("options", "both"):
        times = measure(options(arguments.precision, arguments.options_batch), arguments.rounds)
        print(f"\nresnet20_cifar, {backend}, batch {arguments.options_batch}, {arguments.rounds} steps of each\n")
        print("\n".join(table(times, next(iter(times)))), flush=True)
    if arguments.table == "both" and backend == "tensorflow":
        more = ["--precision", *arguments.precision, "--rounds", str(arguments.rounds)]
        more += ["--options-batch", str(arguments.options_batch), "--table", "options"]
        subprocess.run([sys.executable, __file__, *more], env={**os.environ, "KERAS_BACKEND": "jax"}, check=True)


def pair(size: int, batch: int) -> dict[str, Callable[[], object]]:
    """A step of each ResNet50, on the same images."""
    import keras

    import kerascnn

    random = np.random.default_rng(0)
    x = random.normal(size=(batch, size, size, 3)).astype("float32")
    y = random.integers(0, 1000, batch)
    models = {
        "keras.applications": keras.applications.ResNet50(weights=None, input_shape=(size, size, 3)),
        "kerascnn": kerascnn.create_model("resnet50", input_shape=(size, size, 3)),
    }
    jit = keras.backend.backend() == "jax"
    for model in models.values():
        model.compile(keras.optimizers.SGD(0.001, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=jit)
    return {name: lambda model=model: model.train_on_batch(x, y) for name, model in models.items()}


def options(precisions: list[str], batch: int) -> dict[str, Callable[[], object]]:
    """A step of ResNet-20 for each precision, and on TensorFlow with and without XLA and the fused normalization."""
    import keras

    from kerascnn.training import Augmentation, Run, changed, recipe
    from kerascnn.training.networks import build, compile_model, preprocessing_of
    from kerascnn.training.normalization import FusedBatchNormalization

    random = np.random.default_rng(0)
    x = random.integers(0, 256, (batch, 32, 32, 3), np.uint8)
    y = random.integers(0, 10, batch)
    settings = changed(recipe("resnet_cifar"), augmentation=Augmentation(), batch=batch, rate=0.001)
    steps = {}
    kernels = [(True, False)] if keras.backend.backend() == "jax" else [(False, True), (False, False), (True, True)]
    for jit, fused in kernels:  # JAX has no kernel for normalization
        for precision in precisions:
            run = Run("resnet20_cifar", settings, Path(), Path(), precision=precision, jit=jit)
            keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
            model = build(run, preprocessing_of(run.model, 32), 10)
            if not fused:
                for layer in model.layers:
                    if isinstance(layer, FusedBatchNormalization):
                        layer.__class__ = keras.layers.BatchNormalization
            compile_model(model, run, steps=100)
            name = f"{precision}, {'XLA' if jit else 'no XLA'}, {'fused' if fused else 'Keras'}"
            steps[name] = lambda model=model: model.train_on_batch(x, y)
    keras.config.set_dtype_policy("float32")
    return steps


def measure(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of each step, `rounds` times, after two that pay for tracing and compiling."""
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        step()
        print(f"{name}: first two steps {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        for name in names[:: 1 if i % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            steps[name]()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def table(times: Mapping[str, list[tuple[float, float]]], reference: str) -> list[str]:
    """Lines of a table: medians of wall and CPU time of a step, and how many times faster than the reference it is.

    The speed is the median of the ratios within a round; beside it are the quartiles of those of wall time.
    """
    lines = ["| | ms a step | CPU ms a step | speed | quartiles | speed by CPU time |\n|---|---:|---:|---:|---:|---:|"]
    for name, measured in times.items():
        wall, cpu = (1000 * statistics.median(pair[i] for pair in measured) for i in (0, 1))
        ratios = [[base[i] / own[i] for base, own in zip(times[reference], measured, strict=True)] for i in (0, 1)]
        low, middle, high = np.percentile(ratios[0], [25, 50, 75])
        lines.append(
            f"| {name} | {wall:.0f} | {cpu:.0f} | {middle:.2f} | {low:.2f}-{high:.2f} "
            f"| {statistics.median(ratios[1]):.2f} |"
        )
    return lines


if __name__ == "__main__":
    main()
