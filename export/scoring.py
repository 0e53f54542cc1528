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
from export.manifest import Artifact, Drop, Failure
from export.quantization.goal import Goal, check_held_back
from kerascnn.statistics import paired

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


def judge_drops(context: Context, outcome: Outcome, scores: Scores | None) -> None:
    """Refuse each artifact of mixed precisions that loses more than it may on photos that its search has not seen.

    Raises:
        RequestError: Too few of these could be read.
    """
    goal, photos = context.job.request.goal or Goal(), context.job.evaluation
    if scores is None or photos is None or goal.max_drop is None:
        return
    held = np.array([name in context.job.request.held_back for name in scores.photos])
    passed, outcome.passed = outcome.passed, []
    for one in passed:
        artifact, failure = one.artifact, None
        if artifact.precision == "auto":
            check_held_back(int(held.sum()))
            hits = (np.asarray(scores.hits[name])[held] for name in (artifact.path, "keras"))
            artifact = replace(artifact, drop=_drop(*hits))
            failure = _failure(context, artifact, goal.max_drop)
        if failure is None:
            outcome.passed.append(replace(one, artifact=artifact))
        else:
            outcome.rejected.append(failure)


def _drop(artifact: np.ndarray, original: np.ndarray) -> Drop:
    lost = paired(artifact, original)
    return Drop(100 * lost.difference, 100 * lost.low, 100 * lost.high, len(original))


def _failure(context: Context, artifact: Artifact, allowed: float) -> Failure | None:
    """Say what an artifact loses; remove it where that is too much."""
    drop = artifact.drop
    assert drop is not None
    sentence = (
        f"It loses {drop.points:.2f} points of top-1 on {drop.photos} photos held back from the search (95 % interval "
        f"{drop.low:.2f} to {drop.high:.2f})"
    )
    context.progress.note(f"{artifact.path}: {sentence}.")
    if drop.points <= allowed:
        return None
    for path in (artifact.path, *([artifact.packed.path] if artifact.packed else [])):
        (context.folder / path).unlink()
    reason = f"{sentence}; --max-drop allows {allowed:g}. Allow more points, or more bytes."
    return Failure(artifact.format, artifact.precision, reason)


def keras_runtime(job: Job, model: keras.Model) -> Runtime:
    """Run the Keras model on what the artifacts take."""
    runtime = open_keras(model)
    return replace(runtime, run=lambda images: runtime.run(job.to_model(images)))
