"""The one freeze that TFLite and ONNX share: constants for variables, batch normalisation folded away."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError

if TYPE_CHECKING:
    import tensorflow as tf

    from export.tracing.graph import TracedModel

KERNEL_OPS = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
SHARED_VALUES = 64  # that a kernel has at most, for int8 to keep weights equal that are: with more, little is gained
_PROTOBUF_LIMIT = 2**31 - 2**20  # a protocol buffer ends at 2 GiB; the rest is room for the nodes


@dataclass(frozen=True)
class FrozenGraph:
    """A graph of constants, with batch normalisation folded into the convolutions.

    The kernels of convolutions and dense layers are nearly all of its bytes and are kept beside the graph: every tool
    that rewrites a graph copies it, many times over.

    Attributes:
        graph_def: GraphDef from the node `input_name` to the node `output_name`; a placeholder for each kernel.
        kernels: float32 values by the name of the placeholder.
        shared: names of the kernels whose weights share few values, before normalisation is folded into them and after
            in each output channel.
    """

    graph_def: Any
    kernels: dict[str, np.ndarray]
    shared: frozenset[str] = frozenset()

    def with_kernels(self) -> Any:
        """The GraphDef with the kernels as constants, for tools that need all of it."""
        complete = type(self.graph_def)()
        complete.CopyFrom(self.graph_def)
        for node in complete.node:
            if node.name in self.kernels:
                _make_constant(node, self.kernels[node.name])
        return complete


def freeze(traced: TracedModel) -> FrozenGraph:
    """Freeze a traced model.

    Raises:
        ExportError: the weights exceed the 2 GiB of a protocol buffer.
    """
    values = {id(variable.handle): variable.numpy() for variable in traced.variables}
    weights = sum(value.nbytes for value in values.values())
    if weights > _PROTOBUF_LIMIT:
        raise ExportError(
            f"Model {traced.model.name!r} has {weights / 2**30:.2f} GiB of weights, and TFLite and ONNX files "
            "end at 2 GiB. Export it as a SavedModel only."
        )
    graph = traced.function.graph
    ends = [f"{traced.input_name}:0", f"{traced.output_name}:0"]
    graph_def = _with_constant_shapes(graph)
    if graph_def.library.function:  # a layer with a tf.function of its own, which may read variables
        graph_def = _optimize(graph_def, ends, "function")
    captured = {inner.op.name: values[id(outer)] for outer, inner in graph.captures if id(outer) in values}
    kernels = _replace_variables(graph_def, captured)
    graph_def = _optimize(graph_def, ends, "constfold")  # makes each batch normalisation a constant scale and shift
    shared = frozenset(name for name, kernel in kernels.items() if _shares(kernel))
    _fold_scales_and_shifts(graph_def, kernels)
    return FrozenGraph(_optimize(graph_def, ends, "constfold"), kernels, shared)  # drops what is not used any more


def _replace_variables(graph_def: Any, captured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Make a placeholder of each read of a kernel, and a constant of every other read; returns the kernels.

    TensorFlow's own freezing (convert_variables_to_constants_v2) does the second for all variables, copies the weights
    with every step and rebuilds the graph node by node: several times slower, and tens of seconds for a VGG.
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
        # Order of execution matters to state, and there is none left.
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
    few = kernel.ravel()[:: max(kernel.size // 1024, 1)]  # tells most kernels at once
    if len(np.unique(few)) > SHARED_VALUES:
        return False
    return len(np.unique(kernel)) <= min(SHARED_VALUES, kernel.size // 2)


def _make_constant(node: Any, value: np.ndarray) -> None:
    import tensorflow as tf

    name = node.name
    node.Clear()
    node.name, node.op = name, "Const"
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype


def _fold_scales_and_shifts(graph_def: Any, kernels: dict[str, np.ndarray]) -> None:
    """Turn (x * kernel [+ bias]) * scale + shift, constant for each channel, into x * kernel' [+ bias'] [+ shift].

    A shift with no bias to join stays; every converter makes it the bias. Grappler does the same for kernels that are
    constants, but not across a bias and not for depthwise convolutions.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    uses = Counter(name for node in graph_def.node for name in node.input)
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in nodes.values() if node.op == "Const"}

    def producer(name: str) -> Any:
        """The node behind `name` if nothing else uses it, past the nodes already folded away."""
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


def _optimize(graph_def: Any, ends: list[str], optimizer: str) -> Any:
    """Run one of Grappler's optimizers, keep what the two `ends` need, and drop the rest."""
    # TFLite's converter and tf2onnx each import these modules for the same purpose; there is no public way to them.
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers[:] = [optimizer]
    options.meta_optimizer_iterations = options.ONE
    options.min_graph_nodes = -1  # small graphs too
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value[:] = ends  # where Grappler looks for what must stay
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _with_constant_shapes(graph: tf.Graph) -> Any:
    """The graph with -1 for the batch in every reshape.

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
