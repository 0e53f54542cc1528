"""One export: trace once → write each artifact → verify each → measure → manifest and report → one rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import manifest as manifests
from export import publishing
from export.errors import ExportError, RequestError
from export.job import (
    CALIBRATION_PHOTOS,
    COMPRESSION_PHOTOS,
    Job,
    Photos,
    described,
    find_preprocessing,
    make_job,
    verification_images,
    with_preprocessing,
)
from export.opening import LoadedModel, first_line, origin_of
from export.report import text as report
from export.report.progress import Progress, Silent
from export.request import FORMATS, Compression, Item, Plan, make_plan, read_labels

if TYPE_CHECKING:
    import keras

    from export.checking.accuracy import Accuracy
    from export.checking.latency import Latency
    from export.checking.parity import Parity
    from export.checking.runtimes import Prediction, Runtime, TensorSpec
    from export.checking.sizes import Sizes
    from export.tracing.graph import TracedModel
    from kerascnn.photos.preprocessing import Preprocessing

THREADS = 2
FEWER_IMAGES = 32  # enough for float artifacts, whose error is the same on every image; int16x8 takes seconds an image


def export(
    model: keras.Model,
    output: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    precisions: Sequence[str] = (),
    calibration: np.ndarray | str | Path | None = None,
    evaluate: str | Path | None = None,
    labels: Sequence[str] | str | Path | None = None,
    preprocessing: Preprocessing | str | None = None,
    include_preprocessing: bool = False,
    opset: int = 17,
    compress: bool | Compression = False,
) -> dict[str, Any]:
    """Export any functional Keras model with one image input and one output, verify it, and publish the folder.

    Args:
        model: the model; one that kerascnn built brings its preprocessing and class names.
        output: the folder to make or, where an earlier export made it, to replace.
        formats: of "saved_model", "tflite" and "onnx".
        precisions: more files, beside the float32 ones: of "float16", "dynamic", "int8", "int8-io", "int16x8",
            "int4", "sparse-float16", "sparse-dynamic" and "sparse-int8" for TFLite, "int8" for ONNX.
        calibration: for int8: a folder or .zip of photos, or float32 inputs [n, height, width, channels] as the
            artifact will take them.
        evaluate: a folder or .zip of photos in folders named by class name, WordNet id or class index.
        labels: class names in the order of the outputs, or a file with one a line.
        preprocessing: how photos are prepared: a `Preprocessing`, the name of weights such as "squeezenet/imagenet",
            or one of `NORMALIZATIONS` there. Needed with photos where the model does not bring it.
        include_preprocessing: put channel order, mean and scale into the artifacts, which then take RGB 0 to 255.
        opset: ONNX operator set.
        compress: make the network smaller first, and write a .kdc file beside the artifacts, and sparse .tflite files
            where they are smaller; the model itself is left as it was. Needs `calibration`. True, or
            `export.request.Compression` to say how.

    Returns:
        The manifest that was written.

    Raises:
        RequestError: what was asked for cannot be done as asked; nothing was written.
        ExportError: something failed. Artifacts that passed are published nonetheless, and the message says so.
    """
    compression = Compression() if compress is True else compress or None
    plan = make_plan(formats, precisions, opset=opset, compression=compression)
    origin, known = origin_of(model)
    if isinstance(labels, str | Path):
        labels = read_labels(Path(labels))
    loaded = LoadedModel(
        model,
        origin,
        find_preprocessing(model, preprocessing),
        tuple(labels) if labels is not None else known,
    )
    return run(
        loaded,
        Path(output),
        plan,
        calibration=Path(calibration) if isinstance(calibration, str) else calibration,
        evaluate=Path(evaluate) if evaluate is not None else None,
        include_preprocessing=include_preprocessing,
    )


class Rejected(ExportError):
    """Some artifacts failed; `manifest` describes those that were published."""

    def __init__(self, message: str, manifest: dict[str, Any]):
        super().__init__(message)
        self.manifest = manifest


def run(
    loaded: LoadedModel,
    target: Path,
    plan: Plan,
    *,
    calibration: np.ndarray | Path | None = None,
    evaluate: Path | None = None,
    include_preprocessing: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Carry out a plan; see `export` for arguments, results and errors."""
    from kerascnn.layers.auxiliary import inference_model

    progress = progress or Silent()
    loaded = replace(loaded, model=inference_model(loaded.model))  # auxiliary classifiers are for training
    job = make_job(loaded, plan, calibration, evaluate, include_preprocessing)
    weights = 4 * loaded.model.count_params()
    publishing.check_space(target, int(1.2 * weights * len(plan.items)) + 10_000_000)
    original = loaded.model.get_weights() if plan.compression else None
    try:
        with publishing.staging(target, waiting=progress.step) as folder:
            manifest = _make(job, folder, progress)
            progress.step(f"{job.name}: publishing")
            publishing.publish(folder, target)
    except OSError as error:
        if publishing.disk_full(error):
            raise ExportError(
                f"The disk of {target} is full. Nothing was published; free some space and run it again."
            ) from error
        raise ExportError(f"{target} could not be written: {error}. Nothing was published.") from error
    finally:
        if original is not None:
            loaded.model.set_weights(original)
    if manifest["rejected"]:
        raise Rejected(
            f"{_reasons(manifest['rejected'])} What failed was not published; the rest is in {target}.", manifest
        )
    return manifest


