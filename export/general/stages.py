"""One export of such a network: fit the request, sample inputs, write, compare, describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from export import manifest as manifests
from export.attempts import attempt, reasons
from export.checking.accuracy import evaluate
from export.checking.latency import Latency, time_runs
from export.checking.runtimes import TensorSpec
from export.context import Context
from export.errors import ExportError, RequestError
from export.files import digest_of, size_of
from export.general.comparing import NamedParity, compare
from export.general.network import Network, network_of
from export.general.runtimes import OPEN, NamedRuntime
from export.general.samples import samples
from export.general.writing import WRITE, Writing, check_precision
from export.images import CALIBRATION_PHOTOS, ImageSource
from export.job import VERIFICATION_PHOTOS, Job, make_job
from export.manifest import THREADS, Failure
from export.proving.proof import Proof
from export.proving.proving import undecided
from export.stages import begin, finish

if TYPE_CHECKING:
    from export.opening import LoadedModel
    from export.request import Item, Request


@dataclass(frozen=True)
class NamedArtifact:
    """An artifact and what was measured of it: `manifest.Artifact`, with several inputs and outputs.

    Attributes:
        path, format, precision, bytes, sizes, packed, sha256, latency, accuracy, proofs: As there.
        input: The first of its inputs.
        output: The first of its outputs.
        inputs: All that it declares.
        outputs: All that it declares.
        parity: Output by output.
        steps: (scale, zero point) of quantized inputs and outputs by name.
    """

    path: str
    format: str
    precision: str
    bytes: int
    sizes: Mapping[str, int]
    packed: None
    sha256: str
    input: TensorSpec
    output: TensorSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: NamedParity
    latency: Latency
    steps: Mapping[str, tuple[float, int]]
    accuracy: Any = None
    proofs: list[Proof] = field(default_factory=list)


def fit(request: Request, loaded: LoadedModel) -> Job:
    """Fit a request to a network.

    Raises:
        RequestError: They do not go together.
    """
    network, name = network_of(loaded.model), loaded.origin.name
    if request.compression is not None:
        raise RequestError(f"{name} cannot be compressed: that is for networks with one image input and one output.")
    if request.include_preprocessing:
        raise RequestError(
            f"--include-preprocessing is for networks that take one image of floats, and {name} does not."
        )
    if request.max_arena is not None:
        raise RequestError(f"--max-arena is for networks that take one image of floats, and {name} does not.")
    request = replace(request, halves=False)
    precisions = {item.precision.name for item in request.items}
    for precision in (*precisions, *request.precisions):
        check_precision(name, precision, precisions)
    if request.calibration is not None and not isinstance(request.calibration, ImageSource):
        samples(network, request.calibration)
    if _takes_photos(network):
        return make_job(request, loaded)
    if isinstance(request.calibration, ImageSource) or request.evaluation is not None or request.preprocessing:
        raise RequestError(
            f"{name} takes {_words(network.inputs)} and gives {_words(network.outputs)}, which photos and their "
            "preprocessing are not for. Give calibration data as arrays by name: an .npz file (from Python: a "
            "dictionary)."
        )
    labels = loaded.labels if request.labels is None else request.labels
    if labels is not None and (len(network.outputs) != 1 or network.outputs[0].shape != (None, len(labels))):
        raise RequestError(f"{len(labels)} labels do not fit {name}, which gives {_words(network.outputs)}.")
    return Job(request, replace(loaded, preprocessing=None, labels=labels))


def make(context: Context) -> dict[str, Any]:
    """Write, verify and measure every artifact in the folder, and describe them there.

    Returns:
        The manifest.
    """
    context = begin(context)
    job, network = context.job, network_of(context.job.loaded.model)
    calibration, tried, kind = _inputs(context, network)
    context.step(f"running the Keras model on {kind}")
    reference = _reference(network, tried)
    writing = Writing(network, calibration, job.request.opset, job.metadata)
    passed: list[tuple[NamedArtifact, NamedRuntime]] = []
    rejected: list[Failure] = []
    for item in job.request.items:

        def one(item: Item = item) -> tuple[NamedArtifact, NamedRuntime]:
            return _make(context, item, writing, tried, reference)

        written, failure = attempt(context, item, one)
        passed += [written] if written else []
        rejected += [failure] if failure else []
    if not passed:
        raise ExportError(f"No artifact of {job.name} passed, and nothing was published. {reasons(rejected)}")
    manifest = _describe(context, network, kind, len(next(iter(tried.values()))), calibration)
    manifest["artifacts"] = [asdict(artifact) | {"created": manifest["created"]} for artifact, _ in passed]
    manifest["rejected"] = [asdict(failure) for failure in rejected]
    if job.evaluation is not None:
        _score(context, network, manifest, {artifact.path: runtime for artifact, runtime in passed})
    return finish(context, manifest)


def _takes_photos(network: Network) -> bool:
    """Whether it is one image in, and one score a class out."""
    inputs, outputs = network.inputs, network.outputs
    return len(inputs) == len(outputs) == 1 and len(inputs[0].shape) == 4 and len(outputs[0].shape) == 2


def _inputs(context: Context, network: Network) -> tuple[dict[str, np.ndarray] | None, dict[str, np.ndarray], str]:
    """Return calibration inputs or None, the inputs to compare on, and what these are."""
    job, given = context.job, context.job.request.calibration
    calibration, kind = None, "synthetic inputs"
    if isinstance(given, ImageSource):
        context.step("reading calibration photos")
        calibration, kind = _as_inputs(network, job.read(given, CALIBRATION_PHOTOS).images), "calibration photos"
    elif given is not None:
        calibration, kind = samples(network, given), "calibration inputs"
    if job.evaluation is not None:
        context.step("reading photos to verify with")
        return (
            calibration,
            _as_inputs(network, job.read(job.evaluation, VERIFICATION_PHOTOS).images),
            "evaluation photos",
        )
    return calibration, calibration or samples(network, None), kind


def _as_inputs(network: Network, images: np.ndarray) -> dict[str, np.ndarray]:
    (spec,) = network.inputs
    is_whole = np.issubdtype(np.dtype(spec.dtype), np.integer)
    return {spec.name: (np.round(images) if is_whole else images).astype(spec.dtype)}


def _reference(network: Network, tried: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from export.tracing.graph import computing_in_float32

    with computing_in_float32(network.model):
        answers = {name: np.asarray(value) for name, value in network.answer(tried).items()}
    for name, value in answers.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ExportError(
                f"The Keras model's own {name} has NaN or infinity on these inputs; look at its weights and inputs."
            )
    return {spec.name: answers[spec.name].astype(spec.dtype) for spec in network.outputs}


def _make(
    context: Context,
    item: Item,
    writing: Writing,
    tried: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
) -> tuple[NamedArtifact, NamedRuntime]:
    context.step(f"writing {item.title}")
    name = item.path(context.job.loaded.origin.stem)
    path = context.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITE[item.format.name](writing, path, item.precision)
    context.step(f"verifying {item.title}")

    @cache
    def open_artifact() -> NamedRuntime:
        return OPEN[item.format.name](path, THREADS)

    parity = compare(open_artifact, writing.network, item.precision, tried, reference)
    if not parity.passed:
        raise ExportError(" ".join(parity.failures))
    runtime = open_artifact()
    first = {key: values[:1] for key, values in tried.items()}
    artifact = NamedArtifact(
        path=name,
        format=item.format.name,
        precision=item.precision.name,
        bytes=size_of(path),
        sizes={},
        packed=None,
        sha256=digest_of(path),
        input=runtime.inputs[0],
        output=runtime.outputs[0],
        inputs=runtime.inputs,
        outputs=runtime.outputs,
        parity=parity,
        latency=time_runs(lambda: runtime.predict(first), runtime.threads),
        steps=runtime.steps,
    )
    return replace(artifact, proofs=undecided(context.job.request.provers, artifact)), runtime


@dataclass(frozen=True)
class _OnPhotos:
    """A runtime, or the model itself, as the evaluation calls it."""

    network: Network
    answer: Any

    def predict(self, images: np.ndarray) -> np.ndarray:
        answers = self.answer(_as_inputs(self.network, images))
        return np.asarray(answers[self.network.outputs[0].name])


def _score(context: Context, network: Network, manifest: dict[str, Any], runtimes: dict[str, NamedRuntime]) -> None:
    photos = context.job.evaluation
    assert photos is not None
    answers: dict[str, Any] = {path: _OnPhotos(network, runtime.predict) for path, runtime in runtimes.items()}
    answers["keras"] = _OnPhotos(network, network.answer)
    scores = evaluate(context.job.labeled_photos(), answers, lambda done: context.step(f"evaluating, {done} done"))
    if scores is None:
        raise RequestError(f"None of the photos in {photos.path} could be read.")
    keras_model = scores.accuracies["keras"]
    manifest["evaluation"] = asdict(
        manifests.Evaluation(photos.name, len(photos.names), scores.skipped, keras_model, scores.disagreements)
    )
    for artifact in manifest["artifacts"]:
        artifact["accuracy"] = asdict(scores.accuracies[artifact["path"]])


def _describe(context: Context, network: Network, kind: str, count: int, calibration: Any) -> dict[str, Any]:
    job = context.job
    origin, preprocessing = job.loaded.origin, job.loaded.preprocessing
    source = job.calibration.name if isinstance(job.calibration, ImageSource) else "arrays"
    described = manifests.Manifest(
        created=manifests.now(),
        model=manifests.Model(origin.name, origin.variant, dict(origin.options), job.sha256),
        weights=manifests.Weights(origin.trained, dict(origin.weights) if origin.weights else None),
        preprocessing={**asdict(preprocessing), "included": False} if preprocessing else None,
        labels=manifests.LABELS if job.loaded.labels else None,
        signature=manifests.Signature(network.inputs[0], network.outputs[0]),
        verification=manifests.Verification(count, kind, THREADS),
        calibration=None if calibration is None else manifests.Calibration(source, count, 0, count),
        evaluation=None,
        artifacts=[],
        rejected=[],
    )
    manifest = asdict(described)
    manifest["signature"] |= {
        "inputs": [asdict(spec) for spec in network.inputs],
        "outputs": [asdict(spec) for spec in network.outputs],
    }
    return manifest


def _words(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} ({spec.dtype} {list(spec.shape[1:])})" for spec in specs)
