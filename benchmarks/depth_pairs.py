"""Deeper is worse without shortcuts, and not with them (He et al. 2015, arXiv:1512.03385, figures 1 and 6), tried.

KERASCNN_DATA=../shared/data python benchmarks/depth_pairs.py --epochs 30 \\
    --output runs/depth_pairs --plot runs/depth_pairs.png

Trains plain-20, plain-56, ResNet-20 and ResNet-56 by one recipe on the CIFAR-10 photos. The training error is that of
the network as it is used: without augmentation and with the normalizations' running statistics, on a fixed part of the
images that were trained on. The same command again goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from subsets import balanced, data, zip_subset

from kerascnn.statistics import with_interval

NETWORKS = ("plain20_cifar", "plain56_cifar", "resnet20_cifar", "resnet56_cifar")
JUDGED = 5000  # images of the training set whose error is measured after each epoch
COLUMNS = ("network", "epoch", "training_error", "test_error", "loss", "learning_rate", "seconds")
LAST = 3  # epochs that a figure of the table is the mean of: an epoch alone goes up and down by a point
TESTED = 5_000  # images of the test set

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs; the same again goes on in it")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--recipe", default="resnet_cifar")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, help="train on so many, as many of each class; without: all 50,000")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="a .png or .svg of the curves (kerascnn[plots])")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    import keras

    from kerascnn.analysis import plots
    from kerascnn.training import Run, changed, recipe, train

    if arguments.plot:
        plots.figure(1, 1)  # hours of training must not end in a missing package
        plots.check_path(arguments.plot)
    arguments.output.mkdir(parents=True, exist_ok=True)
    source = data("cifar10_train.zip")
    if arguments.images:
        source = zip_subset(source, arguments.images, arguments.output)
    settings = changed(recipe(arguments.recipe), epochs=arguments.epochs)
    judged = judged_images(source)
    rows: dict[str, Rows] = {}
    for network in arguments.networks:
        folder = arguments.output / network
        run = Run(
            network,
            settings,
            source,
            folder,
            validation=data("cifar10_test_5000.zip"),
            seed=arguments.seed,
            precision=arguments.precision,
        )
        try:
            train(run, [training_error(folder / "training_error.csv", *judged)])
        except FloatingPointError as error:  # as seen: it is a result
            print(f"{network}: {error}", flush=True)
        keras.backend.clear_session()
        rows[network] = joined(network, folder)
        with (arguments.output / "depth_pairs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for found in rows.values() for row in found)
        if arguments.plot:
            plot(rows, arguments.plot, f"CIFAR-10, {len_text(arguments.images)}, {settings.name}")
    print(f"{len_text(arguments.images)}, {settings.name}, {arguments.epochs} epochs, {arguments.precision}")
    print("\n".join(table(rows)))


def len_text(images: int | None) -> str:
    """How many images were trained on, in words."""
    return f"{images or 50_000:,} training images"


def judged_images(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and labels of at most JUDGED photos of a zip, as many of each class."""
    from kerascnn.training.networks import preprocessing_of
    from kerascnn.training.photos import Photos

    photos = Photos.find(path)
    size = preprocessing_of(NETWORKS[0], 32).without_normalization
    chosen = balanced(photos.folders, min(JUDGED, len(photos.names)))
    classes = sorted(set(photos.folders))
    labels = np.array([classes.index(photos.folders[i]) for i in chosen])
    return np.stack([photos.read(photos.names[i], size) for i in chosen]), labels


