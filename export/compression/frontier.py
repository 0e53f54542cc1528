"""Measure a network at every size, sparsity by bits: as rows, as CSV and as a plot."""

from __future__ import annotations

import csv as csv_files
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.compression import pruning, recipe
from export.compression.clustering import bits_by_layer
from export.compression.networks import log_probabilities
from export.compression.sequence import Reference, cluster_in_sequence
from export.compression.states import Score, state
from export.errors import RequestError
from kerascnn.statistics import compare

if TYPE_CHECKING:
    import keras

    from export.compression.sensitivity import Sensitivity

_BATCH = 16


@dataclass(frozen=True)
class Row:
    """One point.

    Attributes:
        sparsity: as asked for.
        bits: as asked for.
        bytes: of the coded file.
        zeros: the share of zeros that came out.
        divergence: from the original network, in nats a photo.
        agreement: share of photos with the best class of the original network.
        top1: accuracy; None without labeled photos.
        top5: accuracy; None without labeled photos.
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
    sensitivities: Mapping[str, Sensitivity] | None = None,
    each: Callable[[Row], None] = lambda row: None,
    seed: int = 0,
    step: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Prune and share weights at every sparsity and number of bits, without fine-tuning.

    Args:
        model: left as it was.
        images: photos to measure with which weights matter, as for `compress`.
        sparsities: of the whole network, see `prune`.
        bits: to try at each sparsity, see `cluster`.
        held_out: other photos, to compare the answers on; `images` by default.
        score: gives the accuracy of a model.
        csv: a file to write the rows to.
        plot: a file to draw them in; it needs matplotlib, one that ends in .html the extra `report`.
        sensitivities: of the model, where they were measured before.
        each: called at every point, while the model is as it was measured there.
        seed: of all that is random.
        step: called with a sentence on the progress.

    Raises:
        RequestError: a number is out of range, or what draws the plot is missing; before any work.
    """
    _check(model, sparsities, bits, Path(plot) if plot is not None else None)
    original = model.get_weights()
    compared = images if held_out is None else held_out
    before = _answers(model, compared)
    reference = Reference.of(model, images, sensitivities, seed, step)
    rows = []
    try:
        for sparsity, number in product(sparsities, bits):
            step(f"sparsity {sparsity}, {number} bits")
            model.set_weights(original)
            pruning.prune(model, sparsity, whole=True, sensitivities=reference.sensitivities)
            cluster_in_sequence(model, reference, number, price=0.0, step=step)
            divergence, agreement = compare(before, _answers(model, compared))
            now = state(model, score)
            top1, top5 = (now.accuracy.top1, now.accuracy.top5) if now.accuracy else (None, None)
            rows.append(Row(sparsity, number, now.bytes, now.sparsity, divergence, agreement, top1, top5))
            each(rows[-1])
    finally:
        model.set_weights(original)
    if csv is not None:
        _write_csv(rows, Path(csv))
    if plot is not None:
        draw(rows, Path(plot))
    return rows


def _write_csv(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv_files.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw a line for each sparsity: bytes against top-1 accuracy or, without labels, agreement with the original."""
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
    labeled = rows[0].top1 is not None
    axes.set_xlabel("coded kB (the number at each point: bits a weight)")
    axes.set_ylabel("top-1 %" if labeled else "same best class as the original, %")
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
    batches = [answers(images[start : start + _BATCH]).numpy() for start in range(0, len(images), _BATCH)]
    return np.concatenate(batches).astype(np.float64)
