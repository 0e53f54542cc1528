"""One export, stage by stage, from the photos that it reads to the folder that it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from export import manifest as manifests
from export.app.stage import add_apps
from export.attempts import attempt, reasons
from export.checking.accuracy import Accuracy
from export.checking.latency import measure_latency
from export.checking.parity import Demands, verify
from export.checking.runtimes import Prediction, Runtime, open_keras
from export.checking.sizes import Sizes
from export.context import Context, Inputs, Outcome, Passed
from export.errors import ExportError
from export.files import digest_of, size_of
from export.formats.format import Source
from export.images import ImageSource
from export.job import COMPRESSION_PHOTOS, verification_images, with_preprocessing
from export.manifest import THREADS, Artifact, Failure
from export.proving.proving import prove
from export.quantization.goal import Goal
from export.report.writing import write_reports
from export.request import Item
from export.scoring import judge_drops, keras_runtime, score, score_artifacts
from export.signing import sign
from export.web.stage import add_page
from kerascnn.weights.container import arrays_of

if TYPE_CHECKING:
    import keras

FEW_IMAGES = 32  # for the precisions that these are enough for


def make(context: Context) -> dict[str, Any]:
    """Write, verify and measure every artifact in the folder, and describe them there.

    Returns:
        The manifest.

    Raises:
        RequestError: The artifacts cannot be added to what is there.
        ExportError: No artifact passed.
    """
    context = begin(context)
    inputs = read_images(context)
    compression = compress(context, inputs)
    with _worker() as worker:
        answering = worker.submit(answer, context, inputs)
        source = trace_network(context, inputs, answering)
        outcome = make_artifacts(context, source, inputs, answering, worker)
    reference = answering.result()
    prove(context, outcome, inputs.images, reference)
    if not outcome.passed and compression is None:
        raise ExportError(
            f"No artifact of {context.job.name} passed, and nothing was published. {reasons(outcome.rejected)}"
        )
    scores = score_artifacts(context, outcome, inputs, reference)
    judge_drops(context, outcome, scores)
    if compression is not None:
        compression["left_out"] = outcome.left_out
    manifest = asdict(
        replace(manifests.describe(context.job, inputs, source, outcome, scores), compression=compression)
    )
    return finish(context, manifest)


def begin(context: Context) -> Context:
    """Refuse what cannot be added to the artifacts that are there, and complete the job from what is said of them.

    Raises:
        RequestError: The artifacts cannot be added to what is there.
    """
    if context.earlier is None:
        return context
    context.earlier.check(context.job)
    return replace(context, job=context.earlier.completed(context.job))


def finish(context: Context, manifest: dict[str, Any]) -> dict[str, Any]:
    """Add the artifacts that stay, and write what describes all of them, the manifest and its signature last.

    Returns:
        The manifest of all of them.
    """
    if context.earlier is not None:
        manifest = context.earlier.add(manifest, context.folder, context.progress)
    manifest = add_apps(context, add_page(context, manifest))
    write_reports(context.job, manifest, context.folder, context.progress)
    manifests.write(manifest, context.folder)
    if context.job.request.sign is not None:
        context.step("signing")
        sign(context.folder, context.job.request.sign)
    return manifest


def read_images(context: Context) -> Inputs:
    """Read the calibration photos, and the images to compare artifacts on."""
    job, calibration, skipped = context.job, context.job.calibration, 0
    if isinstance(calibration, ImageSource):
        context.step("reading calibration photos")
        loaded = job.read(calibration, job.request.calibration_photos)
        calibration, skipped = loaded.images, len(loaded.skipped)
    coarse = any(item.precision.needs_photos for item in job.request.items)
    if calibration is not None and coarse and job.request.compression is None:
        from export.quantization.calibration import check_photos

        # A compression warns of the photos that it reads itself.
        warning = check_photos(calibration)
        if warning:
            context.progress.warn(warning)
    context.step("reading the images to verify with")
    return Inputs(calibration, skipped, *verification_images(job, calibration))


def compress(context: Context, inputs: Inputs) -> dict[str, Any] | None:
    """Make the model smaller in place and write its .kdc file, where that was asked for.

    Returns:
        What the manifest says of it.
    """
    job = context.job
    if job.request.compression is None:
        return None
    from export.compression.coding import Evidence, compress_to_file

    def accuracy(model: keras.Model) -> Accuracy:
        return score(context, {"keras": keras_runtime(job, model)}).accuracies["keras"]

    photos = job.calibration
    if isinstance(photos, ImageSource):
        context.step("reading photos to compress with")
        photos = job.read(photos, COMPRESSION_PHOTOS).images
    assert photos is not None
    evidence = Evidence(job.to_model(photos), job.to_model(inputs.images), accuracy if job.evaluation else None)
    return asdict(compress_to_file(job.loaded, job.request.compression, evidence, context.folder, context.progress))


def answer(context: Context, inputs: Inputs) -> Prediction:
    """Run the Keras model, with which every artifact is compared."""
    from export.tracing.graph import computing_in_float32

    job = context.job
    context.step(f"running the Keras model on {len(inputs.images)} images")
    with computing_in_float32(job.loaded.model):  # artifacts are made of it, where the model is in mixed precision
        runtime = open_keras(job.loaded.model, many=len(inputs.images) > FEW_IMAGES)
        return runtime.predict_with_logits(job.to_model(inputs.images))


def trace_network(context: Context, inputs: Inputs, answering: Future[Prediction]) -> Source:
    """Trace the network, once for all formats; where its end does not say what it answers, after it has answered."""
    from export.tracing.graph import computes_in_float32, trace
    from kerascnn.surgery.logits import without_softmax

    job = context.job
    network = job.loaded.model
    # The layers of a network in mixed precision are changed while it answers.
    known = computes_in_float32(network) and without_softmax(network) is not None
    kind = "probabilities" if known else answering.result().kind
    context.step("tracing")
    traced = trace(with_preprocessing(job), output_name=kind)
    return Source(
        traced,
        inputs.calibration,
        job.reading,
        job.loaded.labels,
        job.request.opset,
        job.metadata,
        job.request.goal or Goal(),
    )


def make_artifacts(
    context: Context, source: Source, inputs: Inputs, answering: Future[Prediction], worker: ThreadPoolExecutor
) -> Outcome:
    """Write artifacts one after another, and verify each while others are written; remove those that fail.

    They are timed in the end, when nothing else is done.
    """
    items, outcome = context.job.request.items, Outcome()
    checks: dict[Item, Failure | Future[tuple[Passed | None, Failure | None]]] = {}
    # A SavedModel takes seconds to write; what is written before it can be verified meanwhile.
    quickest = next((item for item in items if item.format.name != "saved_model"), None)
    for item in sorted(items, key=lambda item: item != quickest):
        _, failure = attempt(context, item, partial(_write, context, item, source))
        check = partial(_verified, context, item, source, inputs.images, answering)
        checks[item] = failure or worker.submit(attempt, context, item, check)
    answering.result()  # its error is that of all
    checked = {item: (None, one) if isinstance(one, Failure) else one.result() for item, one in checks.items()}
    for item in items:
        passed, failure = checked[item]
        if passed is not None:
            context.step(f"timing {item.title}")
            timed = replace(passed.artifact, latency=measure_latency(passed.runtime, inputs.images[0]))
            outcome.passed.append(replace(passed, artifact=timed))
        if failure is not None:
            (outcome.left_out if item.optional else outcome.rejected).append(failure)
    return outcome


@contextmanager
def _worker() -> Iterator[ThreadPoolExecutor]:
    """Start a thread that answers and verifies while this one writes; it stops soon where the block fails.

    Runtimes leave Python alone while they compute. One thread is enough: they have threads of their own, and those of
    two runtimes would wait for one another.
    """
    pool = ThreadPoolExecutor(1, "worker")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write(context: Context, item: Item, source: Source) -> None:
    context.step(f"writing {item.title}")
    path = context.folder / item.path(context.job.loaded.origin.stem)
    path.parent.mkdir(parents=True, exist_ok=True)
    item.format.write(source, path, item.precision)


def _verified(
    context: Context, item: Item, source: Source, images: np.ndarray, answering: Future[Prediction]
) -> Passed:
    """Compare a written artifact with the Keras model, in its own runtime.

    Raises:
        ExportError: It does not pass; the message says why.
    """
    reference = answering.result()
    context.step(f"verifying {item.title}")
    name = item.path(context.job.loaded.origin.stem)
    path = context.folder / name

    @cache  # loaded once, for the comparison and for what is measured after it
    def open_artifact() -> Runtime:
        return item.format.open(path, THREADS)

    # Photos that artifacts are scored on have to be answered anyway, and here the writing of others leaves a core free.
    if item.precision.needs_few_images and context.job.evaluation is None:
        images = images[:FEW_IMAGES]
        reference = replace(reference, output=reference.output[:FEW_IMAGES], logits=reference.logits[:FEW_IMAGES])
    expected = item.format.specifications(item.precision, *source.interface)
    demands = Demands(item.precision, *expected, real_images=context.job.has_photos)
    with item.format.checking(path, source) as check:
        parity, prediction = verify(open_artifact, reference, images, demands)
        if prediction is None or not parity.passed:
            raise ExportError(" ".join(parity.failures))
        runtime = open_artifact()
        check(runtime)
        details = item.format.details(path, images, prediction.output)
    sizes = Sizes()
    if context.job.request.compression is not None:
        kernels = [array for array in arrays_of(context.job.loaded.model).values() if array.ndim in (2, 4)]
        sizes = item.format.sizes(context.folder, name, THREADS, kernels)
    artifact = Artifact(
        path=name,
        format=item.format.name,
        precision=item.precision.name,
        bytes=size_of(path),
        sizes=sizes.numbers(),
        packed=sizes.packed,
        sha256=digest_of(path),
        input=demands.input,
        output=demands.output,
        parity=parity,
        steps=runtime.steps,
    )
    return Passed(artifact, runtime, prediction.output, details)
