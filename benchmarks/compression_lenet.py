"""LeNet-5 on MNIST, coded: how much smaller than its float32 weights, at which accuracy.

KERASCNN_DATA=../shared/data python benchmarks/compression_lenet.py

Deep Compression (Han, Mao & Dally 2016, arXiv:1510.00149) makes 44 kB of the 1,720 kB of Caffe's LeNet-5, 39 times
smaller, at an error of 0.74 % in place of 0.80 %. Here the network is trained, pruned on a schedule while it trains on,
its weights are shared, and the shared values trained; then a .kdc file is written, read again, and the decoded network
is measured.

How much is pruned and how many values are shared is chosen on the last 10,000 training images, by networks that were
trained on the others: of the settings that make the file --ratio times smaller, the one with the highest accuracy. With
it a network is trained on all training images, and the 10,000 test images are looked at once, at the end. Reads
mnist.npz of KERASCNN_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.statistics import paired, with_interval

BATCH = 128
PARENT, PRUNING, SHARED = 5.0, 15.0, 4.0  # epochs
HELD_OUT = 10_000
Photos = tuple[np.ndarray, np.ndarray]  # images as a network takes them, and their classes


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        photos: to train on.
        length: of the training, as a share of all its epochs.
        seed: of the weights and of the order of the images.
    """

    photos: Photos
    length: float
    seed: int

    def fit(self, model: Any, epochs: float, rate: float, *, keep: bool = False, sparsity: float | None = None) -> None:
        """Train, perhaps without changing what is zero and shared, or pruning meanwhile."""
        import keras

        from export import compression

        images, labels = self.photos
        steps = max(1, round(self.length * epochs * len(images) / BATCH))
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
        if keep:
            optimizer = compression.KeepStructure(optimizer, model)
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
        callbacks = []
        if sparsity is not None:
            schedule = {"begin": 0, "end": round(0.7 * steps), "every": 50, "whole": True}
            callbacks.append(compression.PruningSchedule(sparsity, **schedule))
        random = np.random.default_rng(self.seed)
        rounds = -(-steps * BATCH // len(images))
        order = np.concatenate([random.permutation(len(images)) for _ in range(rounds)])

        def batches() -> Any:
            for start in range(0, steps * BATCH, BATCH):
                chosen = order[start : start + BATCH]
                yield images[chosen], labels[chosen]

        model.fit(batches(), steps_per_epoch=steps, verbose=0, callbacks=callbacks)

    def parent(self, network: str) -> Any:
        """Return a network of float32 weights."""
        import keras

        import kerascnn

        keras.utils.set_random_seed(self.seed)
        model = kerascnn.create_model(network)
        self.fit(model, PARENT, 1e-3)
        return model

    def prune(self, model: Any, sparsity: float) -> None:
        self.fit(model, PRUNING, 1e-3, sparsity=sparsity)

    def measure(self, model: Any) -> Any:
        from export import compression

        return compression.measure(model, self.photos[0][:500])

    def tune(self, model: Any) -> None:
        from export import compression

        self.fit(model, SHARED, 3e-4, keep=True)
        compression.round_to_half(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet_caffe", choices=["lenet_caffe", "lenet5"])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.97, 0.975], help="to choose from")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4], help="to choose from")
    parser.add_argument("--ratio", type=float, default=102, help="that a setting must reach to be chosen")
    parser.add_argument("--length", type=float, default=1.0, help="of the training, as a share of all its epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where the .kdc file goes; without: nowhere")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"

    import kerascnn
    from export import compression
    from kerascnn.weights import container

    start = time.perf_counter()
    model = kerascnn.create_model(arguments.network)
    with np.load(Path(os.environ.get("KERASCNN_DATA", "../shared/data")) / "mnist.npz") as file:
        training, testing = (_prepared(model, file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))
    settings = [(sparsity, bits) for sparsity in arguments.sparsity for bits in arguments.bits]
    if len(settings) > 1:
        images, labels = training
        held_out = images[-HELD_OUT:], labels[-HELD_OUT:]
        some = Training((images[:-HELD_OUT], labels[:-HELD_OUT]), arguments.length, arguments.seed)
        settings = [_choose(_tried(some, held_out, arguments), 4 * model.count_params() / arguments.ratio)]
    ((sparsity, bits),) = settings

    whole = Training(training, arguments.length, arguments.seed)
    model = whole.parent(arguments.network)
    rows = [_row("float32", model, testing, 4 * model.count_params())]
    whole.prune(model, sparsity)
    rows.append(_row(f"pruned to {sparsity:.1%}", model, testing))
    compression.cluster(model, bits, sensitivities=whole.measure(model))
    rows.append(_row(f"shared, {bits} bits", model, testing))
    whole.tune(model)
    with tempfile.TemporaryDirectory() as folder:
        path = (arguments.output or Path(folder)) / f"{arguments.network}.kdc"
        size = container.write(path, container.describe(model, trained=True), container.arrays_of(model))
        decoded = kerascnn.create_model(arguments.network, weights=path)
        rows.append(_row("trained on, and decoded from the file", decoded, testing, size))

    ratio = rows[0]["bytes"] / size
    print("| step | bytes | zeros | values, at most | accuracy |\n|---|---:|---:|---:|---:|")
    print("\n".join(map(_line, rows)))
    lost = paired(rows[-1]["hits"], rows[0]["hits"])
    print(f"{ratio:.1f} times smaller, {100 * lost.difference:.2f} points lost", end=" ")
    print(f"({100 * lost.low:.2f} to {100 * lost.high:.2f}), {time.perf_counter() - start:.0f} s in all")
    print(json.dumps({"ratio": ratio, "before": rows[0]["accuracy"], "after": rows[-1]["accuracy"], "bytes": size}))


def _tried(some: Training, held_out: Photos, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Train a network with each setting, and print what it has on the images held out."""
    from export import compression

    print("| setting | bytes | zeros | values, at most | accuracy |\n|---|---:|---:|---:|---:|")
    model = some.parent(arguments.network)
    parent = model.get_weights()
    print(_line(_row("float32", model, held_out, 4 * model.count_params())), flush=True)
    rows = []
    for sparsity in arguments.sparsity:
        model.set_weights(parent)
        some.prune(model, sparsity)
        pruned, sensitivities = model.get_weights(), some.measure(model)
        for bits in arguments.bits:
            model.set_weights(pruned)
            compression.cluster(model, bits, sensitivities=sensitivities)
            some.tune(model)
            row = _row(f"{sparsity:.1%} zeros, {bits} bits", model, held_out)
            print(_line(row), flush=True)
            rows.append({**row, "setting": (sparsity, bits)})
    return rows


def _choose(rows: list[dict[str, Any]], limit: float) -> tuple[float, int]:
    """Return the setting with the highest accuracy among those of at most `limit` bytes, or else the smallest."""
    fitting = [row for row in rows if row["bytes"] <= limit] or [min(rows, key=lambda row: row["bytes"])]
    best = max(fitting, key=lambda row: (row["accuracy"], -row["bytes"]))
    print(f"chosen: {best['name']}\n", flush=True)
    return best["setting"]


def _prepared(model: Any, images: np.ndarray, labels: np.ndarray) -> Photos:
    from kerascnn.photos.preprocessing import find_preprocessing

    margin = (model.input_shape[1] - 28) // 2
    images = np.pad(images, [(0, 0), (margin, margin), (margin, margin)])[..., None]
    return find_preprocessing(model).normalize(images), labels


def _row(name: str, model: Any, photos: Photos, size: int | None = None) -> dict[str, Any]:
    from export import compression

    state = compression.state(model)
    hits = (model.predict(photos[0], batch_size=500, verbose=0).argmax(axis=1) == photos[1]).astype(float)
    return {
        "name": name,
        "bytes": size or state.bytes,
        "zeros": state.sparsity,
        "values": max(state.values.values()),
        "accuracy": float(hits.mean()),
        "hits": hits,
    }


def _line(row: dict[str, Any]) -> str:
    accurate = with_interval(row["accuracy"], len(row["hits"]), 2)
    return f"| {row['name']} | {row['bytes']:,} | {row['zeros']:.1%} | {row['values']:,} | {accurate} |"


if __name__ == "__main__":
    main()
