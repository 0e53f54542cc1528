"""Freeze a traced function for TFLite and ONNX: constants for variables, batch normalization folded away."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.tracing.grappler import optimize

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.compat.v1 import GraphDef as Graph
    from tensorflow.compat.v1 import NodeDef as Node

KERNEL_OPS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
SHARED_VALUES = 64  # at most so many values in a kernel are kept shared in int8: with more, little is gained
PROTOBUF_LIMIT = 2**31 - 2**20  # a protocol buffer ends at 2 GiB; the rest is room for the nodes


@dataclass(frozen=True)
class FrozenGraph:
    """A graph of constants, with batch normalization folded into the convolutions.

    The kernels of convolutions and dense layers are nearly all of its bytes and are kept beside the graph: every tool
    that rewrites a graph copies it, many times over.

    Attributes:
        graph_def: the graph from the node `input_name` to the node `output_name`; a placeholder for each kernel.
        kernels: float32 values by the name of the placeholder.
        shared: names of the kernels whose weights share few values before normalization is folded into them, and so
            in each output channel after it.
    """

    graph_def: Graph
    kernels: dict[str, np.ndarray]
    shared: frozenset[str] = frozenset()

    @cached_property
    def has_ranges(self) -> bool:
        """Whether activations bring their ranges, which were trained; kernels then lie on their steps."""
        return any(node.op == "FakeQuantWithMinMaxArgs" for node in self.graph_def.node)

    @cached_property
    def readers(self) -> dict[str, list[tuple[Node, int]]]:
        """The nodes that read each tensor, with the position of the tensor among their inputs."""
        readers: dict[str, list[tuple[Node, int]]] = {}
        for node in self.graph_def.node:
            for position, name in enumerate(node.input):
                readers.setdefault(name, []).append((node, position))
        return readers

    def with_kernels(self) -> Graph:
        """Return the graph with the kernels as constants, for tools that need all of it."""
        complete = copy_of(self.graph_def)
        for node in complete.node:
            if node.name in self.kernels:
                _make_constant(node, self.kernels[node.name])
        return complete


def copy_of(graph_def: Graph) -> Graph:
    """Return a graph that can be changed without changing `graph_def`."""
    copied = type(graph_def)()
    copied.CopyFrom(graph_def)
    return copied


def weight_bytes(function: tf.types.experimental.ConcreteFunction) -> int:
    """Return the bytes of the variables that a function reads."""
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in function.variables)


def freeze(function: tf.types.experimental.ConcreteFunction, ends: list[str], name: str) -> FrozenGraph:
    """Freeze the traced function of a model.

    Args:
        function: with variables.
        ends: names of the input and the output tensor.
        name: of the model, for messages.

    Raises:
        ExportError: the weights exceed the 2 GiB of a protocol buffer.
    """
    size = weight_bytes(function)
    if size > PROTOBUF_LIMIT:
        raise ExportError(
            f"Model {name!r} has {size / 2**30:.2f} GiB of weights, and TFLite and ONNX files end at 2 GiB. "
            "Export it as a SavedModel only."
        )
    values = {id(variable.handle): variable.numpy() for variable in function.variables}
    graph = function.graph
    graph_def = _with_constant_shapes(graph)
    if graph_def.library.function:  # a layer with a tf.function of its own, which may read variables
        graph_def = optimize(graph_def, ends, "function")
    _bypass_custom_gradients(graph_def)
    captured = {inner.op.name: values[id(outer)] for outer, inner in graph.captures if id(outer) in values}
    kernels = _replace_variables(graph_def, captured)
    graph_def = optimize(graph_def, ends, "constfold")  # makes each batch normalization a constant scale and shift
    shared = frozenset(name for name, kernel in kernels.items() if _shares(kernel))
    _fold_scales_and_shifts(graph_def, kernels)
    return FrozenGraph(optimize(graph_def, ends, "constfold"), kernels, shared)  # drops what is not used any more


def _bypass_custom_gradients(graph_def: Graph) -> None:
    """Connect the readers of each IdentityN to what it passes on.

    TensorFlow attaches custom gradients, such as that of swish, to this operation. Artifacts need no gradients, and a
    rebuilt graph does not have their functions any more: a SavedModel of it could not be written.
    """
    sources = {
        f"{node.name}:{place}" if place else node.name: name
        for node in graph_def.node
        if node.op == "IdentityN"
        for place, name in enumerate(node.input)
    }

    def source(name: str) -> str:
        return source(sources[name]) if name in sources else name

    for node in graph_def.node:
        node.input[:] = [source(name) for name in node.input]


def _replace_variables(graph_def: Graph, captured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Make a placeholder of each read of a kernel, and a constant of every other read.

    TensorFlow's own freezing (convert_variables_to_constants_v2) does the second for all variables, copies the weights
    with every step and rebuilds the graph node by node: several times slower, and tens of seconds for a VGG.

    Returns:
        The kernels by the name of their placeholder.
    """
    elsewhere = {
        name
        for node in graph_def.node
        for position, name in enumerate(node.input)
        if not (node.op in KERNEL_OPS and position == 1)
    }
    sources = {node.name: node.input[0] for node in graph_def.node if node.op == "Identity"}
    kernels = {}
    for node in graph_def.node:
        # Control inputs order the changes of state, and no state is left.
        node.input[:] = [name for name in node.input if not name.startswith("^")]
        if node.op != "ReadVariableOp":
            continue
        handle = node.input[0]
        while handle in sources:  # an inlined function passes its arguments on
            handle = sources[handle]
        if handle not in captured:
            continue
        value = captured[handle]
        if node.name in elsewhere:
            _make_constant(node, value)
            continue
        kernels[node.name] = value
        node.op = "Placeholder"
        del node.input[:]
        for size in value.shape:
            node.attr["shape"].shape.dim.add(size=size)
    return kernels