def training_error(path: Path, images: np.ndarray, labels: np.ndarray) -> Any:
    """A callback that writes the error on those images after each epoch to a CSV, and prints it."""
    import keras

    class TrainingError(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            wrong = 0
            for begin in range(0, len(images), 250):
                answers = self.model.predict_on_batch(images[begin : begin + 250])
                wrong += int((answers.argmax(axis=-1) != labels[begin : begin + 250]).sum())
            errors = {number: error for number, error in read_errors(path).items() if number < epoch}
            errors[epoch] = wrong / len(images)
            with path.open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([("epoch", "training_error"), *errors.items()])
            test = 1 - (logs or {}).get("val_accuracy", float("nan"))
            print(f"{path.parent.name} {epoch + 1}: training {errors[epoch]:.1%}, test {test:.1%}", flush=True)

    return TrainingError()


def read_errors(path: Path) -> dict[int, float]:
    """The training error by epoch, counted from 0; nothing where there is no such file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {int(row["epoch"]): float(row["training_error"]) for row in csv.DictReader(file)}


def joined(network: str, folder: Path) -> Rows:
    """The epochs that the history has, with the training error of each; epochs count from 1."""
    from kerascnn.training.callbacks import read_history

    history = folder / "history.csv"
    errors = read_errors(folder / "training_error.csv")
    return [
        {
            "network": network,
            "epoch": row["epoch"] + 1,
            "training_error": round(errors[int(row["epoch"])], 5),
            "test_error": round(1 - row["val_accuracy"], 5),
            "loss": round(row["loss"], 5),
            "learning_rate": round(row["learning_rate"], 6),
            "seconds": row["seconds"],
        }
        for row in (read_history(history) if history.exists() else [])
        if row["epoch"] in errors
    ]


def table(rows: Mapping[str, Rows]) -> list[str]:
    """Lines of a table with the last epochs' mean errors, and what depth did to each pair."""
    lines = ["| network | epochs | training error | test error (95 % interval) | minutes |\n|---|---:|---:|---:|---:|"]
    means: dict[str, tuple[float, float]] = {}
    for network, found in rows.items():
        if not found:
            lines.append(f"| {network} | 0 | - | - | - |")
            continue
        last = found[-LAST:]
        means[network] = tuple(float(np.mean([row[key] for row in last])) for key in ("training_error", "test_error"))
        first, second = means[network]
        tested = with_interval(second, TESTED)
        lines.append(f"| {network} | {len(found)} | {first:.1%} | {tested} | {found[-1]['seconds'] / 60:.0f} |")
    lines.append(f"\nErrors are means of the last {LAST} epochs at most.")
    for shallow, deep in (NETWORKS[:2], NETWORKS[2:]):
        if shallow in means and deep in means:
            training, test = (100 * (b - a) for a, b in zip(means[shallow], means[deep], strict=True))
            lines.append(f"{deep} against {shallow}: training error {training:+.1f} points, test error {test:+.1f}.")
    return lines


def plot(rows: Mapping[str, Rows], path: Path, title: str) -> None:
    """Draw the errors by epoch as the paper's figure 6 does: plain networks left, residual ones right."""
    from kerascnn.analysis import plots

    figure = plots.figure(10, 4.5)
    kinds = {"plain": [n for n in rows if n.startswith("plain")], "residual": [n for n in rows if n[:5] != "plain"]}
    panels: Sequence[Any] = figure.subplots(1, 2, sharey=True)
    for axis, (kind, networks) in zip(panels, kinds.items(), strict=True):
        for colour, network in zip(("#E69F00", "#0072B2", "#009E73", "#CC79A7"), networks, strict=False):
            epochs = [row["epoch"] for row in rows[network]]
            for key, style, name in (("training_error", "--", "training"), ("test_error", "-", "test")):
                values = [100 * row[key] for row in rows[network]]
                label = f"{network.removesuffix('_cifar')}, {name}"
                axis.plot(epochs, values, style, color=colour, linewidth=1.2 if style == "--" else 2, label=label)
        axis.set(xlabel="epoch", title=f"{kind} networks")
        axis.grid(alpha=0.3)
        if networks:
            axis.legend()
    panels[0].set(ylabel="error, %", ylim=(0, None))
    figure.suptitle(title)
    plots.save(figure, path)


if __name__ == "__main__":
    main()
