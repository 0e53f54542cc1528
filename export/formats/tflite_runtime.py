"""Run a .tflite file in LiteRT, as an application does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from export.checking.runtimes import Runtime, Tap, TensorSpec, only
from export.errors import ExportError
from export.formats import tensorflow_lite
from export.opening import first_line
from kerascnn.photos import runtimes
from serving.contract import DEFAULT_SIGNATURE

_BATCHES = (3, 5)  # a larger one after another: a delegate is prepared anew for each
_SAME_IN_BATCH = 1e-3  # of the range of the answers


def open_tflite(path: Path, threads: int = 2) -> Runtime:
    """Load a .tflite file with LiteRT's default delegates and `threads` threads.

    Images run one after another, as the file has batch 1. int8 inputs and outputs are quantized and dequantized here.

    Raises:
        ExportError: It has not one input, one output and the signature `serving_default`.
    """
    interpreter = runtimes.interpreter(threads, model_path=str(path))
    content = bytearray(path.read_bytes())
    has_softmax, step = add_logits(content)

    def open_tap() -> Tap | None:
        if not has_softmax:
            return None
        copy = runtimes.interpreter(threads, model_content=bytes(content))

        def run_tapped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            output, logits = _run(copy, images)
            return output, logits

        return run_tapped

    source, target = _specifications(interpreter)
    tensors = zip((source, target), (*interpreter.get_input_details(), *interpreter.get_output_details()), strict=True)
    steps = {spec.name: details["quantization"] for spec, details in tensors if spec.dtype != "float32"}
    return Runtime(
        source, target, lambda images: _run(interpreter, images)[0], open_tap, threads, output_step=step, steps=steps
    )


def _run(interpreter: Any, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Answer one image with every output."""
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], runtimes.quantized(images, source))
    interpreter.invoke()
    targets = interpreter.get_output_details()
    return tuple(runtimes.dequantized(interpreter.get_tensor(target["index"]), target) for target in targets)


def batches(path: Path, images: np.ndarray, answers: np.ndarray, threads: int = 2) -> dict[str, Any]:
    """Resize the input of a file, and find the batches at which it answers as it does one by one.

    Args:
        path: A file for batch 1.
        images: float32 [n, height, width, channels], as it takes them.
        answers: What it answered to them one by one.
        threads: With how many it answers.

    Returns:
        `batches`, and `reason` where a larger one than 1 is not among them.
    """
    interpreter = runtimes.interpreter(threads, model_path=str(path))
    taken = [1]
    for size in _BATCHES:
        chosen = np.arange(size) % len(images)
        try:
            interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (size, *images.shape[1:]))
            interpreter.allocate_tensors()
            found = _run(interpreter, images[chosen])[0]
        except (RuntimeError, ValueError) as error:  # an operation, or the delegate, is for one image
            return {"batches": taken, "reason": f"LiteRT does not take a batch of {size}: {first_line(error)}"}
        expected = answers[chosen]
        most = max(interpreter.get_output_details()[0]["quantization"][0], _SAME_IN_BATCH * np.ptp(expected))
        if found.shape != expected.shape or np.abs(found - expected).max() > most:
            return {"batches": taken, "reason": f"It answers otherwise in a batch of {size} than one by one."}
        taken.append(size)
    return {"batches": taken}


def _specifications(interpreter: Any) -> tuple[TensorSpec, TensorSpec]:
    """Say what the file declares as its input and its output."""
    signatures = interpreter.get_signature_list()
    if DEFAULT_SIGNATURE not in signatures:
        names = ", ".join(signatures) or "none"
        raise ExportError(f"The file has no signature {DEFAULT_SIGNATURE!r} (found: {names}).")
    source = only(interpreter.get_input_details(), "input")
    target = only(interpreter.get_output_details(), "output")
    first, second = (
        TensorSpec(
            only(signatures[DEFAULT_SIGNATURE][key], key.removesuffix("s")),
            tuple(int(size) for size in details["shape"]),
            np.dtype(details["dtype"]).name,
        )
        for key, details in (("inputs", source), ("outputs", target))
    )
    return first, second


