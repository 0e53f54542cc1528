"""A CIFAR-10 network trained for int8 or for int4 weights, perhaps pruned and shared in the same run, and exported.

KERASCNN_DATA=../shared/data python benchmarks/quantization_cifar.py --network resnet20_cifar --bits 4 --epochs 2

The network learns to answer the training photos as its float32 parent does, shifted and mirrored. Every tenth of them
is held back: settings are chosen by those. The test photos are read once, at the end, by the parent, the trained
network and its files. With --sparsity, a schedule prunes in the first half of the training; with --share-bits,
weights are shared after it, and shared values are trained for --share-epochs. Every step is kept in the folder of
--output, and a second run goes on with what is missing there. Reads cifar10_train.zip and cifar10_test_5000.zip of
KERASCNN_DATA.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from compression_cifar import BATCH, augmented, photos

from kerascnn.statistics import hits, paired, ranks, with_interval

HELD_BACK = 10  # every tenth photo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet20_cifar")
    parser.add_argument("--bits", type=int, choices=[4, 8], default=8)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--rate", type=float, default=3e-4, help="of Adam")
    parser.add_argument("--sparsity", type=float, default=0)
    parser.add_argument("--share-bits", type=int, default=0)
    parser.add_argument("--share-epochs", type=float, default=1)
    parser.add_argument("--output", type=Path, default=Path("quantization_cifar"))
    parser.add_argument("--choose", action="store_true", help="end before the test photos are read")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    settings = vars(arguments) | {"output": None, "choose": None}  # a run goes on with its own settings alone
    folder = arguments.output / "_".join(f"{value}" for value in settings.values() if value is not None)
    folder.mkdir(parents=True, exist_ok=True)

    import keras

    import kerascnn
    from export.compression import KeepStructure, PruningSchedule, cluster, quantize_aware
    from kerascnn.photos.preprocessing import find_preprocessing

    keras.utils.set_random_seed(0)
    data = Path(os.environ.get("KERASCNN_DATA", "../shared/data"))
    images, labels = photos(data / "cifar10_train.zip", folder)
    held = np.arange(len(images)) % HELD_BACK == 0
    parent = kerascnn.create_model(arguments.network, weights="cifar10")
    normalize = find_preprocessing(parent).normalize
    calibration = normalize(images[~held][::200])
    aware = quantize_aware(parent, calibration=calibration, bits=arguments.bits)
    chosen_by = normalize(images[held]), labels[held]

    def fit(epochs: float, optimizer: Callable[[Any], Any], callbacks: Callable[[int], list[Any]]) -> None:
        steps = round(epochs * (~held).sum() / BATCH)
        schedule = keras.optimizers.schedules.CosineDecay(arguments.rate, steps)
        aware.compile(optimizer(schedule), "kl_divergence", jit_compile=False)
        batches = augmented(images[~held], labels[~held], normalize)
        batches = batches.map(lambda photos, _: (photos, parent(photos, training=False))).take(steps)
        aware.fit(batches, epochs=1, verbose=2, callbacks=callbacks(steps))

    def prune(steps: int) -> list[Any]:
        if not arguments.sparsity:
            return []
        return [PruningSchedule(arguments.sparsity, begin=0, end=steps // 2, every=25, whole=True)]

    def share() -> None:
        cluster(aware, arguments.share_bits)
        fit(arguments.share_epochs, lambda rate: KeepStructure(keras.optimizers.Adam(rate), aware), lambda _: [])

    steps: dict[str, Callable[[], None]] = {
        "as it was calibrated": lambda: None,
        "trained": lambda: fit(arguments.epochs, keras.optimizers.Adam, prune),
    }
    if arguments.share_bits:
        steps["shared"] = share
    for name, work in steps.items():
        kept = folder / f"{name}.weights.h5"
        start = time.perf_counter()
        if kept.exists():
            aware.load_weights(kept)
        else:
            work()
            aware.save_weights(kept)
        share_right = (answers(aware, chosen_by[0]).argmax(axis=1) == chosen_by[1]).mean()
        print(f"{name}: {share_right:.2%} of the photos held back, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"parent: {(answers(parent, chosen_by[0]).argmax(axis=1) == chosen_by[1]).mean():.2%}")
    if not arguments.choose:
        judge(parent, aware, arguments, folder / "export", normalize, chosen_by[0])


def answers(model: Any, images: np.ndarray) -> np.ndarray:
    found: np.ndarray = model.predict(images, batch_size=250, verbose=0)
    return found


def judge(
    parent: Any,
    aware: Any,
    arguments: argparse.Namespace,
    made: Path,
    normalize: Callable[[Any], Any],
    seen: np.ndarray,
) -> None:
    """Export the network, and print what it and its files make of the test photos."""
    import export
    from export import compression
    from export.formats.registry import FORMATS

    precisions = ["int8"] + ["sparse-int8"] * bool(arguments.sparsity) + ["int8x4"] * (arguments.bits == 4)
    manifest = export.export(
        aware, made, formats=["tflite", "onnx"], precisions=precisions, calibration=seen[:250], replace=True
    )
    data = Path(os.environ.get("KERASCNN_DATA", "../shared/data"))
    images, labels = photos(data / "cifar10_test_5000.zip", made.parent)
    images = normalize(images)
    rows = [("float32 parent", 4 * parent.count_params(), answers(parent, images), "")]
    rows.append(("trained network", 0, answers(aware, images), ""))
    for artifact in manifest["artifacts"]:
        path = made / artifact["path"]
        found = FORMATS[artifact["format"]].open(path, threads=1).predict(images)
        held = ""
        if arguments.sparsity and path.suffix == ".tflite":
            kernels = compression.count(path)
            zeros = sum(kernel.zeros for kernel in kernels) / sum(kernel.size for kernel in kernels)
            held = f"{zeros:.1%} zeros, at most {max(kernel.channel_values for kernel in kernels)} values a channel"
        rows.append((f"{artifact['format']} {artifact['precision']}", artifact["bytes"], found, held))
    first = hits(*ranks(rows[0][2], labels), 1)
    ratios = ["", "", *(f"{artifact['parity']['sqnr_db']:.1f}" for artifact in manifest["artifacts"])]
    print("| | bytes | top-1 % | lost, points | SQNR, dB | |\n|---|---:|---:|---:|---:|---|")
    for (name, size, found, held), ratio in zip(rows, ratios, strict=True):
        right = hits(*ranks(found, labels), 1)
        share = with_interval(right.mean(), len(right), 2)
        print(f"| {name} | {f'{size:,}' if size else ''} | {share} | {lost(first, right)} | {ratio} | {held} |")


def lost(first: np.ndarray, right: np.ndarray) -> str:
    """Say how many points less are right, with the 95 % interval of the paired difference."""
    gained = paired(first, right)
    return f"{-100 * gained.difference:.2f} ({-100 * gained.high:.2f} to {-100 * gained.low:.2f})"


if __name__ == "__main__":
    main()
