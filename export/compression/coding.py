"""Compression as a part of an export: the .kdc file, and what the manifest says of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.compression import recipe
from export.errors import ExportError, RequestError
from export.files import digest_of
from export.images import ImageSource
from export.job import COMPRESSION_PHOTOS, Job
from export.opening import LoadedModel, origin_of
from export.report.progress import Progress
from kerascnn.factory import create_model
from kerascnn.weights import WeightsError, container
from kerascnn.weights.container.header import Header

if TYPE_CHECKING:
    from export.compression.states import Score, State, Step


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
    """What the .kdc file of a model will say of it.

    Raises:
        RequestError: no such file can describe it.
    """
    labels = None if loaded.labels == origin_of(loaded.model)[1] else loaded.labels
    try:
        header = container.describe(loaded.model, labels=labels, trained=loaded.origin.trained)
    except ValueError as error:
        raise RequestError(f"{loaded.origin.name} cannot be compressed: {error}") from error
    return replace(header, preprocessing=loaded.preprocessing)


def compress_job(job: Job, folder: Path, images: np.ndarray, score: Score | None, progress: Progress) -> dict[str, Any]:
    """Compress the model of a job in place, write its .kdc file, and say what the manifest is to say.

    Args:
        job: what is exported.
        folder: where the file goes.
        images: what the network's answers before and after are compared on, as the artifacts take them.
        score: gives the accuracy of a model, where there are labelled photos.
        progress: told of each step.
    """
    assert job.request.compression is not None
    asked, model = job.request.compression, job.loaded.model
    photos = job.calibration
    if isinstance(photos, ImageSource):
        progress.step(f"{job.name}: reading photos to compress with")
        photos, _ = job.read(photos, COMPRESSION_PHOTOS)
    assert photos is not None
    before = _answers(job, images)
    steps = recipe.compress(
        model,
        job.to_model(photos),
        sparsity=asked.sparsity,
        bits=asked.bits,
        target_bytes=asked.target_bytes,
        score=score,
        progress=progress,
    )
    after = _answers(job, images)
    path = folder / f"{job.loaded.origin.stem}{container.SUFFIX}"
    progress.step(f"{job.name}: writing {path.name}")
    size = container.write(path, describe(job.loaded), container.arrays_of(model))
    try:
        container.check(path, create_model)
    except WeightsError as error:
        raise ExportError(f"The .kdc file cannot be read back: {error}") from error
    first, last = steps[0].before.accuracy, _last(steps).accuracy
    return {
        "path": path.name,
        "bytes": size,
        "sha256": digest_of(path),
        "float32_bytes": 4 * model.count_params(),
        "photos": len(photos),
        "steps": [_step(step) for step in steps],
        "divergence": float((np.exp(before) * (before - after)).sum(axis=-1).mean()),
        "top1_agreement": float((before.argmax(axis=-1) == after.argmax(axis=-1)).mean()),
        "original": asdict(first) if first else None,
        "difference": {"top1": last.top1 - first.top1, "top5": last.top5 - first.top5} if first and last else None,
    }


def _answers(job: Job, images: np.ndarray) -> np.ndarray:
    """The logarithms of the probabilities that the model gives images now."""
    from export.checking.runtimes import open_keras

    logits = open_keras(job.loaded.model).predict_with_logits(job.to_model(images)).logits
    logits = logits.reshape(len(images), -1).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _last(steps: list[Step]) -> State:
    state = steps[-1].after
    assert state is not None
    return state


def _step(step: Step) -> dict[str, Any]:
    before, after = asdict(step.before), asdict(step.after or step.before)
    return {"name": step.name, "options": dict(step.options), "before": before, "after": after}
