"""Trace a Keras model once for every format."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from export.errors import RequestError
from export.tracing.freezing import FrozenGraph, freeze
from kerascnn.keras_graph import all_layers, tensorflow_convolutions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import keras
    import tensorflow as tf

_SCOPE = "network"


@dataclass(frozen=True)
class TracedModel:
    """A Keras model as TensorFlow graphs, in inference mode and in float32.

    The weights are those the model holds when `frozen` is first read; do not change them in between.

    Attributes:
        model: the traced model.
        function: concrete function over variables, `{input_name: [None, H, W, C]} -> {output_name: [None, ...]}`.
        input_name: name of the input in every artifact.
        output_name: name of the output in every artifact.
        input_shape: with None for the batch.
        output_shape: with None for the batch.
        own_variables: variables that nothing but the function has; a function does not keep its variables alive.
    """

    model: keras.Model
    function: tf.types.experimental.ConcreteFunction
    input_name: str
    output_name: str
    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    own_variables: tuple[tf.Variable, ...] = ()

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that the function reads, and that a SavedModel has to store."""
        return list(self.function.variables)

    @cached_property
    def frozen(self) -> FrozenGraph:
        """The graph without variables, computed once.

        Raises:
            ExportError: the weights exceed the 2 GiB of a protocol buffer.
        """
        return freeze(self.function, [f"{self.input_name}:0", f"{self.output_name}:0"], self.model.name)


def trace(model: keras.Model, *, input_name: str = "images", output_name: str = "probabilities") -> TracedModel:
    """Trace `model` once for all formats.

    A model in mixed precision is traced in float32, as are its variables: the format decides what an artifact computes
    in. Compare an artifact with the model inside `computing_in_float32`.

    Args:
        model: with one image input of a fixed size and one output.
        input_name: name of the input in every artifact.
        output_name: name of the output in every artifact.

    Raises:
        RequestError: the backend is not TensorFlow, the model has more than one input or output or an open image size,
            or a name cannot be used.
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
    """Let the layers of a model in mixed precision compute in float32 while the block lasts."""
    changed = [(layer, layer.dtype_policy) for layer in _in_other_types(model)]
    try:
        for layer, _ in changed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def computes_in_float32(model: keras.Model) -> bool:
    """Tell whether a model computes in float32 anyway."""
    return not _in_other_types(model)


def _in_other_types(model: keras.Model) -> list[Any]:
    return [
        layer for layer in all_layers(model) if layer.compute_dtype != "float32" and layer.quantization_mode is None
    ]


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
) -> tf.types.experimental.ConcreteFunction:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name=input_name)], autograph=False)
    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # A layer may be called like the output. Inside a scope of their own the layers cannot take its name.
        with tf.name_scope(_SCOPE):
            outputs = tf.cast(call(images), tf.float32)
        return {output_name: tf.identity(outputs, name=output_name)}

    with native_grouped_convolutions():
        return network.get_concrete_function()


@contextmanager
def native_grouped_convolutions() -> Iterator[None]:
    """Keep Keras from hiding grouped convolutions in an XLA call.

    Keras compiles them with XLA because TensorFlow has no CPU gradient for them. An exported graph needs no gradient,
    and neither ONNX nor a SavedModel on a server without XLA can run the call.
    """
    keras_nn = tensorflow_convolutions()
    tensorflow = keras_nn.tf

    class _WithoutFunctions(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return getattr(tensorflow, name)

    keras_nn.tf = _WithoutFunctions(function=lambda **_: lambda body: body)
    try:
        yield
    finally:
        keras_nn.tf = tensorflow
