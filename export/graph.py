"""The one trace and the one freeze that every format shares."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import keras
    import tensorflow as tf

_SCOPE = "network"
_PROTOBUF_LIMIT = 2**31 - 2**20  # a protocol buffer ends at 2 GiB; the rest is room for the nodes


@dataclass(frozen=True)
class TracedModel:
    """A Keras model as TensorFlow graphs, in inference mode and in float32.

    The weights are those the model holds when `frozen` is first read; do not change them in between.

    Attributes:
        model: the traced model.
        function: concrete function over variables, `{input_name: [None, H, W, C]} -> {output_name: [None, ...]}`.
        input_name, output_name: names in every artifact.
        input_shape, output_shape: with None for the batch.
    """

    model: keras.Model
    function: Any
    input_name: str
    output_name: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]

    @property
    def variables(self) -> list[tf.Variable]:
        """What the function reads, and so what a SavedModel has to store."""
        return list(self.function.variables)

    @cached_property
    def frozen(self) -> Any:
        """GraphDef with constants only, batch normalisation folded into the convolutions; computed once.

        Its input is the node `input_name`, its output the node `output_name`.

        Raises:
            ExportError: the weights exceed the 2 GiB of a protocol buffer.
        """
        return _freeze(self)


def trace(model: keras.Model, *, input_name: str = "images", output_name: str = "probabilities") -> TracedModel:
    """Trace `model` once for all formats.

    A model in mixed precision is traced in float32, as are its variables: what an artifact computes in is the
    format's choice. Compare it with the model inside `computing_in_float32`.

    Raises:
        RequestError: not the TensorFlow backend; more than one input or output; open image size; unusable names.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"Export needs Keras on TensorFlow, and it runs on {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow before Python starts; weights are the same on every backend."
        )
    _check_names(input_name, output_name)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RequestError(
            f"Model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; "
            "export takes one of each. Wrap what you need: keras.Model(model.inputs[0], model.outputs[0])."
        )
    input_shape = (None, *model.inputs[0].shape[1:])
    if None in input_shape[1:]:
        raise RequestError(
            f"Model {model.name!r} has an open input size {input_shape}; an artifact needs a fixed one. "
            "Build the model with an input_shape, for example input_shape=(224, 224, 3)."
        )
    with computing_in_float32(model):
        function = _concrete_function(
            lambda images: model(images, training=False), input_name, output_name, input_shape
        )
    output_shape = (None, *function.structured_outputs[output_name].shape.as_list()[1:])
    return TracedModel(model, function, input_name, output_name, input_shape, output_shape)


@contextmanager
def computing_in_float32(model: keras.Model) -> Iterator[None]:
    """Run the layers of a model in mixed precision in float32 while the block lasts."""
    changed = [
        (layer, layer.dtype_policy)
        for layer in model._flatten_layers()
        if layer.compute_dtype != "float32" and layer.quantization_mode is None
    ]
    try:
        for layer, _ in changed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def _check_names(input_name: str, output_name: str) -> None:
    for role, name in (("input", input_name), ("output", output_name)):
        if not (name.isascii() and name.isidentifier()) or name == _SCOPE:
            raise RequestError(
                f"The {role} name {name!r} cannot be used: letters, digits and _, not starting with a digit, "
                f"and not {_SCOPE!r}, which is the scope of the inner operations."
            )
    if input_name == output_name:
        raise RequestError(f"Input and output are both called {input_name!r}; give them different names.")


def _concrete_function(
    call: Callable[[tf.Tensor], tf.Tensor], input_name: str, output_name: str, shape: tuple[int | None, ...]
) -> Any:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=input_name)], autograph=False)
    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # A layer may be called like the output. Inside a scope of their own the layers cannot take its name.
        with tf.name_scope(_SCOPE):
            outputs = tf.cast(call(images), tf.float32)
        return {output_name: tf.identity(outputs, name=output_name)}

    with _native_grouped_convolutions():
        return network.get_concrete_function()


