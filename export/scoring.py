"""Score the Keras model and its artifacts on the evaluation photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from export.checking.accuracy import Scores, evaluate
from export.checking.runtimes import Prediction, Runtime, open_keras
from export.context import Context, Inputs, Outcome
from export.errors import RequestError
from export.job import Job

if TYPE_CHECKING:
    import keras


def score_artifacts(context: Context, outcome: Outcome, inputs: Inputs, reference: Prediction) -> Scores | None:
    """Score the Keras model and each artifact on the evaluation photos, where there are any.

    What was answered when artifacts were compared is not asked again.
    """
    from export.tracing.graph import computes_in_float32

    job = context.job
    if job.evaluation is None:
        return None
    runtimes = {passed.artifact.path: passed.runtime for passed in outcome.passed}
    answered = {passed.artifact.path: passed.outputs for passed in outcome.passed}
    if computes_in_float32(job.loaded.model):
        answered["keras"] = reference.output
    known = {path: dict(zip(inputs.names, outputs, strict=False)) for path, outputs in answered.items()}
    return score(context, {**runtimes, "keras": keras_runtime(job, job.loaded.model)}, known)


def score(
    context: Context, runtimes: dict[str, Runtime], known: Mapping[str, Mapping[str, np.ndarray]] | None = None
) -> Scores:
    """Score runtimes on the evaluation photos.

    Args:
        context: The export.
        runtimes: By the path of the artifact; the Keras model as "keras".
        known: What they have answered before, by the name of the photo.

    Raises:
        RequestError: None of the photos can be read.
    """
    assert context.job.evaluation is not None
    total = len(context.job.evaluation.names)

    def step(done: int) -> None:
        context.step(f"evaluating, {done} of {total} photos done")

    scores = evaluate(context.job.labeled_photos(), runtimes, step, known)
    if scores is None:
        raise RequestError(f"None of the photos in {context.job.evaluation.path} could be read.")
    return scores


def keras_runtime(job: Job, model: keras.Model) -> Runtime:
    """Run the Keras model on what the artifacts take."""
    runtime = open_keras(model)
    return replace(runtime, run=lambda images: runtime.run(job.to_model(images)))
