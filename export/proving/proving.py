"""Prove the artifacts of an export in further runtimes, and remove those that answer wrongly there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from export.attempts import attempt
from export.errors import ExportError
from export.formats.registry import FORMATS
from export.opening import first_line
from export.proving.micro import arena_failure
from export.proving.proof import Proof
from export.proving.prover import Evidence

if TYPE_CHECKING:
    import numpy as np

    from export.checking.runtimes import Prediction
    from export.context import Context, Outcome, Passed
    from export.general.stages import NamedArtifact
    from export.manifest import Artifact
    from export.proving.prover import Prover
    from export.request import Item


def prove(context: Context, outcome: Outcome, images: np.ndarray, reference: Prediction) -> None:
    """Let every prover that was chosen run every artifact that passed; the outcome gets the proofs.

    Args:
        context: The export.
        outcome: Its artifacts. One that is wrong in a runtime goes from those that passed to those that failed.
        images: What they were compared on, float32 [n, height, width, channels].
        reference: The Keras model's answer to the images.
    """
    items = {(item.format.name, item.precision.name): item for item in context.job.request.items}
    passed, outcome.passed = outcome.passed, []
    for one in passed:
        item = items[one.artifact.format, one.artifact.precision]
        count = len(one.outputs)  # some precisions are compared on a few of the images
        answer = replace(reference, output=reference.output[:count], logits=reference.logits[:count])
        evidence = Evidence(images[:count], answer, one.outputs, item.precision, context.job.has_photos)
        artifact, failure = attempt(context, item, partial(_proven, context, item, one, evidence))
        if artifact is not None:
            outcome.passed.append(replace(one, artifact=artifact))
        if failure is not None:
            (outcome.left_out if item.optional else outcome.rejected).append(failure)


def own_proof(artifact: Artifact | NamedArtifact) -> Proof:
    """Say what was measured in the runtime in which an artifact was verified."""
    place, parity, latency = FORMATS[artifact.format].runtime, artifact.parity, artifact.latency
    return Proof(
        place.name,
        place.version,
        "proven",
        images=parity.images,
        sqnr_db=parity.sqnr_db,
        relative_error=parity.relative_error,
        median_ms=None if latency is None else latency.median_ms,
    )


def undecided(provers: Iterable[Prover], artifact: NamedArtifact) -> list[Proof]:
    """Say that an artifact with inputs and outputs of other kinds was run in its own runtime alone."""
    reason = "Networks that do not take one image and give one output are proven in the runtime of their format alone."
    return [own_proof(artifact), *(one.not_run(reason) for one in provers if artifact.format in one.formats)]


def _proven(context: Context, item: Item, passed: Passed, evidence: Evidence) -> Artifact:
    """Return an artifact with its proofs.

    Raises:
        ExportError: It answers wrongly in one of the runtimes, or needs a larger arena than it may.
    """
    artifact = passed.artifact
    proofs = [replace(own_proof(artifact), details=passed.details)]
    for prover in context.job.request.provers:
        if artifact.format not in prover.formats:
            continue
        context.step(f"proving {item.title} in {prover.title}")
        proof = _proof(context, prover, artifact, evidence)
        fault = arena_failure(artifact, proof, context.job.request.max_arena)
        if proof.status == "wrong":
            fault = f"It is wrong in {prover.title} {proof.version}. {proof.reason}"
        if fault:
            if artifact.packed is not None:
                (context.folder / artifact.packed.path).unlink()
            raise ExportError(fault)
        proofs.append(proof)
    return replace(artifact, proofs=proofs)


def _proof(context: Context, prover: Prover, artifact: Artifact, evidence: Evidence) -> Proof:
    """Run one artifact in one runtime."""
    reason = prover.missing() or prover.declines(artifact)
    if reason:
        return prover.not_run(reason)
    try:
        return prover.prove(context.folder / artifact.path, artifact, evidence)
    except Exception as error:  # a runtime that breaks says nothing of the artifact's answers
        return prover.not_run(f"{prover.title} broke off: {first_line(error)}")