@dataclass(frozen=True)
class _Made:
    """An artifact that passed."""

    item: Item
    path: str
    runtime: Runtime
    specs: tuple[TensorSpec, TensorSpec]
    parity: Parity
    latency: Latency
    sizes: Sizes


def _make(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write, verify and measure every artifact in `folder`, and describe them there."""
    from export.checking.runtimes import TensorSpec, open_keras
    from export.report import page
    from export.tracing.graph import computing_in_float32, trace

    unread = {"calibration": 0, "evaluation": 0}
    calibration = job.calibration
    if isinstance(calibration, Photos):
        progress.step(f"{job.name}: reading calibration photos")
        calibration, unread["calibration"] = job.read(calibration, CALIBRATION_PHOTOS)
    if calibration is not None and job.plan.needs_calibration and job.plan.compression is None:
        from export.quantization.calibration import check_photos

        # A compression warns of the photos that it reads itself.
        warning = check_photos(calibration)
        if warning:
            progress.warn(warning)
    progress.step(f"{job.name}: reading the images to verify with")
    images, image_source = verification_images(job, calibration)
    compressed: dict[str, Any] | None = None
    if job.plan.compression is not None:
        from export.compression.coding import Evidence, compress_to_file

        def score(model: keras.Model) -> Accuracy:
            runtime = open_keras(model)
            runtimes = {"keras": replace(runtime, run=lambda batch: runtime.run(job.to_model(batch)))}
            return _evaluate(job, runtimes, progress)[0]["keras"]

        photos = job.calibration
        if isinstance(photos, Photos):
            progress.step(f"{job.name}: reading photos to compress with")
            photos, _ = job.read(photos, COMPRESSION_PHOTOS)
        assert photos is not None
        evidence = Evidence(job.to_model(photos), job.to_model(images), score if job.evaluation else None)
        compressed = asdict(compress_to_file(job.loaded, job.plan.compression, evidence, folder, progress))
    progress.step(f"{job.name}: running the Keras model on {len(images)} images")
    keras_model = open_keras(job.loaded.model)
    with computing_in_float32(
        job.loaded.model
    ):  # what the artifacts are made of, where the model is in mixed precision
        reference = keras_model.predict_with_logits(job.to_model(images))
    progress.step(f"{job.name}: tracing")
    traced = trace(with_preprocessing(job), output_name=_output_name(reference))
    specs = (
        TensorSpec(traced.input_name, tuple(traced.input_shape), "float32"),
        TensorSpec(traced.output_name, tuple(traced.output_shape), "float32"),
    )

    made: list[_Made] = []
    rejected: list[dict[str, str]] = []
    left_out: list[dict[str, str]] = []
    for item in job.plan.items:
        path = item.path(job.loaded.origin.stem)
        try:
            progress.step(f"{job.name}: writing {item.title}")
            _write(job, item, traced, folder / path, calibration)
            progress.step(f"{job.name}: verifying {item.title}")
            made.append(_verified(job, item, folder, path, specs, reference, images))
        except RequestError:
            raise
        except Exception as error:  # converters raise whatever they like; one bad artifact must not cost the others
            if publishing.disk_full(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            failed = {"format": item.format, "precision": item.precision, "reason": first_line(error)}
            (left_out if item.optional else rejected).append(failed)
            _remove(folder / path)
    if not made and compressed is None:
        raise ExportError(f"No artifact of {job.name} passed, and nothing was published. {_reasons(rejected)}")

    accuracies: dict[str, Accuracy] = {}
    differing: dict[str, Any] | None = None
    if job.evaluation is not None:
        runtimes = {one.path: one.runtime for one in made}
        runtimes["keras"] = replace(keras_model, run=lambda batch: keras_model.run(job.to_model(batch)))
        accuracies, unread["evaluation"], differing = _evaluate(job, runtimes, progress)
    preprocessing = job.loaded.preprocessing
    manifest = manifests.make(
        job.loaded.origin,
        preprocessing={**asdict(preprocessing), "included": job.included is not None} if preprocessing else None,
        labels="labels.txt" if job.loaded.labels else None,
        signature={"input": asdict(specs[0]), "output": asdict(specs[1])},
        verification={"images": len(images), "source": image_source, "threads": THREADS},
        calibration=described(
            job.calibration, unread["calibration"], images=0 if calibration is None else len(calibration)
        ),
        evaluation=described(
            job.evaluation,
            unread["evaluation"],
            keras=asdict(accuracies["keras"]) if accuracies else None,
            disagreements=differing,
        ),
        artifacts=[
            manifests.artifact_entry(
                folder, one.item, one.path, one.specs, one.parity, one.latency, accuracies.get(one.path), one.sizes
            )
            for one in made
        ],
        rejected=rejected,
        compression=None if compressed is None else {**compressed, "left_out": left_out},
    )
    if job.loaded.labels:
        (folder / "labels.txt").write_text("\n".join(job.loaded.labels) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(manifest), encoding="utf-8")
    if page.available():
        progress.step(f"{job.name}: writing report.html")
        try:
            page.write(job, manifest, folder)
        except OSError:
            raise
        except Exception as error:  # a chart must not cost the artifacts
            progress.warn(f"report.html of {job.name} could not be written: {first_line(error)}")
    manifests.write(manifest, folder)
    return manifest


def _reasons(rejected: list[dict[str, str]]) -> str:
    return " ".join(f"{row['format']} {row['precision']}: {row['reason'].rstrip('.')}." for row in rejected)


def _output_name(reference: Prediction) -> str:
    if reference.has_softmax or _sums_to_one(reference.output):  # an ensemble may end in the mean of several softmaxes
        return "probabilities"
    return "scores" if reference.output.ndim == 2 else "features"


def _sums_to_one(output: np.ndarray) -> bool:
    return output.ndim == 2 and bool((output >= 0).all() and np.allclose(output.sum(axis=1), 1, atol=1e-4))


def _write(job: Job, item: Item, traced: TracedModel, path: Path, calibration: np.ndarray | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if item.format == "saved_model":
        from export.formats.saved_model import write_saved_model

        write_saved_model(traced, path, preprocessing=job.reading, labels=job.loaded.labels)
    elif item.format == "tflite":
        from export.formats.tflite import write_tflite

        write_tflite(traced, path, item.precision, calibration)
    else:
        from export.formats.onnx import write_onnx

        write_onnx(traced, path, item.precision, calibration, opset=job.plan.opset, metadata=manifests.metadata(job))


def _verified(
    job: Job,
    item: Item,
    folder: Path,
    path: str,
    specs: tuple[TensorSpec, TensorSpec],
    reference: Prediction,
    images: np.ndarray,
) -> _Made:
    """Hold the written artifact against the Keras model, in its own runtime.

    Raises:
        ExportError: it does not pass; the message says why.
    """
    from export.checking.latency import measure_latency
    from export.checking.parity import verify
    from export.checking.runtimes import expected_specs, open_artifact
    from export.checking.sizes import Sizes, measure_sizes

    @cache  # loaded once, for the comparison and for what is measured after it
    def open_it() -> Runtime:
        return open_artifact(folder / path, item.format, THREADS)

    if item.precision in ("float32", "float16", "int16x8", "sparse-float16"):
        images = images[:FEWER_IMAGES]
        reference = replace(reference, output=reference.output[:FEWER_IMAGES], logits=reference.logits[:FEWER_IMAGES])
    expected = expected_specs(item.format, item.precision, *specs)
    parity = verify(
        open_it,
        reference,
        images,
        precision=item.precision,
        input_spec=expected[0],
        output_spec=expected[1],
        real_images=job.has_photos,
    )
    if not parity.passed:
        raise ExportError(" ".join(parity.failures))
    runtime = open_it()
    if item.format == "saved_model":
        from export.checking.photo_signatures import check_photo_signatures

        check_photo_signatures(runtime, folder / path, job.reading, job.loaded.labels)
    latency = measure_latency(runtime, images[0])
    measured = job.plan.compression is not None and item.format == "tflite"
    sizes = measure_sizes(folder, path, THREADS) if measured else Sizes()
    return _Made(item, path, runtime, expected, parity, latency, sizes)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        path.parent.rmdir()  # saved_model/, which held the version folder alone
    path.unlink(missing_ok=True)


def _evaluate(
    job: Job, runtimes: dict[str, Runtime], progress: Progress
) -> tuple[dict[str, Accuracy], int, dict[str, Any]]:
    """Accuracy of the Keras model and each artifact, how many photos could not be read, where the artifacts differ."""
    from export.checking.accuracy import Accuracy, accuracy
    from export.checking.disagreements import disagreements, summary

    assert job.evaluation is not None
    found = {name: np.zeros(2) for name in runtimes}
    count = skipped = 0
    differing: list[dict[str, Any]] = []
    for images, labels, names, unread in job.labelled_chunks():
        skipped += unread
        progress.step(f"{job.name}: evaluating, {count + skipped} of {len(job.evaluation.source.names)} photos done")
        if labels:
            scores = {name: runtime.predict(images) for name, runtime in runtimes.items()}
            for name, answers in scores.items():
                chunk = accuracy(answers, labels)
                found[name] += np.array([chunk.top1, chunk.top5]) * len(labels)
            differing += disagreements(names, labels, scores)
        count += len(labels)
    if not count:
        raise RequestError(f"None of the photos in {job.evaluation.source.path} could be read.")
    accuracies = {name: Accuracy(float(hits[0] / count), float(hits[1] / count), count) for name, hits in found.items()}
    return accuracies, skipped, summary(differing)
