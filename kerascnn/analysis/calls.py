"""A functional model as a list of calls: each layer or operation with the tensors that it reads and makes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerascnn.keras_graph import has_graph, nodes_before, producer

Shape = tuple[int | None, ...]  # without the batch


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        name: The layer's; in nested models a path such as `trunk/conv1`.
        operation: The layer or operation.
        inputs: Numbers of the tensors that it reads.
        outputs: Numbers of the tensors that it makes.
    """

    name: str
    operation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """The calls of a model in topological order, branch by branch. A nested model is replaced by its own calls.

    Attributes:
        calls: The calls.
        shapes: The shapes of each tensor, without the batch.
        dtypes: The dtypes of each tensor.
        inputs: Numbers of the model's inputs.
        outputs: Numbers of the model's outputs.
    """

    calls: tuple[Call, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def elements(self, tensor: int) -> int:
        """Return how many numbers a tensor has for one image; an open side counts as 0."""
        return math.prod(side or 0 for side in self.shapes[tensor])


def read_calls(model: keras.Model, input_shape: Sequence[int] | None = None) -> Graph:
    """Read the calls of a functional model and of the models within it.

    Args:
        model: The model.
        input_shape: The input shape of its one input, without the batch, if that may be of any size.

    Returns:
        The graph.

    Raises:
        TypeError: It is not a Keras model.
        ValueError: The model has no graph, such as a subclassed one, or does not take `input_shape`.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"A Keras model is needed; this is {type(model).__name__}: {str(model)[:60]!r}.")
    if not has_graph(model):
        raise ValueError(
            f"{model.name!r} ({type(model).__name__}) has no graph to read: it is subclassed or not built yet. Build "
            "it with keras.Model(inputs, outputs); or wrap it, so that it counts as one unknown layer: "
            "keras.Model(x, model(x)) with x = keras.Input(...)."
        )
    reader = _Reader()
    tensors: list[Any] = list(model.inputs)
    specs = tensors if input_shape is None else [_resized(model, tuple(input_shape))]
    inputs = [reader.add(spec) for spec in specs]
    starts = {id(tensor): number for tensor, number in zip(tensors, inputs, strict=True)}
    for tensor, number in zip(tensors, inputs, strict=True):
        operation = producer(tensor)
        reader.calls.append(Call(operation.name, operation, (), (number,)))
    outputs = reader.walk(model, starts, "")
    return Graph(tuple(reader.calls), tuple(reader.shapes), tuple(reader.dtypes), tuple(inputs), tuple(outputs))


def _resized(model: keras.Model, shape: tuple[int, ...]) -> keras.KerasTensor:
    known = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    fits = len(known) == 1 and len(known[0]) == len(shape)
    if not fits or any(side not in (None, given) for side, given in zip(known[0], shape, strict=True)):
        raise ValueError(
            f"input_shape is (height, width, channels) of the one input of a model; {model.name} takes "
            f"{', '.join(map(str, known))}, and input_shape is {shape}."
        )
    return keras.KerasTensor((None, *shape), model.inputs[0].dtype)


class _Reader:
    """Collects calls; a nested model may be called several times, each time on other tensors."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.shapes: list[Shape] = []
        self.dtypes: list[str] = []
        self.specs: list[Any] = []

    def add(self, spec: Any) -> int:
        self.specs.append(spec)
        self.shapes.append(tuple(spec.shape[1:]))
        self.dtypes.append(str(spec.dtype))
        return len(self.shapes) - 1

    def walk(self, model: keras.Model, numbers: dict[int, int], prefix: str) -> list[int]:
        """Add the calls between the tensors in `numbers` (by id) and the outputs; return the outputs' numbers."""
        for node in nodes_before(model.outputs, numbers):
            sources = tuple(numbers[id(tensor)] for tensor in node.input_tensors)
            operation = node.operation
            if isinstance(operation, keras.Model) and has_graph(operation):
                inner = {id(tensor): number for tensor, number in zip(operation.inputs, sources, strict=True)}
                tensors = self.walk(operation, inner, f"{prefix}{operation.name}/")
            else:
                tensors = [self.add(spec) for spec in self._specs(node, numbers)]
                self.calls.append(Call(prefix + operation.name, operation, sources, tuple(tensors)))
            numbers.update((id(tensor), number) for tensor, number in zip(node.output_tensors, tensors, strict=True))
        return [numbers[id(tensor)] for tensor in model.outputs]

    def _specs(self, node: Any, numbers: Mapping[int, int]) -> Sequence[Any]:
        """Return the outputs of a call. A model of any size does not know them for the size that it was called on."""
        if all(
            tuple(tensor.shape[1:]) == self.shapes[numbers[id(tensor)]] for tensor in node.input_tensors
        ) or not isinstance(node.operation, keras.Operation):
            return node.output_tensors
        here = {id(tensor): self.specs[numbers[id(tensor)]] for tensor in node.input_tensors}
        arguments, options = keras.tree.map_structure(
            lambda value: here.get(id(value), value), (node.arguments.args, node.arguments.kwargs)
        )
        return keras.tree.flatten(node.operation.compute_output_spec(*arguments, **options))
