"""A traced network that computes in half precision, for the tensor cores of GPUs; input and output stay float32.

It is made from the frozen graph, in which batch normalization is folded into the convolutions. Keras in mixed precision
computes that in float32, and reads and writes every feature map twice more for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.tracing.folding import over_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tensorflow as tf
    from tensorflow.compat.v1 import GraphDef as Graph
    from tensorflow.compat.v1 import NodeDef as Node

    from export.tracing.graph import TracedModel

# What may compute in half precision. The others keep float32: a softmax, sums of many values (Mean), and squares (LRN),
# which overflow in float16 beyond 256.
_HALF = frozenset(
    (
        *("Conv2D", "DepthwiseConv2dNative", "MatMul", "BiasAdd", "Add", "AddV2", "Sub", "Mul", "Maximum", "Minimum"),
        *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "MaxPool", "AvgPool"),
        *("ConcatV2", "Identity", "MirrorPad", "Pad", "PadV2", "Reshape", "Squeeze", "StridedSlice", "Transpose"),
    )
)


def in_half(traced: TracedModel, dtype: str) -> TracedModel:
    """Return the network with its convolutions and what follows them computing in `dtype`, "float16" or "bfloat16".

    Kernels are variables of that type.

    Raises:
        ExportError: A weight is too large for the type, the weights exceed the 2 GiB of a protocol buffer, or channels
            come before rows, which TensorFlow computes in half precision on GPUs alone.
    """
    import tensorflow as tf

    # Asking a map of protocol buffers for a key that it lacks would add it.
    nodes = traced.frozen.graph_def.node
    if any("data_format" in node.attr and node.attr["data_format"].s == b"NCHW" for node in nodes):
        raise ExportError(
            f"{traced.model.name} has its channels before its rows, and TensorFlow computes that in {dtype} on GPUs "
            "alone, so that it could not be verified here. Build it with data_format='channels_last'."
        )
    frozen, half = traced.frozen, tf.dtypes.as_dtype(dtype)
    graph_def = _rewritten(frozen.graph_def, traced.output_name, frozenset(frozen.kernels), half)
    needed = {node.name for node in graph_def.node}  # without kernels of which the network takes the shape alone
    kernels = {name: kernel for name, kernel in frozen.kernels.items() if name in needed}
    cast = {id(kernel): _cast(kernel, half) for kernel in kernels.values()}
    return over_variables(traced, graph_def, {name: cast[id(kernel)] for name, kernel in kernels.items()})


def _cast(kernel: np.ndarray, half: tf.DType) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = kernel.astype(half.as_numpy_dtype)
    if not np.isfinite(values.astype(np.float32)).all():
        raise ExportError(f"A weight of {np.abs(kernel).max():.3g} is too large for {half.name}.")
    return values


def _rewritten(graph_def: Graph, output: str, kernels: frozenset[str], half: tf.DType) -> Graph:
    """Let every node of _HALF that a kernel reaches compute in `half`; casts are where the type changes.

    What comes before the first kernel keeps float32: pixels, and the normalization of an included preprocessing.
    """
    import tensorflow as tf

    float32, rewritten = tf.float32.as_datatype_enum, type(graph_def)(versions=graph_def.versions)
    halves: set[str] = set()
    floats: set[str] = set()
    casts: dict[tuple[str, bool], str] = {}

    def cast(source: str, to_half: bool) -> str:
        if (source, to_half) not in casts:
            node = rewritten.node.add(name=f"{source}/{'half' if to_half else 'float'}", op="Cast", input=[source])
            node.attr["SrcT"].type, node.attr["DstT"].type = (
                (float32, half.as_datatype_enum) if to_half else (half.as_datatype_enum, float32)
            )
            casts[source, to_half] = node.name
        return casts[source, to_half]

    for original in _in_order(graph_def, output):
        sources = _sources(original)
        is_half = original.name in kernels or (
            original.op in _HALF
            and original.name != output
            and original.attr["T"].type == float32
            and any(source in halves for source in sources)
        )
        wrong = floats if is_half else halves
        inputs = [cast(source, is_half) if source in wrong else source for source in sources]
        node = rewritten.node.add()
        node.CopyFrom(original)
        node.input[:] = inputs
        for name in ("T", "dtype"):
            if is_half and name in node.attr:
                node.attr[name].type = half.as_datatype_enum
        if is_half:
            halves.add(node.name)
        elif float32 in (node.attr[name].type for name in ("T", "dtype", "DstT") if name in node.attr):
            floats.add(node.name)
    return rewritten


def _sources(node: Node) -> list[str]:
    """Return the nodes that a node reads; those that only have to come before it do nothing in a frozen graph."""
    return [name for name in node.input if not name.startswith("^")]


def _in_order(graph_def: Graph, output: str) -> Iterator[Node]:
    """Yield what the node `output` needs, each node after its inputs."""
    nodes = {node.name: node for node in graph_def.node}
    done: set[str] = set()
    waiting = [output]
    while waiting:
        node = nodes[waiting[-1]]
        missing = [name for name in _sources(node) if name not in done]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if node.name not in done:
            done.add(node.name)
            yield node
