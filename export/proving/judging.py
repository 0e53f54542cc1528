"""Judge what an artifact answers in a further runtime: by the Keras model's answer, and by its own when asked again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from export.checking.latency import measure_latency
from export.checking.parity import Demands, verify
from export.checking.runtimes import SAME, Runtime, Tap
from export.proving.proof import Proof

if TYPE_CHECKING:
    from export.manifest import Artifact
    from export.proving.prover import Evidence, Prover

ASKED_TWICE = 32  # images


def judge(
    prover: Prover, runtime: Runtime, artifact: Artifact, evidence: Evidence, details: Mapping[str, Any] | None = None
) -> Proof:
    """Hold an opened artifact to its gate, the same as in its own runtime, and time it.

    Args:
        prover: Whose runtime it is.
        runtime: The artifact, opened there.
        artifact: What is known of it.
        evidence: What it is judged by.
        details: What else the proof says.
    """
    count, proof = len(evidence.images), Proof(prover.name, prover.version, "wrong", details=details or {})
    first, again = (runtime.predict(evidence.images[:ASKED_TWICE]) for _ in range(2))
    difference = difference_of(first, again)
    if not difference <= SAME:
        reason = f"Asked twice about the same images, it answers otherwise, by {difference:.2g} of its largest answer."
        return replace(proof, images=len(first), reason=reason)
    demands = Demands(evidence.precision, artifact.input, artifact.output, evidence.real_images)
    asked = replace(runtime, open_tap=lambda: _with_own_output(runtime))
    parity, _ = verify(lambda: asked, evidence.reference, evidence.images, demands)
    if not parity.passed:
        return replace(proof, images=count, reason=" ".join(parity.failures))
    return replace(
        proof,
        status="proven",
        images=count,
        sqnr_db=parity.sqnr_db,
        relative_error=parity.relative_error,
        median_ms=measure_latency(runtime, evidence.images[0]).median_ms,
    )


def difference_of(first: np.ndarray, again: np.ndarray) -> float:
    """Return the largest difference of two answers, as a share of the largest value; NaN where one has NaN.

    It is infinite where they have other shapes.
    """
    if first.shape != again.shape:
        return math.inf
    largest = float(np.abs(first).max())
    return float(np.abs(first - again).max()) / max(largest, float(np.finfo(np.float64).tiny))


def _with_own_output(runtime: Runtime) -> Tap | None:
    """Give the output of the file itself, and the logits of the copy that has them, for every image."""
    tap = runtime.open_tap()
    if tap is None:
        return None

    def run(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return runtime.run(images), tap(images)[1]

    return run
