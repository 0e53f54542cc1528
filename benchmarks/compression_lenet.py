"""LeNet-5 on MNIST, coded: how much smaller than its float32 weights, at which accuracy.

KERASCNN_DATA=../shared/data python benchmarks/compression_lenet.py

Deep Compression (Han, Mao & Dally 2016, arXiv:1510.00149) makes 44 kB of the 1,720 kB of Caffe's LeNet-5, 39 times
smaller, at an error of 0.74 % in place of 0.80 %. Here the network is trained, pruned on a schedule while it trains on,
its weights are shared, and the shared values trained; then a .kdc file is written, read again, and the decoded network
is measured on the 10,000 test images. Reads mnist.npz of KERASCNN_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.statistics import with_interval

BATCH = 128
PARENT, PRUNING, SHARED = 5.0, 15.0, 4.0  # epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet_caffe", choices=["lenet_caffe", "lenet5"])
    parser.add_argument("--sparsity", type=float, default=0.95)
    parser.add_argument("--bits", type=int, default=5)
    parser.add_argument("--length", type=float, default=1.0, help="of the training, as a share of all its epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where the .kdc file goes; without: nowhere")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"

    import keras

    import kerascnn
    from export import compression
    from kerascnn.weights import container

    keras.utils.set_random_seed(arguments.seed)
    model = kerascnn.create_model(arguments.network)
    with np.load(Path(os.environ.get("KERASCNN_DATA", "../shared/data")) / "mnist.npz") as file:
        training, testing = (_prepared(model, file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))

    def accuracy(network: Any) -> float:
        return float((network.predict(testing[0], batch_size=500, verbose=0).argmax(axis=1) == testing[1]).mean())

    def fit(epochs: float, rate: float, *, keep: bool = False, sparsity: float | None = None) -> None:
        steps = max(1, round(arguments.length * epochs * len(training[0]) / BATCH))
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
        if keep:
            optimizer = compression.KeepStructure(optimizer, model)
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
        callbacks = []
        if sparsity is not None:
            schedule = {"begin": 0, "end": round(0.7 * steps), "every": 50, "whole": True}
            callbacks.append(compression.PruningSchedule(sparsity, **schedule))
        random = np.random.default_rng(arguments.seed)
        order = np.concatenate([random.permutation(len(training[0])) for _ in range(-(-steps * BATCH // 60_000))])

        def batches() -> Any:
            for start in range(0, steps * BATCH, BATCH):
                chosen = order[start : start + BATCH]
                yield training[0][chosen], training[1][chosen]

        model.fit(batches(), steps_per_epoch=steps, verbose=0, callbacks=callbacks)

    start = time.perf_counter()
    fit(PARENT, 1e-3)
    rows = [_row("float32", model, accuracy(model), 4 * model.count_params())]
    fit(PRUNING, 1e-3, sparsity=arguments.sparsity)
    rows.append(_row(f"pruned to {arguments.sparsity:.0%}", model, accuracy(model)))
    sensitivities = compression.measure(model, training[0][:500])
    compression.cluster(model, arguments.bits, sensitivities=sensitivities)
    rows.append(_row(f"shared, {arguments.bits} bits", model, accuracy(model)))
    fit(SHARED, 3e-4, keep=True)
    compression.round_to_half(model)
    with tempfile.TemporaryDirectory() as folder:
        path = (arguments.output or Path(folder)) / f"{arguments.network}.kdc"
        size = container.write(path, container.describe(model, trained=True), container.arrays_of(model))
        decoded = kerascnn.create_model(arguments.network, weights=path)
        rows.append(_row("trained on, and decoded from the file", decoded, accuracy(decoded), size))

    ratio = rows[0]["bytes"] / size
    print("| step | bytes | zeros | values, at most | accuracy |\n|---|---:|---:|---:|---:|")
    for row in rows:
        accurate = with_interval(row["accuracy"], 10_000, 2)
        print(f"| {row['name']} | {row['bytes']:,} | {row['zeros']:.1%} | {row['values']} | {accurate} |")
    print(f"{arguments.network}: {ratio:.1f} times smaller, {time.perf_counter() - start:.0f} s in all")
    print(json.dumps({"ratio": ratio, "before": rows[0]["accuracy"], "after": rows[-1]["accuracy"], "bytes": size}))


def _prepared(model: Any, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from kerascnn.photos.preprocessing import find_preprocessing

    margin = (model.input_shape[1] - 28) // 2
    images = np.pad(images, [(0, 0), (margin, margin), (margin, margin)])[..., None]
    return find_preprocessing(model).normalize(images), labels


def _row(name: str, model: Any, accuracy: float, size: int | None = None) -> dict[str, Any]:
    from export import compression

    state = compression.state(model)
    values = max(state.values.values())
    return {
        "name": name,
        "bytes": size or state.bytes,
        "zeros": state.sparsity,
        "values": values,
        "accuracy": accuracy,
    }


if __name__ == "__main__":
    main()
