"""Prove .tflite and .onnx files in the browser: LiteRT.js and ONNX Runtime Web, in a Chromium without a window."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from export.opening import first_line
from export.proving.proof import Proof
from export.proving.prover import Evidence, Prover

if TYPE_CHECKING:
    from export.manifest import Artifact
    from export.web.running import InPage

IMAGES = 32  # one thread takes a tenth of a second for a SqueezeNet, and each image is answered twice
_SOFTWARE = ("swiftshader",)  # WebGPU on the processor is no GPU, and takes seconds for an image
RUNS = 20  # some files were right in LiteRT.js only the first time


@dataclass(frozen=True)
class Web(Prover):
    """Chromium, where artifacts run on the WASM back ends of their runtimes; .tflite files also on a GPU by WebGPU.

    Attributes:
        runtimes: The folder with the JavaScript runtimes; None: they are fetched, or taken from the cache.
        failures: Why nothing can be run, so that npm is asked and a browser is started but once.
    """

    runtimes: Path | None = None
    failures: list[str] = field(default_factory=list, repr=False, compare=False)

    name = "web"
    title = "Chromium"
    package = "playwright"
    extra = "web"
    formats = ("tflite", "onnx")

    @property
    def version(self) -> str:
        """The version of Chromium; empty where there is none."""
        from export.web.browser import version

        return version()

    def declines(self, artifact: Artifact) -> str | None:
        """Say why no browser takes an artifact."""
        from export.web.page import declines

        return declines(artifact.format, artifact.input.dtype)

    def prove(self, path: Path, artifact: Artifact, evidence: Evidence) -> Proof:
        """Answer the images with output and logits, and the first one twenty times in a row."""
        from export.web.browser import opened
        from export.web.running import InPage

        if self.failures:
            return self.not_run(self.failures[0])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                versions = self._lay_out(folder, artifact.format)
                with opened(folder) as tab:
                    proof = Proof(self.name, tab.version, "not run", details={"runtimes": versions})
                    place, content, some = InPage(tab, folder, artifact), path.read_bytes(), _some(evidence)
                    proof = _judged(place, content, some, proof)
                    gpu = None
                    if proof.status == "proven" and artifact.format == "tflite":
                        gpu = _on_gpu(replace(place, back_end="webgpu"), content, some)
                    return replace(proof, details={**proof.details, "webgpu": gpu})
            except (ExportError, OSError) as error:
                self.failures.append(str(error))
                return self.not_run(str(error))

    def words(self, details: Mapping[str, Any]) -> str:
        """Say which JavaScript runtime it was."""
        return " ".join(next(iter(details.get("runtimes", {}).items()), ()))

    def _lay_out(self, folder: Path, format: str) -> dict[str, str]:
        """Put the page's own modules and the JavaScript runtimes into a folder."""
        from export.web.packages import copy, packages_for, provide
        from export.web.page import FILES, RUNTIMES

        packages = packages_for([format])
        source = provide(packages, self.runtimes, lambda text: None)
        shutil.copytree(FILES, folder, dirs_exist_ok=True)
        (folder / "page.js").write_text("")  # which would load an artifact itself
        return copy(packages, source, folder / RUNTIMES)


def _judged(place: InPage, content: bytes, evidence: Evidence, proof: Proof) -> Proof:
    """Run an artifact in the page, and judge what it answers."""
    import numpy as np
    from playwright.sync_api import Error

    from export.checking.parity import Demands, verify

    try:
        own = place.load("artifact", content)
    except Error as error:
        return _refused(proof, f"It cannot be loaded: {first_line(error)}")
    runtime = place.runtime(content, own)
    demands = Demands(evidence.precision, runtime.input, runtime.output, evidence.real_images)
    parity, prediction = verify(lambda: runtime, evidence.reference, evidence.images, demands)
    if prediction is None:
        return _refused(proof, " ".join(parity.failures))
    runs = [own(evidence.images[:1]) for _ in range(RUNS)]
    first = prediction.output[0].reshape(-1)
    other = sum(not np.array_equal(run.outputs[0], first) for run in runs)
    failures = [*parity.failures]
    if other:
        failures.append(f"{other} of {RUNS} further runs on one image gave another answer than the first one.")
    return replace(
        proof,
        status="wrong" if failures else "proven",
        images=parity.images,
        sqnr_db=parity.sqnr_db,
        relative_error=parity.relative_error,
        median_ms=statistics.median(run.milliseconds for run in runs),
        reason=" ".join(failures),
        details={**proof.details, "equal_runs": RUNS - other},
    )


def _on_gpu(place: InPage, content: bytes, evidence: Evidence) -> dict[str, Any] | None:
    """Do the same on the GPU, which decides nothing but whether the page offers it; None where there is none."""
    found = place.tab.evaluate("async () => (await import('./runtimes.js')).findGpu().then((gpu) => gpu?.architecture)")
    if found is None or found in _SOFTWARE:
        return None
    proof = asdict(_judged(place, content, evidence, Proof(Web.name, "", "not run", details={"gpu": found})))
    return {name: proof[name] for name in ("status", "sqnr_db", "relative_error", "median_ms", "reason")} | proof[
        "details"
    ]


def _some(evidence: Evidence) -> Evidence:
    """Take evenly spaced images: photos of one class follow one another."""
    import numpy as np

    count = len(evidence.images)
    if count <= IMAGES:
        return evidence
    chosen, reference = np.linspace(0, count - 1, IMAGES).astype(int), evidence.reference
    return replace(
        evidence,
        images=evidence.images[chosen],
        reference=replace(reference, output=reference.output[chosen], logits=reference.logits[chosen]),
        own=evidence.own[chosen],
    )


def _refused(proof: Proof, reason: str) -> Proof:
    """Say that a browser cannot run an artifact; the page then does without it."""
    return replace(proof, reason=reason, details={**proof.details, "refused": True})
