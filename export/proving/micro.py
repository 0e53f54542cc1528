"""TFLite files in TFLite Micro, the interpreter of microcontrollers, with its portable kernels on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.proving import vela
from export.proving.micro_process import MicroProcess, opened
from export.proving.operators import count_operators, resolver
from export.proving.proof import Proof
from export.proving.prover import Evidence, Prover

if TYPE_CHECKING:
    import numpy as np

    from export.checking.runtimes import Runtime
    from export.manifest import Artifact

LARGEST_FILE = 1 << 24  # bytes; larger ones take minutes, and no microcontroller
QUANTIZED = ("int8", "int8-io")
_PRECISIONS = ("float32", *QUANTIZED)
_SECONDS = 10.0  # for the answers that a proof is made of
_ASKED = 4  # times that each image is
_COMPARED = 32  # images
_STEPS = 1  # by which an int8 answer may differ from that of LiteRT's reference kernels


class Micro(Prover):
    """What a microcontroller runs: its answers, the memory that it takes and the operators that it has to have."""

    name, title, package, extra = "micro", "TFLite Micro", "tflite-micro", "micro"
    formats = ("tflite",)

    def declines(self, artifact: Artifact) -> str | None:
        """Say that a file is too large, or has a precision that is not proven here."""
        if artifact.precision not in _PRECISIONS:
            return f"In TFLite Micro, files of {', '.join(_PRECISIONS)} are proven."
        if artifact.bytes > LARGEST_FILE:
            return f"Files of more than {LARGEST_FILE:,} bytes are not tried: microcontrollers have no room for them."
        return None

    def prove(self, path: Path, artifact: Artifact, evidence: Evidence) -> Proof:
        """Hold the file to the gate of its precision, and its answers to those of LiteRT's reference kernels."""
        from export.formats.tflite_runtime import add_logits
        from export.proving.judging import judge

        content = path.read_bytes()
        copy = bytearray(content)
        has_softmax, output_step = add_logits(copy)
        with opened(content, bytes(copy), 2 if has_softmax else 1) as process:
            images = _affordable(process, evidence.images)
            reference = replace(
                evidence.reference,
                output=evidence.reference.output[: len(images)],
                logits=evidence.reference.logits[: len(images)],
            )
            evidence = replace(evidence, images=images, reference=reference, own=evidence.own[: len(images)])
            operators = count_operators(content)
            details: dict[str, Any] = {**process.arena, "operators": operators, "resolver": resolver(operators)}
            runtime = _runtime(process, artifact, output_step, has_softmax)
            if fault := _other_steps(process, artifact):
                return Proof(self.name, self.version, "wrong", reason=fault, details=details)
            # This machine's milliseconds say nothing of a microcontroller's.
            proof = replace(judge(self, runtime, artifact, evidence, details), median_ms=None)
            if proof.status == "proven" and output_step:
                few = images[:_COMPARED]
                details["from_litert"] = _difference(runtime.predict(few), evidence.own[: len(few)], output_step)
                step = process.outputs[-1]["quantization"][0] or output_step
                proof = _beside_reference_kernels(process, bytes(copy), few, step, proof)
        if proof.status == "proven" and artifact.precision in QUANTIZED and (npu := vela.estimate(path)):
            proof = replace(proof, details={**proof.details, "ethos_u": npu})
        return proof

    def words(self, details: Mapping[str, Any]) -> str:
        """Say how large the arena is, and how long an NPU takes by Vela's estimate."""
        milliseconds = details.get("ethos_u", {}).get("milliseconds")
        estimated = "" if milliseconds is None else f", Vela's estimate {milliseconds:.2f} ms"
        return f"arena {details['arena_bytes']:,} bytes{estimated}"


def arena_failure(artifact: Artifact, proof: Proof, largest: int | None) -> str | None:
    """Say why a quantized file must not be published where its arena may have `largest` bytes; None where it may."""
    if largest is None or proof.runtime != Micro.name or artifact.precision not in QUANTIZED:
        return None
    if proof.status == "not run":
        return f"Its arena, which may have {largest:,} bytes, was not measured. {proof.reason}"
    size = proof.details["arena_bytes"]
    return f"Its arena takes {size:,} bytes, and --max-arena allows {largest:,}." if size > largest else None


def _other_steps(process: MicroProcess, artifact: Artifact) -> str | None:
    """Name the input or output whose scale and zero point are not those of the manifest."""
    for spec, details in ((artifact.input, process.input), (artifact.output, process.outputs[0])):
        steps = tuple(artifact.steps.get(spec.name, (0.0, 0)))
        if details["quantization"] != steps:
            return f"Scale and zero point of {spec.name!r} are {details['quantization']}; {steps} was expected."
    return None


def _runtime(process: MicroProcess, artifact: Artifact, output_step: float, has_softmax: bool) -> Runtime:
    """Let comparisons run it as any other runtime. Tensors have no names there."""
    from export.checking.runtimes import Runtime, TensorSpec

    source, target = (
        TensorSpec(spec.name, details["shape"], details["dtype"])
        for spec, details in ((artifact.input, process.input), (artifact.output, process.outputs[0]))
    )

    def run_copy(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        output, logits = process.run(images, copy=True)
        return output, logits

    return Runtime(
        source, target, lambda images: process.run(images)[0], lambda: run_copy if has_softmax else None, 1, output_step
    )


def _affordable(process: MicroProcess, images: np.ndarray) -> np.ndarray:
    """Return as many images as there is time for, at least one."""
    times = []
    for _ in range(3):  # what others do on the machine adds to some
        began = time.perf_counter()
        process.run(images[:1])
        times.append(time.perf_counter() - began)
    return images[: max(1, int(_SECONDS / _ASKED / min(times)))]


def _beside_reference_kernels(
    process: MicroProcess, copy: bytes, images: np.ndarray, step: float, proof: Proof
) -> Proof:
    """Compare the last outputs of the copy, the logits where there is a softmax, with LiteRT's reference kernels.

    Those compute as TFLite Micro does. XNNPACK, with which LiteRT answers by default, rounds otherwise.
    """
    import numpy as np
    from ai_edge_litert.interpreter import OpResolverType

    from kerascnn.photos.runtimes import dequantized, interpreter, quantized

    litert = interpreter(1, model_content=copy, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    (source,), target = litert.get_input_details(), litert.get_output_details()[-1]
    mine, theirs = [], []
    for image in images:
        litert.set_tensor(source["index"], quantized(image[None], source))
        litert.invoke()
        theirs.append(dequantized(litert.get_tensor(target["index"]), target))
        mine.append(process.run(image[None], copy=True)[-1])
    difference = _difference(np.concatenate(mine), np.concatenate(theirs), step)
    proof = replace(proof, details={**proof.details, "from_reference_kernels": difference})
    if difference["steps"] <= _STEPS:
        return proof
    reason = (
        f"{difference['differing']:,} of {difference['values']:,} answers differ from those of LiteRT's reference "
        f"kernels, by up to {difference['steps']} steps; {_STEPS} is allowed."
    )
    return replace(proof, status="wrong", reason=reason)


def _difference(mine: np.ndarray, theirs: np.ndarray, step: float) -> dict[str, int]:
    """Count the values that differ, and say by how many quantization steps at most."""
    import numpy as np

    differences = np.abs(mine.astype(np.float64) - theirs)
    steps = round(float(differences.max()) / step)
    return {"steps": steps, "differing": int(np.count_nonzero(differences)), "values": differences.size}
