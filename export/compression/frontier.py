"""What a network's accuracy is at every size: sparsity by bits, as rows, as CSV and as a plot."""

from __future__ import annotations

import csv as csv_files
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.compression import pruning, recipe, sensitivity
from export.compression.clustering import bits_by_layer
from export.compression.networks import log_probabilities
from export.compression.sequence import cluster_in_sequence
from export.compression.states import Score, state
from export.errors import RequestError

if TYPE_CHECKING:
    import keras

_BATCH = 16


@dataclass(frozen=True)
class Row:
    """One point. sparsity: as asked for; zeros: as found. divergence, agreement: against the original network.

    top1, top5: None without labelled photos.
    """

    sparsity: float
    bits: int
    bytes: int
    zeros: float
    divergence: float
    agreement: float
    top1: float | None
    top5: float | None


def sweep(
    model: keras.Model,
    images: np.ndarray,
    *,
    sparsities: Sequence[float] = (0.0, 0.5, 0.7, 0.8, 0.9),
    bits: Sequence[int] = (3, 4, 5, 6, 8),
    held_out: np.ndarray | None = None,
    score: Score | None = None,
    csv: str | Path | None = None,
    plot: str | Path | None = None,
    sensitivities: Mapping[str, sensitivity.Sensitivity] | None = None,
    each: Callable[[Row], None] = lambda row: None,
    seed: int = 0,
    step: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Prune and share weights at every sparsity and number of bits, without fine-tuning.

    Args:
        model: left as it was.
        images: photos to measure with which weights matter, as for `compress`.
        sparsities, bits: the grid; see `prune` (the whole network) and `cluster`.
        held_out: other photos, to compare the answers on; `images` by default.
        score: gives the accuracy of a model.
        csv, plot: files to write; a plot needs matplotlib, one that ends in .html the extra `report`.
        sensitivities: of the model, where they were measured before.
        each: called at every point, while the model is as it was measured there.
        seed: of all that is random.
        step: told how far it is.

    Raises:
        RequestError: a number is out of range, or what draws the plot is missing; before any work.
    """
    _check(model, sparsities, bits, Path(plot) if plot is not None else None)
    original = model.get_weights()
    compared = images if held_out is None else held_out
    before = _answers(model, compared)
    measured = sensitivities or sensitivity.measure(model, images, seed=seed, step=step)
    uncompressed = recipe.copy(model)
    rows = []
    try:
        for sparsity in sparsities:
            for number in bits:
                step(f"sparsity {sparsity}, {number} bits")
                model.set_weights(original)
                pruning.prune(model, sparsity, whole=True, sensitivities=measured)
                cluster_in_sequence(
                    model, uncompressed, images, number, price=0.0, sensitivities=measured, seed=seed, step=step
                )
                after, now = _answers(model, compared), state(model, score)
                rows.append(
                    Row(
                        sparsity=sparsity,
                        bits=number,
                        bytes=now.bytes,
                        zeros=now.sparsity,
                        divergence=float((np.exp(before) * (before - after)).sum(axis=1).mean()),
                        agreement=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
                        top1=now.accuracy.top1 if now.accuracy else None,
                        top5=now.accuracy.top5 if now.accuracy else None,
                    )
                )
                each(rows[-1])
    finally:
        model.set_weights(original)
    if csv is not None:
        with Path(csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv_files.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    if plot is not None:
        draw(rows, Path(plot))
    return rows


def draw(rows: Sequence[Row], path: Path) -> None:
    """A line for each sparsity: bytes against top-1 accuracy or, without labels, agreement with the original."""
    if path.suffix.lower() == ".html":
        from export.report.compression import frontier

        path.write_text(frontier([asdict(row) for row in rows]), encoding="utf-8")
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for sparsity in sorted({row.sparsity for row in rows}):
        line = sorted((row for row in rows if row.sparsity == sparsity), key=lambda row: row.bytes)
        quality = [100 * (row.agreement if row.top1 is None else row.top1) for row in line]
        axes.plot([row.bytes / 1000 for row in line], quality, marker="o", label=f"{100 * sparsity:.0f} % pruned")
        for row, value in zip(line, quality, strict=True):
            axes.annotate(f"{row.bits}", (row.bytes / 1000, value), textcoords="offset points", xytext=(3, 3))
    labelled = rows[0].top1 is not None
    axes.set_xlabel("coded kB (the number at each point: bits a weight)")
    axes.set_ylabel("top-1 %" if labelled else "same best class as the original, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _check(model: keras.Model, sparsities: Sequence[float], bits: Sequence[int], plot: Path | None) -> None:
    for sparsity in sparsities:
        recipe.check(model, sparsity, 8, None)
    for number in bits:
        bits_by_layer(model, number)
    if plot is not None:
        from importlib.util import find_spec

        from kerascnn.analysis.pages.rendering import MISSING, available

        if plot.suffix.lower() == ".html":
            if not available():
                raise RequestError(MISSING)
        elif find_spec("matplotlib") is None:
            raise RequestError("A plot needs matplotlib: pip install 'kerascnn[plots]'; or leave out plot=.")


def _answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    answers = log_probabilities(model)
    return np.concatenate(
        [answers(images[start : start + _BATCH]).numpy() for start in range(0, len(images), _BATCH)]
    ).astype(np.float64)
