"""The files that a fine-tuning run ends with: the network, what `export` needs with it, curves and confusions."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.files import replacing
from kerascnn.photos.files import find_photos, spread
from kerascnn.training import results
from kerascnn.training.runs import Result
from kerascnn.training.tuning.fitting import Tuned
from kerascnn.training.tuning.stages import Tuning

RUN = "run.json"
CALIBRATION = "calibration.zip"
CALIBRATION_PHOTOS = 100
_MOST_DRAWN = 40  # classes of a confusion matrix that a picture can name


def write(tuning: Tuning, tuned: Tuned, command: Sequence[str]) -> Path:
    """Write the network, photos to calibrate it with, the confusions, and what there is to know of all of them.

    Returns:
        The path of the network.
    """
    folder = tuning.output
    path = folder / f"{tuning.name}.keras"
    with replacing(path) as partial:
        # Keras takes a name that ends in .keras alone.
        saved = partial.with_name(f"{partial.name}.keras")
        try:
            tuned.model.save(saved)
            saved.replace(partial)
        finally:
            saved.unlink(missing_ok=True)
    names = spread(tuned.images.names, CALIBRATION_PHOTOS)
    _copy_photos(tuning.data, names, folder / CALIBRATION)
    _write_confusion(tuned, folder / "confusion.csv")
    run = tuning.run()
    result = Result(
        tuned.model,
        tuned.preprocessing,
        tuned.images.classes,
        tuned.history,
        tuned.seconds,
        tuned.finished,
        tuned.accuracy,
        [*tuned.images.skipped, *tuned.validation.skipped],
        (len(tuned.images), len(tuned.validation)),
    )
    facts = results.manifest(run, result, command) | {
        "file": path.name,
        "bytes": path.stat().st_size,
        "stopped_early": tuned.stopped_early,
        "labels": list(tuned.images.classes),
        "preprocessing": asdict(tuned.preprocessing),
        "held_out": {"names": list(tuned.validation.names)},
        "calibration": {"file": CALIBRATION, "photos": len(names), "of": len(tuned.images), "names": names},
    }
    with replacing(folder / RUN) as partial:
        partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _copy_photos(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy photos of a folder or a zip to a zip, under their names."""
    photos = find_photos(source)
    with replacing(target) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), photos.open(name))  # without a date: the same file every time


def _write_confusion(tuned: Tuned, path: Path) -> None:
    classes = tuned.images.classes
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photos of", *classes])
        writer.writerows([name, *row] for name, row in zip(classes, tuned.confusion.tolist(), strict=True))


def mistakes(tuned: Tuned, most: int = 3) -> Iterator[tuple[str, str, int, int]]:
    """List what was confused most often: the class, what it was taken for, how often, and of how many photos."""
    wrong = tuned.confusion * (1 - np.eye(len(tuned.confusion), dtype=int))
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        row, column = divmod(int(flat), len(wrong))
        if wrong[row, column]:
            names = tuned.images.classes
            yield names[row], names[column], int(wrong[row, column]), int(tuned.confusion[row].sum())


def plot_confusion(tuned: Tuned, path: Path, title: str) -> bool:
    """Draw the confusion matrix; with too many classes to name them, draw nothing and return False.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from kerascnn.analysis import plots

    classes, counts = tuned.images.classes, tuned.confusion
    if len(classes) > _MOST_DRAWN:
        return False
    side = 3 + 0.34 * len(classes)
    figure = plots.figure(side + 1, side)
    axes: Any = figure.subplots()
    of_class = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(100 * counts / of_class, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axes, label="% of the photos of a class", shrink=0.8)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="taken for", ylabel="photos of")
    for row, column in zip(*np.nonzero(counts), strict=True):
        light = counts[row, column] > of_class[row, 0] / 2
        axes.text(
            column, row, counts[row, column], ha="center", va="center", fontsize=8, color="white" if light else "black"
        )
    figure.suptitle(title)
    plots.save(figure, path)
    return True
