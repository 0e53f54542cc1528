"""ONNX and TFLite files in OpenVINO, on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.manifest import THREADS
from export.proving.proof import Proof
from export.proving.prover import Evidence, Prover

if TYPE_CHECKING:
    import numpy as np

    from export.checking.runtimes import Runtime, Tap, TensorSpec
    from export.manifest import Artifact

PRECISION = "f32"
# What may stand between the final softmax and the output.
_PASSING = ("Convert", "FakeQuantize", "Reshape", "Squeeze", "Unsqueeze")
_IR_IMAGES = 8
_SAME_ANSWERS = "same answers"
_Steps = Mapping[str, tuple[float, int]]


class OpenVino(Prover):
    """OpenVINO reads .onnx and .tflite files itself; its own form, the IR, is made of them and compared as well."""

    name, title, package, extra = "openvino", "OpenVINO", "openvino", "openvino"
    formats = ("tflite", "onnx")

    def prove(self, path: Path, artifact: Artifact, evidence: Evidence) -> Proof:
        """Hold the file to the gate of its precision, with the logits that its final softmax receives."""
        from export.proving.judging import judge

        try:
            runtime = open_openvino(path, artifact.steps)
        except RuntimeError as error:
            *_, reason = str(error).strip().splitlines()  # after the places in its source where that happened
            return self.not_run(f"{self.title} does not load it: {reason}")
        details: dict[str, Any] = {"device": "CPU", "threads": THREADS, "inference_precision": PRECISION}
        details["ir"] = _ir(path, runtime, artifact.steps, evidence.images[:_IR_IMAGES])
        return judge(self, runtime, artifact, evidence, details)

    def words(self, details: Mapping[str, Any]) -> str:
        """Say where the IR does not hold."""
        return "" if details.get("ir") == _SAME_ANSWERS else "IR does not hold"


def open_openvino(path: Path, steps: _Steps) -> Runtime:
    """Load an .onnx, .tflite or .xml file in OpenVINO.

    Args:
        path: The file.
        steps: (scale, zero point) of a quantized input or output, by its name.
    """
    from export.checking.runtimes import Runtime, only

    model = _read(path)
    source, target = _specification(only(model.inputs, "input")), _specification(only(model.outputs, "output"))
    run = _runner(model, source, steps)

    def open_tap() -> Tap | None:
        return _tap(_read(path), source, steps)

    output_step = max(_softmax(model)[1], steps.get(target.name, (0.0, 0))[0])
    return Runtime(source, target, lambda images: run(images)[0], open_tap, THREADS, output_step, steps=steps)


def _read(path: Path) -> Any:
    import openvino

    return openvino.Core().read_model(path)


def _specification(port: Any) -> TensorSpec:
    """Say what a model declares of an input or output."""
    from export.checking.runtimes import TensorSpec

    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorSpec(port.any_name, shape, port.element_type.to_dtype().name)


def _runner(model: Any, source: TensorSpec, steps: _Steps) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Compile a model, and return how to get its outputs for images."""
    import openvino

    from kerascnn.photos.runtimes import dequantized, quantized

    # Where the processor has bfloat16, OpenVINO would compute in that; it is the file that is judged.
    settings = {"INFERENCE_PRECISION_HINT": PRECISION, "INFERENCE_NUM_THREADS": THREADS}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request, none = compiled.create_infer_request(), (1.0, 0)
    details: dict[str, Any] = {"dtype": source.dtype, "quantization": steps.get(source.name, none)}
    rows = [{"quantization": steps.get(name, none)} for name in (_name(port) for port in compiled.outputs)]

    def run(images: np.ndarray) -> list[np.ndarray]:
        answers = request.infer([quantized(images, details)])
        return [dequantized(answers[index], row).copy() for index, row in enumerate(rows)]

    return run


def _name(port: Any) -> str:
    """Return the name of an output; one that was added has none."""
    return port.any_name if port.names else ""


def _softmax(model: Any) -> tuple[Any, float, Any]:
    """Walk from the output to the final softmax.

    Returns:
        Its node, None where there is none; the quantization step of the output, 0 where that is in floating point; and
        the order that the axes of its input need, None where they are those of the output.
    """
    node, step, order = model.outputs[0].node.input_value(0).node, 0.0, None
    while node.get_type_name() in (*_PASSING, "Transpose"):
        if node.get_type_name() == "FakeQuantize":
            low, high = (float(node.input_value(i).node.data.min()) for i in (3, 4))
            step = max(step, (high - low) / (node.get_attributes()["levels"] - 1))
        if node.get_type_name() == "Transpose":
            order = node.input_value(1).node.data.tolist()
        node = node.input_value(0).node
    return (node if node.get_type_name() == "Softmax" else None), step, order


def _tap(model: Any, source: TensorSpec, steps: _Steps) -> Tap | None:
    """Make what the final softmax receives a second output, and return how to get both; None without a softmax."""
    softmax, _, order = _softmax(model)
    if softmax is None:
        return None
    model.add_outputs(softmax.input_value(0))
    run = _runner(model, source, steps)

    def run_tapped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        output, logits = run(images)
        return output, logits if order is None else logits.transpose(order)

    return run_tapped


def _ir(path: Path, runtime: Runtime, steps: _Steps, images: np.ndarray) -> str:
    """Write the model in OpenVINO's own form, read that, and say whether it answers as the file does."""
    import openvino

    from export.checking.runtimes import SAME
    from export.opening import first_line
    from export.proving.judging import difference_of

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.xml"
        try:
            openvino.save_model(_read(path), written, compress_to_fp16=False)
            answers = open_openvino(written, steps).predict(images)
        except Exception as error:  # a fault of this form, not of the file
            return f"failed: {first_line(error)}"
    difference = difference_of(runtime.predict(images), answers)
    return _SAME_ANSWERS if difference <= SAME else f"other answers, by {difference:.2g} of the largest"
