"""Compress as a part of an export: write the .kdc file, and say what the manifest records of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.compression import recipe
from export.errors import ExportError, RequestError
from export.files import digest_of
from export.opening import LoadedModel, origin_of
from export.report.progress import Progress
from kerascnn.factory import create_model
from kerascnn.statistics import compare, log_probabilities
from kerascnn.weights import WeightsError, container
from kerascnn.weights.container.header import Header

if TYPE_CHECKING:
    import keras

    from export.checking.accuracy import Accuracy
    from export.compression.states import Score, Step
    from export.job import Job
    from export.request import Compression


@dataclass(frozen=True)
class Evidence:
    """What a compression is led by and judged on; images are float32, as the model takes them.

    Attributes:
        photos: to measure with which weights matter.
        images: to compare the network's answers on, before and after.
        score: gives the accuracy of a model; None without labeled photos.
    """

    photos: np.ndarray
    images: np.ndarray
    score: Score | None = None


@dataclass(frozen=True)
class Compressed:
    """What the manifest records of a compression, in the order of its fields.

    Attributes:
        path: name of the .kdc file.
        bytes: size of the .kdc file.
        sha256: of the .kdc file.
        float32_bytes: what the weights take in float32.
        photos: how many it was compressed with.
        steps: with the network before and after each.
        divergence: from the original network, in nats a photo.
        top1_agreement: share of photos with the best class of the original network.
        original: accuracy of the original network, where it was scored.
        difference: in accuracy, by `top1` and `top5`, where it was scored.
    """

    path: str
    bytes: int
    sha256: str
    float32_bytes: int
    photos: int
    steps: list[Step]
    divergence: float
    top1_agreement: float
    original: Accuracy | None
    difference: Mapping[str, float] | None


def check(job: Job) -> None:
    """Refuse a model that cannot be compressed as asked, or that no .kdc file can describe.

    Raises:
        RequestError: It is one of these.
    """
    assert job.request.compression is not None
    asked = job.request.compression
    recipe.check(job.loaded.model, asked.sparsity, asked.bits, asked.target_bytes)
    describe(job.loaded)


def describe(loaded: LoadedModel) -> Header:
    """Return what the .kdc file of a model will say of it.

    Raises:
        RequestError: no such file can describe it.
    """
    labels = None if loaded.labels == origin_of(loaded.model)[1] else loaded.labels
    try:
        header = container.describe(loaded.model, labels=labels, trained=loaded.origin.trained)
    except ValueError as error:
        raise RequestError(f"{loaded.origin.name} cannot be compressed: {error}") from error
    return replace(header, preprocessing=loaded.preprocessing)


def compress_to_file(
    loaded: LoadedModel, goal: Compression, evidence: Evidence, folder: Path, progress: Progress
) -> Compressed:
    """Compress a model in place, and write its .kdc file to `folder`.

    Args:
        loaded: its model is changed in place.
        goal: how small it is to be.
        evidence: the images to compress with and to judge by.
        folder: where the file goes.
        progress: is given each step.

    Raises:
        RequestError: the model cannot be compressed so.
        ExportError: the file cannot be read back.
    """
    model, name = loaded.model, loaded.origin.name
    before = _answers(model, evidence.images)
    steps = recipe.compress(
        model,
        evidence.photos,
        sparsity=goal.sparsity,
        bits=goal.bits,
        target_bytes=goal.target_bytes,
        score=evidence.score,
        progress=progress,
    )
    divergence, agreement = compare(before, _answers(model, evidence.images))
    path = folder / f"{loaded.origin.stem}{container.SUFFIX}"
    progress.step(f"{name}: writing {path.name}")
    size = container.write(path, describe(loaded), container.arrays_of(model))
    try:
        container.check(path, create_model)
    except WeightsError as error:
        raise ExportError(f"The .kdc file cannot be read back: {error}") from error
    first, last = steps[0].before.accuracy, steps[-1].after.accuracy
    return Compressed(
        path=path.name,
        bytes=size,
        sha256=digest_of(path),
        float32_bytes=4 * model.count_params(),
        photos=len(evidence.photos),
        steps=steps,
        divergence=divergence,
        top1_agreement=agreement,
        original=first,
        difference={"top1": last.top1 - first.top1, "top5": last.top5 - first.top5} if first and last else None,
    )


def _answers(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities that the model gives images now."""
    from export.checking.runtimes import open_keras

    return log_probabilities(open_keras(model).predict_with_logits(images).logits)