def _shares(kernel: np.ndarray) -> bool:
    sample = kernel.ravel()[:: max(kernel.size // 1024, 1)]  # enough to rule out most kernels at once
    if len(np.unique(sample)) > SHARED_VALUES:
        return False
    return len(np.unique(kernel)) <= min(SHARED_VALUES, kernel.size // 2)


def _make_constant(node: Node, value: np.ndarray) -> None:
    import tensorflow as tf

    name = node.name
    node.Clear()
    node.name, node.op = name, "Const"
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype


def _fold_scales_and_shifts(graph_def: Graph, kernels: dict[str, np.ndarray]) -> None:
    """Turn (x * kernel [+ bias]) * scale + shift, constant for each channel, into x * kernel' [+ bias'] [+ shift].

    A shift with no bias to join stays; every converter makes it the bias. Grappler does the same for kernels that are
    constants, but not across a bias and not for depthwise convolutions.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    uses = Counter(name for node in graph_def.node for name in node.input)
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in nodes.values() if node.op == "Const"}

    def producer(name: str) -> Node | None:
        """Return the node that makes `name`, past the nodes already folded away; None where it has other readers."""
        node = nodes.get(name) if uses[name] == 1 else None
        return producer(node.input[0]) if node is not None and node.op == "Identity" else node

    for node in list(graph_def.node):
        if node.op not in ("Mul", "AddV2") or sum(name in constants for name in node.input) != 1:
            continue
        source_name, constant_name = sorted(node.input, key=lambda name: name in constants)
        factor = constants[constant_name]
        product = biased = producer(source_name)
        if biased is not None and biased.op == "BiasAdd" and biased.input[1] in constants:
            product = producer(biased.input[0])
        else:
            biased = None
        if product is None or product.op not in KERNEL_OPS or product.input[1] not in kernels:
            continue
        kernel = kernels[product.input[1]]
        outputs = kernel.shape[-2:] if product.op == "DepthwiseConv2dNative" else kernel.shape[-1:]
        if factor.shape[-1:] != (math.prod(outputs),) or factor.size != math.prod(outputs):
            continue
        if node.op == "Mul" and uses[product.input[1]] == 1:
            kernels[product.input[1]] = kernel * factor.reshape(outputs)
        elif node.op == "Mul" or biased is None:
            continue
        if biased is not None:
            combine = np.multiply if node.op == "Mul" else np.add
            bias = graph_def.node.add(name=f"{node.name}/bias")
            constants[bias.name] = combine(constants[biased.input[1]], factor.ravel())
            _make_constant(bias, constants[bias.name])
            biased.input[1] = bias.name
        node.op = "Identity"
        node.input[:] = [source_name]


def _with_constant_shapes(graph: tf.Graph) -> Graph:
    """Return the graph with -1 for the batch in every reshape.

    Keras computes the shape from the batch of the input, with four more operations that would end up in the files.
    """
    graph_def = graph.as_graph_def()
    for node in list(graph_def.node):
        if node.op != "Reshape":
            continue
        shape = graph.get_operation_by_name(node.name).outputs[0].shape
        if shape.rank is None or shape.as_list().count(None) != 1:
            continue
        constant = graph_def.node.add(name=f"{node.name}/constant_shape")
        _make_constant(constant, np.array([-1 if size is None else size for size in shape.as_list()], np.int32))
        node.attr["Tshape"].type = constant.attr["dtype"].type
        node.input[1] = constant.name
    return graph_def
