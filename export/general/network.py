"""What such a network takes and gives, by name, and its TensorFlow function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.checking.runtimes import TensorSpec
from export.errors import RequestError
from kerascnn.keras_graph import input_structure, output_structure, producer

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

NUMBERS = ("float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")
_AUTOMATIC = re.compile(r"(keras_tensor|input|input_layer|inputs)(_\d+)?$")  # names that nobody gave


@dataclass(frozen=True)
class Network:
    """A Keras model as a function of named tensors.

    Attributes:
        model: The model.
        inputs: What it takes, in the order of the model's own; None for the batch.
        outputs: What it gives, likewise.
    """

    model: keras.Model
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def answer(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Run the Keras model in inference mode, on tensors or arrays by the names of the inputs."""
        import keras

        flat = [tensors[spec.name] for spec in self.inputs]
        given = keras.tree.pack_sequence_as(input_structure(self.model), flat)
        outputs = keras.tree.flatten(self.model(given, training=False))
        return {spec.name: value for spec, value in zip(self.outputs, outputs, strict=True)}

    def trace(self, batch: int | None = None) -> tf.types.experimental.ConcreteFunction:
        """Trace it in float32, `{input: [batch, ...]} -> {output: [batch, ...]}`; None for an open batch."""
        import tensorflow as tf

        from export.tracing.graph import computing_in_float32, native_grouped_convolutions

        signature = [tf.TensorSpec((batch, *spec.shape[1:]), spec.dtype, spec.name) for spec in self.inputs]

        @tf.function(input_signature=signature, autograph=False)
        def network(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            named = {spec.name: tensor for spec, tensor in zip(self.inputs, tensors, strict=True)}
            with tf.name_scope("network"):
                outputs = self.answer(named)
            return {
                spec.name: tf.identity(tf.cast(outputs[spec.name], spec.dtype), name=spec.name) for spec in self.outputs
            }

        with computing_in_float32(self.model), native_grouped_convolutions():
            return network.get_concrete_function()


def is_general(model: keras.Model) -> bool:
    """Return whether a model is not simply one image of floats in, and one answer out."""
    if len(model.inputs) != 1 or len(model.outputs) != 1 or isinstance(output_structure(model), dict):
        return True
    image = model.inputs[0]
    return len(image.shape) != 4 or not image.dtype.startswith(("float", "bfloat"))


def network_of(model: keras.Model) -> Network:
    """Describe a functional model.

    Raises:
        RequestError: It takes or gives what no artifact can: texts, open sizes, ragged structures.
    """
    import keras

    inputs = [_spec(model, tensor, "input") for tensor in keras.tree.flatten(input_structure(model))]
    outputs = [_spec(model, tensor, "output") for tensor in keras.tree.flatten(output_structure(model))]
    names = _names(input_structure(model), [_AUTOMATIC.sub("", spec.name) for spec in inputs], "inputs")
    given = dict.fromkeys(names)
    output_names = _names(output_structure(model), _output_names(model), "outputs")
    output_names = [f"{name}_out" if name in given else name for name in output_names]
    return Network(model, _renamed(inputs, names), _renamed(outputs, output_names))


def _spec(model: keras.Model, tensor: Any, what: str) -> TensorSpec:
    shape, dtype = tuple(tensor.shape), tensor.dtype
    if dtype in ("float16", "bfloat16", "float64"):
        dtype = "float32"  # as all artifacts compute
    if dtype not in NUMBERS:
        raise RequestError(
            f"{model.name} has an {what} {tensor.name!r} of {dtype}, which no artifact can hold. Export the part of "
            f"the model that computes with numbers ({', '.join(NUMBERS)})."
        )
    if what == "input" and None in shape[1:]:
        raise RequestError(
            f"{model.name} takes an input {tensor.name!r} of shape {shape}: only the batch may be open. Give images a "
            "size with --input-size HxW (from Python: input_size=); fix a sequence's length with "
            f"keras.Model(x, model(x)), where x is a keras.Input of the shape that it has in use."
        )
    return TensorSpec(tensor.name, shape, dtype)


def _output_names(model: keras.Model) -> list[str]:
    return [producer(tensor).name for tensor in model.outputs]


def _names(structure: Any, names: Sequence[str], alone: str) -> list[str]:
    """Name the leaves of a structure: by a dictionary's keys, else by `names`, each one once."""
    if isinstance(structure, Mapping):
        import keras

        keys = {id(tensor): key for key, tensor in structure.items()}
        names = [str(keys.get(id(leaf), name)) for leaf, name in zip(keras.tree.flatten(structure), names, strict=True)]
    if len(names) == 1 and not isinstance(structure, Mapping):
        return [_identifier(names[0]) if alone == "inputs" and names[0] else alone]
    unique: list[str] = []
    for index, name in enumerate(names):
        plain = _identifier(name) if name else f"{alone.removesuffix('s')}_{index + 1}"
        unique.append(plain if plain not in unique else f"{plain}_{index + 1}")
    return unique


def _identifier(name: str) -> str:
    """Return a name that TensorFlow, TFLite and ONNX all take."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain[:1].isalpha() and plain != "network" else f"x_{plain}"


def _renamed(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, (None, *spec.shape[1:]), spec.dtype) for name, spec in zip(names, specs, strict=True))


Values = Mapping[str, "np.ndarray"]
