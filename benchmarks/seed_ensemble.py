"""An ensemble of one network trained from several seeds against its members: the lecture's seven networks in small.

KERASCNN_DATA=../shared/data python benchmarks/seed_ensemble.py --output runs/seeds --images 10000 --epochs 4 --seeds 7

The lecture's example is AlexNet: an error (top 5, ImageNet) of 18.2 % for one network, 16.4 % for the mean of five, and
15.4 % for that of seven. Here members differ in their seed alone: first weights, order of the images, augmentation.
Trains on a part of MNIST, judges its 10,000 test images. The same command again goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from subsets import balanced, data

from kerascnn.statistics import with_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs; the same again goes on in it")
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--recipe", default="onecycle_mnist")
    parser.add_argument("--images", type=int, default=10_000, help="to train on, as many of each digit")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=7)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from kerascnn.applications import ensemble
    from kerascnn.build_info import carry_over
    from kerascnn.training import Run, changed, recipe, train
    from kerascnn.training.data import open_data
    from kerascnn.training.networks import accuracy_of

    start = time.perf_counter()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = mnist_subset(arguments.images, arguments.output)
    settings = changed(recipe(arguments.recipe), epochs=arguments.epochs)
    members, errors = [], []
    for seed in range(arguments.seeds):
        result = train(Run(arguments.model, settings, path, arguments.output / f"seed{seed}", seed=seed))
        members.append(carry_over(result.model, result.model, preprocessing=result.preprocessing))
        errors.append(1 - result.accuracy)
        print(f"seed {seed}: {errors[-1]:.2%} wrong, {result.seconds:.0f} s", flush=True)

    _, test = open_data(path, None, result.preprocessing, settings.augmentation)
    sizes = sorted({size for size in (3, 5, arguments.seeds) if size <= arguments.seeds})
    together = {
        (size, average): 1 - accuracy_of(ensemble(members[:size], average=average), test, result.preprocessing)
        for size in sizes
        for average in ("probabilities", "logits")
    }
    seconds = time.perf_counter() - start
    print(f"\n{arguments.model}, {arguments.images:,} images, {arguments.epochs} epochs, {seconds:.0f} s")
    print("\n".join(table(errors, together, len(test))))


def mnist_subset(count: int, folder: Path) -> Path:
    """An .npz like MNIST's of `count` training images and all test images; made where it does not exist yet."""
    path = folder / f"mnist_{count}.npz"
    if not path.exists():
        with np.load(data("mnist.npz")) as file:
            chosen = balanced(file["y_train"], count)
            arrays = {f"{name}_train": file[f"{name}_train"][chosen] for name in "xy"}
            arrays |= {f"{name}_test": file[f"{name}_test"] for name in "xy"}
        partial = folder / "partial.npz"
        np.savez(partial, **arrays)
        os.replace(partial, path)
    return path


def table(errors: list[float], together: dict[tuple[int, str], float], images: int) -> list[str]:
    """Lines of a table: each member's error, their mean, and the ensembles' error with its distance from the mean.

    Args:
        errors: of the members, in the order of their seeds, as shares.
        together: of the ensembles, by how many of the first members they average and what; images: judged.
    """
    lines = ["| network | wrong | error | against the mean of its members |\n|---|---:|---:|---:|"]
    lines += [
        f"| seed {seed} | {round(error * images)} | {with_interval(error, images, 2)} | |"
        for seed, error in enumerate(errors)
    ]
    lines.append(f"| mean of {len(errors)} members | {np.mean(errors) * images:.1f} | {np.mean(errors):.2%} | |")
    for (size, average), error in together.items():
        mean = float(np.mean(errors[:size]))
        share = f"{error / mean - 1:+.0%}" if mean else "-"
        lines.append(
            f"| ensemble of {size}, {average} | {round(error * images)} | {with_interval(error, images, 2)} | {share} |"
        )
    return lines


if __name__ == "__main__":
    main()
