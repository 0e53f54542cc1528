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
from export.images import ImageSource, spread
from export.job import CALIBRATION_PHOTOS, Job
from export.manifest import Failure
from export.quantization.goal import Goal
from kerascnn.statistics import paired

if TYPE_CHECKING:
    import keras

LEAST_HELD_BACK = 30  # photos


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
        RequestError: Fewer than LEAST_HELD_BACK evaluation photos were held back.
    """
    goal = context.job.request.goal or Goal()
    if scores is None or goal.max_drop is None:
        return
    calibration, evaluation = context.job.calibration, context.job.evaluation
    seen: set[str] = set()
    if isinstance(calibration, ImageSource) and evaluation is not None and calibration.path == evaluation.path:
        seen = set(spread(calibration.names, CALIBRATION_PHOTOS))
    held = np.array([name not in seen for name in scores.photos])
    for passed in [one for one in outcome.passed if one.artifact.precision == "auto"]:
        if held.sum() < LEAST_HELD_BACK:
            raise RequestError(
                f"{held.sum()} photos of --evaluate were not used to choose precisions, and {LEAST_HELD_BACK} are "
                "needed to prove the result. Give more, or others than those of --calibration-data."
            )
        found = paired(*(np.asarray(scores.hits[name])[held] for name in ("keras", passed.artifact.path)))
        drop = -100 * found.difference
        sentence = (
            f"It loses {drop:.2f} points of top-1 on {held.sum()} photos held back from the search (95 % interval "
            f"{-100 * found.high:.2f} to {-100 * found.low:.2f})"
        )
        context.progress.note(f"{passed.artifact.path}: {sentence}.")
        if drop > goal.max_drop:
            outcome.passed.remove(passed)
            packed = passed.artifact.packed
            for path in (passed.artifact.path, *([packed.path] if packed else [])):
                (context.folder / path).unlink()
            reason = f"{sentence}; --max-drop allows {goal.max_drop:g}. Allow more points, or more bytes."
            outcome.rejected.append(Failure(passed.artifact.format, passed.artifact.precision, reason))


def keras_runtime(job: Job, model: keras.Model) -> Runtime:
    """Run the Keras model on what the artifacts take."""
    runtime = open_keras(model)
    return replace(runtime, run=lambda images: runtime.run(job.to_model(images)))
