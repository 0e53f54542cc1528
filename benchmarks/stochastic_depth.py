"""Time of a training step with stochastic depth, beside constant depth.

KERAS_BACKEND=tensorflow python benchmarks/stochastic_depth.py --network resnet56_cifar --steps 60

`skipped` is the network as built, which does not compute the units that a step leaves out; `masked` the same with every
unit computed and multiplied with zero. CPU seconds count what all cores did, so that other work on the machine is not
in them. Steps differ in how many units they leave out: the expected share that takes part is printed beside.
"""

from __future__ import annotations

import argparse
import os
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet56_cifar")
    parser.add_argument("--probability", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--xla", action="store_true", help="TensorFlow: compile with XLA")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import keras
    import numpy as np

    import kerascnn
    from kerascnn.layers.stochastic_depth import StochasticDepth

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    constant = kerascnn.create_model(arguments.network)
    skipped = kerascnn.create_model(arguments.network, survival_probability=arguments.probability)
    drawn = kerascnn.create_model(arguments.network, survival_probability=arguments.probability)
    models = {"constant": constant, "masked": keras.Model(drawn.input, drawn.output), "skipped": skipped}
    x = random.normal(size=(arguments.batch, *constant.input_shape[1:])).astype("float32")
    y = random.integers(0, constant.output_shape[-1], arguments.batch)
    jit = arguments.xla if keras.backend.backend() == "tensorflow" else "auto"
    for name, model in models.items():
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=jit)
        start = time.perf_counter()
        for _ in range(2):
            model.train_on_batch(x, y)
        print(f"{name}: first two steps {time.perf_counter() - start:.0f} s", flush=True)

    wall: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    units = [layer for layer in skipped.layers if isinstance(layer, StochasticDepth)]
    expected = sum(unit.survival_probability for unit in units) / len(units)
    for _ in range(arguments.steps):
        for name, model in models.items():
            start, begun = time.perf_counter(), time.process_time()
            model.train_on_batch(x, y)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - begun)
    print(f"{arguments.network}, {keras.backend.backend()}, batch {arguments.batch}, {arguments.steps} steps each")
    print(f"{len(units)} units, of which {expected:.1%} take part in a step on average")
    print(
        "| model | ms a step, mean | of constant depth | CPU ms a step | of constant depth |\n|---|---:|---:|---:|---:|"
    )
    for name in models:
        means = [1000 * float(np.mean(times[name])) for times in (wall, cpu)]
        shares = [float(np.mean(times[name]) / np.mean(times["constant"])) for times in (wall, cpu)]
        print(f"| {name} | {means[0]:.0f} | {shares[0]:.1%} | {means[1]:.0f} | {shares[1]:.1%} |")


if __name__ == "__main__":
    main()
