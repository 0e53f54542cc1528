"""TFLite files in LiteRT's CompiledModel, which new applications use in place of the Interpreter, on the CPU."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from export.manifest import THREADS
from export.proving.proof import Proof
from export.proving.prover import Evidence, Prover
from kerascnn.console import quiet
from serving.contract import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    import numpy as np

    from export.checking.runtimes import Runtime, Tap
    from export.manifest import Artifact


class Compiled(Prover):
    """The same package as the Interpreter, with another way in: buffers by the names of the signature."""

    name, title, package, extra = "compiled", "LiteRT CompiledModel", "ai-edge-litert", "export"
    formats = ("tflite",)

    def prove(self, path: Path, artifact: Artifact, evidence: Evidence) -> Proof:
        """Hold the file to the gate of its precision, with the logits that its final softmax receives."""
        from export.proving.judging import judge

        with ExitStack() as closing:
            try:
                runtime = open_compiled(path, closing)
            except RuntimeError as error:
                return self.not_run(f"{self.title} does not load it: {str(error).strip()}")
            if {name: tuple(step) for name, step in artifact.steps.items()} != dict(runtime.steps):
                reason = f"Scales and zero points are {dict(runtime.steps)}; {dict(artifact.steps)} was expected."
                return Proof(self.name, self.version, "wrong", reason=reason)
            return judge(self, runtime, artifact, evidence, {"accelerator": "CPU", "threads": THREADS})


def open_compiled(path: Path, closing: ExitStack) -> Runtime:
    """Load a .tflite file in CompiledModel; what it says of its input and output is read by the Interpreter.

    Args:
        path: The file.
        closing: Closes what is opened.
    """
    from export.formats.tflite_runtime import give_logits, open_tflite

    content = path.read_bytes()
    copy = bytearray(content)
    has_softmax, _ = give_logits(copy)
    run = _runner(content, closing)

    def open_tap() -> Tap | None:
        if not has_softmax:
            return None
        logits = _runner(bytes(copy), closing)
        return lambda images: (run(images), logits(images))

    return replace(open_tflite(path, THREADS), run=run, open_tap=open_tap)


def _runner(content: bytes, closing: ExitStack) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a file, and return how it answers one image."""
    import numpy as np
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.cpu_options import CpuOptions
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import Options

    from kerascnn.photos.runtimes import dequantized, interpreter, quantized

    _end_in_silence()
    reader = interpreter(model_content=content)
    (source,), (target,) = reader.get_input_details(), reader.get_output_details()
    with quiet():  # LiteRT reports each accelerator that it looks for, and has no setting against it
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=THREADS))
        model = CompiledModel.from_buffer(content, options=options)
    (first,), (last,) = (model.get_signature_list()[DEFAULT_SIGNATURE][end] for end in ("inputs", "outputs"))
    given = model.create_input_buffer_by_name(DEFAULT_SIGNATURE, first)
    answer = model.create_output_buffer_by_name(DEFAULT_SIGNATURE, last)

    def close() -> None:
        with quiet():
            for opened in (given, answer):
                opened.destroy()
            model.close()
            model.environment.close()

    closing.callback(close)

    def run(images: np.ndarray) -> np.ndarray:
        assert content  # which the model reads without owning it
        given.write(np.ascontiguousarray(quantized(images, source)))
        model.run_by_name(DEFAULT_SIGNATURE, {first: given}, {last: answer})
        values = answer.read(int(np.prod(target["shape"])), target["dtype"])
        return dequantized(np.asarray(values).reshape(target["shape"]), target)

    with quiet():  # the first run looks for accelerators again
        run(np.zeros(source["shape"], np.float32))
    return run


@cache
def _end_in_silence() -> None:
    """Keep from the terminal what LiteRT says when the process ends, after all that Python has to say."""

    def silence() -> None:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)

    atexit.register(silence)