class _End(NamedTuple):
    """The end of a flatbuffer's graph.

    Attributes:
        output: The tensor of its output.
        step: The quantization step of the output: the scale of the tensor that the last computation writes, 0.0 when
            that is float32.
        softmax: The final softmax; None without one.
        reader: What reads the output of the softmax: an operator that only changes shape or type; None where that is
            the output.
    """

    output: int
    step: float
    softmax: Any
    reader: Any


def add_logits(content: bytearray) -> tuple[bool, float]:
    """Make the input of the final softmax a second output of the flatbuffer `content`, in place.

    Returns:
        Whether there is a final softmax (without one, `content` is unchanged), and the quantization step of the
        output, 0.0 when that is float32.
    """
    end = _end(content)
    if end.softmax is not None:
        set_outputs(content, [end.output, end.softmax.Inputs(0)])
    return end.softmax is not None, end.step


def give_logits(content: bytearray) -> tuple[bool, float]:
    """Make a flatbuffer give the input of the final softmax instead of its output, in place.

    Some runtimes take a file only where its signature names all outputs of the graph, and no integers as outputs.

    Returns:
        As `add_logits`.
    """
    schema = tensorflow_lite.schema()
    end = _end(content)
    if end.softmax is None:
        return False, end.step
    logits = end.softmax.Inputs(0)
    if end.reader is not None:  # it dequantizes the logits then
        others = [end.reader.Inputs(index) for index in range(1, end.reader.InputsLength())]
        _set_vector(content, end.reader._tab, 6, [logits, *others])  # `inputs`
        return True, end.step
    set_outputs(content, [logits])
    table = schema.Model.GetRootAs(content, 0).SignatureDefs(0).Outputs(0)._tab
    struct.pack_into("<I", content, table.Pos + table.Offset(6), logits)  # `tensor_index` of the table TensorMap
    return True, end.step


def _end(content: bytearray) -> _End:
    """Find the final softmax of a flatbuffer."""
    schema = tensorflow_lite.schema()
    graph = schema.Model.GetRootAs(content, 0)
    main = graph.Subgraphs(0)
    codes = [graph.OperatorCodes(index) for index in range(graph.OperatorCodesLength())]
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    producers = {}
    for index in range(main.OperatorsLength()):
        operator = main.Operators(index)
        producers.update({operator.Outputs(k): operator for k in range(operator.OutputsLength())})
    operators = schema.BuiltinOperator
    passing = (operators.DEQUANTIZE, operators.QUANTIZE, operators.RESHAPE, operators.SQUEEZE, operators.CAST)

    tensor, step, reader, operator = main.Outputs(0), 0.0, None, None
    for _ in range(main.OperatorsLength() + 1):  # no walk is longer, and a damaged file may lead in circles
        quantization = main.Tensors(tensor).Quantization()
        if quantization is not None and quantization.ScaleLength():
            step = max(step, float(quantization.Scale(0)))
        operator = producers.get(tensor)
        if operator is None or kinds[operator.OpcodeIndex()] not in passing:
            break
        reader, tensor = operator, operator.Inputs(0)
    if operator is None or kinds[operator.OpcodeIndex()] != operators.SOFTMAX:
        operator = reader = None
    return _End(main.Outputs(0), step, operator, reader)


def set_outputs(content: bytearray, tensors: Sequence[int]) -> None:
    """Write a new list of outputs to the end of a flatbuffer, and let its first graph point there."""
    schema = tensorflow_lite.schema()
    _set_vector(content, schema.Model.GetRootAs(content, 0).Subgraphs(0)._tab, 8, tensors)  # `outputs`


def _set_vector(content: bytearray, table: Any, slot: int, numbers: Sequence[int]) -> None:
    """Let a field of a table point to a new vector at the end; others may point to the one that it had."""
    field = table.Pos + table.Offset(slot)
    content += bytes(-len(content) % 4)
    struct.pack_into("<I", content, field, len(content) - field)
    content += struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers)
