"""manifest.json: what was exported, from what, with which versions, and what was measured (see docs/manifest.md).

The records here become JSON under the names and in the order of their fields.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.files import digest_of, files_of, size_of
from export.images import ImageSource
from export.proving.proof import Place, Proof

if TYPE_CHECKING:
    from export.checking.accuracy import Accuracy, Scores
    from export.checking.latency import Latency
    from export.checking.parity import Parity
    from export.checking.runtimes import TensorSpec
    from export.checking.sizes import Packed
    from export.context import Inputs, Outcome
    from export.formats.format import Source
    from export.job import Job

SCHEMA_VERSION = 1
LABELS = "labels.txt"
THREADS = 2  # with which artifacts are compared and timed
_PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class Model:
    """The network that was exported.

    Attributes:
        name: Its name.
        variant: kerascnn's builder, or None.
        options: The builder's options other than the defaults.
        sha256: Of its layers and weights, see `export.identity`.
    """

    name: str
    variant: str | None
    options: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True)
class Weights:
    """Whether the weights are trained (None: not known), and where they come from."""

    trained: bool | None
    source: Mapping[str, Any] | None


@dataclass(frozen=True)
class Signature:
    """What the network takes and gives."""

    input: TensorSpec
    output: TensorSpec


@dataclass(frozen=True)
class Verification:
    """How many images the artifacts were compared on, what these are, and with how many threads."""

    images: int
    source: str
    threads: int


@dataclass(frozen=True)
class Calibration:
    """What steps and ranges were chosen with.

    Attributes:
        source: The name of the folder or zip, or "array".
        photos: How many it holds.
        skipped: How many files could not be read.
        images: How many images the ranges were calibrated on.
    """

    source: str
    photos: int
    skipped: int
    images: int


@dataclass(frozen=True)
class Evaluation:
    """The photos that artifacts were scored on.

    Attributes:
        source: The name of the folder or zip.
        photos: How many it holds.
        skipped: How many files could not be read.
        keras: The accuracy of the Keras model.
        disagreements: The photos on which an artifact answers otherwise than the Keras model.
    """

    source: str
    photos: int
    skipped: int
    keras: Accuracy
    disagreements: Mapping[str, Any]


@dataclass(frozen=True)
class Drop:
    """What a mixture of precisions loses on photos that it was not chosen with.

    Attributes:
        points: Of top-1 accuracy; below 0 where it gains.
        low: The lower end of the 95 % interval.
        high: The upper end.
        photos: How many they are.
    """

    points: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True)
class Artifact:
    """One artifact, a file or a folder, and what was measured of it.

    Attributes:
        path: Relative to the manifest.
        format: The name of its format.
        precision: The name of its precision.
        bytes: The bytes of its files.
        sizes: Other sizes in bytes, by name.
        packed: The copy for transport that lies beside it.
        sha256: The SHA-256 of the file; of a folder, see `files.digest_of`.
        input: What it declares as its input.
        output: What it declares as its output.
        parity: How close it is to the Keras model.
        steps: (scale, zero point) of a quantized input or output, by its name.
        latency: How long it takes to answer; None until it is timed.
        accuracy: On the evaluation photos; None where there are none.
        drop: What a mixture of precisions loses, where `--max-drop` says what it may.
        proofs: What became of it in each runtime, the one that it was verified in first.
        created: When the export that made it ended, as `Manifest.created`.
    """

    path: str
    format: str
    precision: str
    bytes: int
    sizes: Mapping[str, int]
    packed: Packed | None
    sha256: str
    input: TensorSpec
    output: TensorSpec
    parity: Parity
    steps: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    latency: Latency | None = None
    accuracy: Accuracy | None = None
    drop: Drop | None = None
    proofs: list[Proof] = field(default_factory=list)
    created: str = ""


@dataclass(frozen=True)
class Failure:
    """An artifact that was not published, and why."""

    format: str
    precision: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """All that is said of a folder. What is said of an export is said of the last one.

    Attributes:
        earlier: The earlier exports from which artifacts are still there: their `created`, `versions`, `verification`,
            `calibration` and `evaluation`. An artifact's `created` names its export.
        compression: What was done to make the network smaller.
        web: The page for browsers, see `export.web`.
        apps: The projects of apps for phones, see `export.app`.
    """

    schema_version: int = field(default=SCHEMA_VERSION, init=False)
    created: str
    model: Model
    weights: Weights
    versions: Mapping[str, str] = field(default_factory=lambda: versions(), init=False)
    preprocessing: Mapping[str, Any] | None
    labels: str | None
    signature: Signature
    verification: Verification
    calibration: Calibration | None
    evaluation: Evaluation | None
    artifacts: list[Artifact]
    rejected: list[Failure]
    earlier: list[Mapping[str, Any]] = field(default_factory=list)
    compression: Mapping[str, Any] | None = None
    web: Mapping[str, Any] | None = None
    apps: list[Mapping[str, Any]] = field(default_factory=list)


def describe(job: Job, inputs: Inputs, source: Source, outcome: Outcome, scores: Scores | None) -> Manifest:
    """Say what was exported, from what, and what was measured."""
    loaded = job.loaded
    origin, preprocessing, photos = loaded.origin, loaded.preprocessing, job.evaluation
    calibration = evaluation = None
    if inputs.calibration is not None:
        count = len(inputs.calibration)
        calibration = Calibration("array", count, 0, count)
        if isinstance(job.calibration, ImageSource):
            calibration = Calibration(job.calibration.name, len(job.calibration.names), inputs.skipped, count)
    if scores is not None and photos is not None:
        keras_model = scores.accuracies["keras"]
        evaluation = Evaluation(photos.name, len(photos.names), scores.skipped, keras_model, scores.disagreements)
    created = now()
    accuracies = scores.accuracies if scores else {}
    return Manifest(
        created=created,
        model=Model(origin.name, origin.variant, dict(origin.options), job.sha256),
        weights=Weights(origin.trained, dict(origin.weights) if origin.weights else None),
        preprocessing={**asdict(preprocessing), "included": job.included is not None} if preprocessing else None,
        labels=LABELS if loaded.labels else None,
        signature=Signature(*source.interface),
        verification=Verification(len(inputs.images), inputs.kind, THREADS),
        calibration=calibration,
        evaluation=evaluation,
        artifacts=[
            replace(passed.artifact, accuracy=accuracies.get(passed.artifact.path), created=created)
            for passed in outcome.passed
        ],
        rejected=outcome.rejected,
    )


def now() -> str:
    """Return the time of an export."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def versions() -> dict[str, str]:
    """Return the versions of kerascnn, Python and the packages that take part in an export."""
    import kerascnn

    installed = {"kerascnn": kerascnn.__version__, "python": platform.python_version()}
    found = {package: Place(package, package, package).version for package in _PACKAGES}
    installed |= {package: version for package, version in found.items() if version}
    return installed


def write(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write manifest.json, which also names every file of the folder, with its size and SHA-256.

    By the names a later export knows what it can replace, by the rest `python -m export verify` finds what changed.

    Args:
        manifest: The fields of a `Manifest`.
        folder: The folder of the export, complete but for this file.
    """
    files = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    known = {artifact["path"]: artifact["sha256"] for artifact in manifest["artifacts"]}
    sums = {
        name: {"bytes": size_of(file), "sha256": known.get(name) or digest_of(file)} for name, file in files.items()
    }
    whole = {**manifest, "files": list(files), "checksums": sums}
    text = json.dumps(whole, indent=2, ensure_ascii=False, default=list, allow_nan=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
