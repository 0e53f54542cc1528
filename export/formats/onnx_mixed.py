"""Store the kernels of an ONNX file in the fewest bits that hold them exactly, each kernel for itself.

As in `tflite_kernels`, what a kernel loses it has lost before. DequantizeLinear gives kernels of four and eight bits
back, Cast those of sixteen, and everything is computed in float32. Leaving zeros out saves nothing in ONNX: the places
in a sparse initializer take eight bytes each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.quantization.steps import INT4, INT8, nibbles, numbers_of, steps_of

if TYPE_CHECKING:
    import onnx

LEAST_OPSET = 21  # the first with four bits


def cost(kernel: np.ndarray, levels: int) -> float:
    """Return about how many bytes a kernel takes with a number of levels: INT4, INT8, or more in float16."""
    return kernel.size * {INT4: 0.5, INT8: 1.0}.get(levels, 2.0)


def with_small_kernels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store each kernel that one layer reads in the fewest bits, in place.

    Args:
        model: A float32 model of at least LEAST_OPSET.
    """
    graph = model.graph
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, place))
    added = []
    for tensor in list(graph.initializer):
        uses = readers.get(tensor.name, [])
        if len(uses) == 1 and uses[0][1] == 1 and uses[0][0].op_type in ("Conv", "Gemm", "MatMul"):
            added += _stored(graph, tensor, uses[0][0])
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _stored(graph: onnx.GraphProto, tensor: onnx.TensorProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Replace one initializer; return the nodes that give its values back."""
    from onnx import TensorProto, helper, numpy_helper

    kernel, name = numpy_helper.to_array(tensor), tensor.name
    if kernel.dtype != np.float32 or kernel.ndim < 2:
        return []
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    axis = 0 if node.op_type == "Conv" or transposed else kernel.ndim - 1
    small = f"{name}/small"
    for levels, kind in ((INT4, TensorProto.INT4), (INT8, TensorProto.INT8)):
        steps = steps_of(kernel, axis, levels)
        if steps is None:
            continue
        numbers = numbers_of(kernel, axis, steps)
        graph.initializer.remove(tensor)
        raw = nibbles(numbers) if levels == INT4 else numbers.tobytes()
        graph.initializer.add(name=small, data_type=kind, dims=kernel.shape, raw_data=raw)
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}/steps"))
        # Zeros are the default, but without them ONNX Runtime puts a single one in some graphs, and stops.
        zeros = nibbles(np.zeros(len(steps), np.int8)) if levels == INT4 else bytes(len(steps))
        graph.initializer.add(name=f"{name}/zeros", data_type=kind, dims=steps.shape, raw_data=zeros)
        inputs = [small, f"{name}/steps", f"{name}/zeros"]
        return [helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/dequantize", axis=axis)]
    halves = kernel.astype(np.float16)
    if not np.array_equal(halves, kernel):
        return []
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(halves, small))
    return [helper.make_node("Cast", [small], [name], name=f"{name}/widen", to=TensorProto.FLOAT)]
