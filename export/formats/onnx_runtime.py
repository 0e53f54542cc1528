"""ONNX files in ONNX Runtime on the CPU, with the logits that the final softmax receives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.checking.runtimes import Runtime, Tap, TensorSpec, only
from kerascnn.photos import runtimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx
    import onnxruntime

Sample = dict[str, np.ndarray]


def open_onnx(path: Path, threads: int = 2) -> Runtime:
    """Load an ONNX file in ONNX Runtime on the CPU, with `threads` threads within an operation."""
    session = runtimes.session(str(path), threads)
    source, target = only(session.get_inputs(), "input"), only(session.get_outputs(), "output")

    def open_tap() -> Tap | None:
        content, name, order = add_logits(path.read_bytes(), target.name)
        if name is None:
            return None
        tapped = runtimes.session(content, threads)

        def run_tapped(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            output, logits = tapped.run([target.name, name], {source.name: images})
            return output, logits if order is None else logits.transpose(order)

        return run_tapped

    return Runtime(
        specification(source),
        specification(target),
        lambda images: session.run([target.name], {source.name: images})[0],
        open_tap,
        threads,
        batch=2,  # with more, the activations leave the cache
    )


def add_logits(content: bytes, output: str) -> tuple[bytes, str | None, list[int] | None]:
    """Make what the final softmax receives a second output of an ONNX file.

    Args:
        content: The file.
        output: The name of its output.

    Returns:
        The file with the second output, the name of that (None without a final softmax: the file is as it was), and the
        order that its axes need.
    """
    import onnx

    name, order = logits_of(onnx.load_from_string(content).graph, output)
    return (content, None, None) if name is None else (with_outputs(content, [name]), name, order)


def with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """Make tensors of an ONNX file outputs, after those that it has."""
    import onnx

    more = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    # Protocol buffers that follow one another are one: this adds outputs without writing the weights again.
    return content + onnx.ModelProto(graph=onnx.GraphProto(output=more)).SerializeToString()


def logits_of(graph: onnx.GraphProto, output: str) -> tuple[str | None, list[int] | None]:
    """Find what the final softmax receives: its name, None without a softmax, and the order that its axes need."""
    import onnx

    producers = {name: node for node in graph.node for name in node.output}
    node, order = producers.get(output), None
    if node is not None and node.op_type == "Transpose":  # a map of scores: inside, its channels come first
        (order,) = (onnx.helper.get_attribute_value(item) for item in node.attribute)
        node = producers.get(node.input[0])
    while node is not None and node.op_type in ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"):
        node = producers.get(node.input[0])
    return (node.input[0], order) if node is not None and node.op_type == "Softmax" else (None, None)


def float_tensors(graph: onnx.GraphProto) -> list[str]:
    """Name the float32 inputs, activations and outputs of a graph whose shapes are known."""
    import onnx

    constants = {tensor.name for tensor in graph.initializer}
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = (value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)
    return list(dict.fromkeys(name for name in floats if name not in constants))


def samples_of(arrays: Mapping[str, np.ndarray]) -> Iterator[Sample]:
    """Yield one sample after another from arrays by the names of the inputs."""
    for i in range(len(next(iter(arrays.values())))):
        yield {name: values[i : i + 1] for name, values in arrays.items()}


def runner(model: onnx.ModelProto, names: Sequence[str]) -> Callable[[Sample], Sample]:
    """Return a function from a sample to the tensors `names`, by name."""
    present = {value.name for value in model.graph.output}
    content = with_outputs(model.SerializeToString(), [name for name in names if name not in present])
    session = runtimes.session(content, 2)
    return lambda sample: dict(zip(names, session.run(list(names), sample), strict=True))


def specification(tensor: onnxruntime.NodeArg) -> TensorSpec:
    """Say what a session declares of an input or output."""
    shape = tuple(size if isinstance(size, int) else None for size in tensor.shape)
    dtype = tensor.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(tensor.name, shape, {"float": "float32", "double": "float64"}.get(dtype, dtype))
