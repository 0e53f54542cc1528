"""The files that a training writes: the network, its manifest, and its curves."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import kerascnn
from kerascnn.data import CIFAR10_CLASSES
from kerascnn.files import replacing
from kerascnn.training.recipes import Recipe
from kerascnn.training.runs import Result, Run
from kerascnn.weights import container

_FLATTENING = 50  # how many times as high as most a value is that would flatten a curve


def write(run: Run, result: Result, command: Sequence[str]) -> tuple[Path, Path]:
    """Write the network and its manifest.

    Args:
        run: What was trained.
        result: What came of it.
        command: The command line, for the manifest.

    Returns:
        The paths of both files.
    """
    path = run.output / f"{run.model}{container.SUFFIX}"
    labels = "cifar10" if result.classes == CIFAR10_CLASSES else result.classes
    described = replace(
        container.describe(result.model, trained=True), preprocessing=result.preprocessing, labels=labels
    )
    size = container.write(path, described, container.arrays_of(result.model))
    stored = {"file": path.name, "bytes": size, "stored": "float16" if run.half else "float32"}
    facts = manifest(run, result, command) | stored
    with replacing(run.output / "training.json") as partial:
        partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path, run.output / "training.json"


def manifest(run: Run, result: Result, command: Sequence[str]) -> dict[str, Any]:
    """Describe the network and how it was trained."""
    import keras
    import numpy as np

    backend = keras.backend.backend()
    return {
        "model": run.model,
        "accuracy": result.accuracy,
        "images": {"training": result.images[0], "validation": result.images[1], "skipped": len(result.skipped)},
        "classes": list(result.classes),
        "data": run.data.name,
        "validation": run.validation.name if run.validation else None,
        "recipe": _without_defaults(run.recipe),
        "weights": run.weights,
        "seed": run.seed,
        "epochs": len(result.history),
        "finished": result.finished,
        "seconds": round(result.seconds),
        "precision": run.precision,
        "command": " ".join(command),
        "history": [{name: round(value, 5) for name, value in row.items()} for row in result.history],
        "software": {
            "kerascnn": kerascnn.__version__,
            "keras": keras.__version__,
            "backend": f"{backend} {__import__(backend).__version__}",
            "numpy": np.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        },
    }


def _without_defaults(recipe: Recipe) -> dict[str, Any]:
    default = asdict(Recipe(name="", title="", source="", models=(), input_size=0, batch=0, epochs=0, rate=0.0))
    left_out = ("models", "title", "notes", "settled")
    return {key: value for key, value in asdict(recipe).items() if value != default[key] and key not in left_out}


def plot(history: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Draw loss and accuracy over the epochs.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from kerascnn.analysis import plots

    figure = plots.figure(10, 4)
    epochs = [row["epoch"] + 1 for row in history]
    for axis, key, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        lines = {"training": [unit * row[key] for row in history]}
        lines["validation"] = [unit * row[f"val_{key}"] for row in history]
        for label, values in lines.items():
            axis.plot(epochs, values, label=label, marker="o" if len(epochs) == 1 else None)
        axis.set(xlabel="epoch", ylabel=key if unit == 1 else f"{key}, %")
        axis.set_title(_outliers(axis, lines, epochs), fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    plots.save(figure, path)


def _outliers(axis: Any, lines: Mapping[str, Sequence[float]], epochs: Sequence[float]) -> str:
    """Leave values that would flatten all others beyond the axis, and say which; "" where there is none."""
    import numpy as np

    values = np.array(list(lines.values()))
    beyond = values > _FLATTENING * np.quantile(values, 0.75)
    if not beyond.any():
        return ""
    low, high = values[~beyond].min(), values[~beyond].max()
    margin = 0.05 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    row, column = divmod(int(values.argmax()), len(epochs))
    count = int(beyond.sum())
    return f"{count} beyond the axis, up to {values.max():.4g} ({list(lines)[row]}, epoch {epochs[column]:g})"