@contextmanager
def _native_grouped_convolutions() -> Iterator[None]:
    """Keep Keras from hiding grouped convolutions in an XLA call.

    Keras compiles them with XLA because TensorFlow has no CPU gradient for them. An exported graph needs no gradient,
    and neither ONNX nor a SavedModel on a server without XLA can run the call.
    """
    import keras.src.backend.tensorflow.nn as keras_nn

    tensorflow = keras_nn.tf

    class _WithoutFunctions(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return getattr(tensorflow, name)

    keras_nn.tf = _WithoutFunctions(function=lambda **_: lambda body: body)
    try:
        yield
    finally:
        keras_nn.tf = tensorflow


def _freeze(traced: TracedModel) -> Any:
    model = traced.model
    weights = sum(variable.numpy().nbytes for variable in traced.variables)
    if weights > _PROTOBUF_LIMIT:
        raise ExportError(
            f"Model {model.name!r} has {weights / 2**30:.2f} GiB of weights; TFLite and ONNX files end at 2 GiB. "
            "Export it as a SavedModel only."
        )
    # Tracing with arrays in place of variables gives a frozen graph at once. TensorFlow's own freezing
    # (convert_variables_to_constants_v2) rebuilds the graph node by node and takes three times as long.
    trainable = [variable.numpy() for variable in model.trainable_variables]
    others = [variable.numpy() for variable in model.non_trainable_variables]
    with computing_in_float32(model):
        function = _concrete_function(
            lambda images: model.stateless_call(trainable, others, images, training=False)[0],
            traced.input_name,
            traced.output_name,
            traced.input_shape,
        )
    ends = [f"{traced.input_name}:0", f"{traced.output_name}:0"]
    # The first pass makes each batch normalisation a constant scale and shift, the second moves them into the kernels.
    folded = _fold_constants(_with_constant_shapes(function.graph), ends)
    _scale_before_bias(folded)
    return _fold_constants(folded, ends)


def _fold_constants(graph_def: Any, ends: list[str]) -> Any:
    # TFLite's converter and tf2onnx each import this module for the same purpose; there is no public way to it.
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers[:] = ["function", "constfold"]
    options.meta_optimizer_iterations = options.ONE
    options.min_graph_nodes = -1  # small graphs too
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value[:] = ends  # where Grappler looks for what must stay
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _scale_before_bias(graph_def: Any) -> None:
    """Write (x + bias) * scale as x * scale + bias * scale, for constants.

    Constant folding moves a scale into the kernel of the convolution before it, but not across a bias.
    """
    nodes = {node.name: node for node in graph_def.node}
    uses = Counter(name for node in graph_def.node for name in node.input)
    for node in list(graph_def.node):
        if node.op != "Mul":
            continue
        for biased_name, scale_name in (node.input, reversed(node.input)):
            biased, scale = nodes.get(biased_name), nodes.get(scale_name)
            if (
                biased is None
                or scale is None
                or biased.op != "BiasAdd"
                or scale.op != "Const"
                or uses[biased.name] > 1
            ):
                continue
            parts = []
            for part, source in (("scaled", biased.input[0]), ("bias", biased.input[1])):
                product = graph_def.node.add(name=f"{node.name}/{part}", op="Mul", input=[source, scale.name])
                product.attr["T"].CopyFrom(node.attr["T"])
                parts.append(product.name)
            node.op = "AddV2"
            node.input[:] = parts
            break


def _with_constant_shapes(graph: tf.Graph) -> Any:
    """The graph with -1 for the batch in every reshape.

    Keras computes the shape from the batch of the input, with four more operations that would end up in the files.
    """
    import tensorflow as tf

    graph_def = graph.as_graph_def()
    for node in list(graph_def.node):
        if node.op != "Reshape":
            continue
        shape = graph.get_operation_by_name(node.name).outputs[0].shape
        if shape.rank is None or shape.as_list().count(None) != 1:
            continue
        constant = graph_def.node.add(name=f"{node.name}/constant_shape", op="Const")
        constant.attr["dtype"].type = node.attr["Tshape"].type
        target = [-1 if size is None else size for size in shape.as_list()]
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(target, dtype=node.attr["Tshape"].type))
        node.input[1] = constant.name
    return graph_def
