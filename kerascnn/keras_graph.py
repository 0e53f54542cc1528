"""Keras's private graph, which only this module reads, so that an upgrade of Keras is a change here.

Networks have thousands of layers in a row, so nothing here recurses.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

DEEPEST = 10_000  # ResNet-1202 has 4,200 layers in a row, each of them one call


class Node(Protocol):
    """One call of a layer or operation, as Keras keeps it."""

    operation: Any
    arguments: Any

    @property
    def input_tensors(self) -> list[KerasTensor]:
        """The tensors that it reads."""

    @property
    def output_tensors(self) -> list[KerasTensor]:
        """The tensors that it makes."""


def has_graph(model: Any) -> bool:
    """Return whether a model is made of calls that can be followed from its outputs."""
    outputs = list(getattr(model, "outputs", None) or ())
    return bool(getattr(model, "inputs", None) and outputs) and all(hasattr(x, "_keras_history") for x in outputs)


def input_structure(model: keras.Model) -> Any:
    """Return a model's inputs as they are given to it: one, a list, or a dictionary."""
    return model.inputs[0] if _is_sequential(model) else model.input


def output_structure(model: keras.Model) -> Any:
    """Return a model's outputs as it gives them: one, a list, or a dictionary."""
    return model.outputs[0] if _is_sequential(model) else model.output


def _is_sequential(model: keras.Model) -> bool:
    import keras

    return isinstance(model, keras.Sequential)


def node_of(tensor: KerasTensor) -> Node:
    """Return the call that made a tensor."""
    operation, index, _ = tensor._keras_history
    node: Node = operation._inbound_nodes[index]
    return node


def producer(tensor: KerasTensor) -> Any:
    """Return the layer or operation that made a tensor."""
    return tensor._keras_history.operation


def inputs_of(layer: keras.layers.Layer) -> list[KerasTensor]:
    """Return the tensors that a layer reads where it is called first."""
    return list(layer._inbound_nodes[0].input_tensors)


def consumers(layer: keras.layers.Layer, model: keras.Model) -> list[Any]:
    """Return the layers of a model that read what a layer makes, each once."""
    inside = {id(other) for other in model.layers}
    readers = {id(node.operation): node.operation for node in layer._outbound_nodes}
    return [reader for key, reader in readers.items() if key in inside]


def walk_back(tensor: KerasTensor) -> Iterator[Node]:
    """Yield the calls that a tensor came through, the last one first; of several inputs, it follows the first."""
    while True:
        node = node_of(tensor)
        yield node
        if not node.input_tensors:
            return
        tensor = node.input_tensors[0]


def nodes_before(outputs: Sequence[KerasTensor], known: Container[int] = ()) -> Iterator[Node]:
    """Yield the calls that tensors come from, each once, after those that it reads from, branch by branch.

    Args:
        outputs: the tensors.
        known: ids of tensors behind which it does not look.
    """
    done: set[int] = set()
    stack = [(tensor, False) for tensor in reversed(outputs)]
    while stack:
        tensor, ready = stack.pop()
        if id(tensor) in known:
            continue
        node = node_of(tensor)
        if id(node) in done:
            continue
        if ready:
            done.add(id(node))
            yield node
            continue
        stack.append((tensor, True))
        stack += [(source, False) for source in reversed(node.input_tensors)]


def all_layers(layer: keras.layers.Layer) -> list[Any]:
    """Return a layer or model and every layer within it, however deep."""
    return list(layer._flatten_layers())


def trained_weights(layer: keras.layers.Layer) -> list[Any]:
    """Return the weights that training changes, each once and whatever is frozen."""
    weights = {id(weight): weight for part in all_layers(layer) for weight in part._trainable_variables}
    return list(weights.values())


def run_graph(model: keras.Model, inputs: Any, call: Callable[[Any], Callable[..., Any]]) -> Any:
    """Run a functional model, with each layer replaced by what `call` makes of it.

    Args:
        model: the model.
        inputs: as the model takes them.
        call: gets a layer, and returns what is called instead of it.

    Returns:
        The model's outputs.
    """
    return model._run_through_graph(model._standardize_inputs(inputs), operation_fn=call)


def run_from(known: Mapping[int, Any], outputs: Sequence[KerasTensor]) -> list[Any]:
    """Compute tensors of a model's graph from others, as for inference.

    Args:
        known: values of tensors by their ids; every way to the outputs must come through one of them.
        outputs: the tensors.

    Returns:
        Their values.
    """
    import keras

    values = dict(known)
    for node in nodes_before(outputs, known):
        positional, named = node.arguments.fill_in(values)
        if getattr(node.operation, "_call_has_training_arg", False):
            named = {**named, "training": False}
        made = keras.tree.flatten(node.operation(*positional, **named))
        values.update(zip(map(id, node.output_tensors), made, strict=True))
    return [values[id(tensor)] for tensor in outputs]


@contextmanager
def deep_graphs() -> Iterator[None]:
    """Let Keras follow a deep network's graph, which it does recursively wherever it makes or loads a model."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextmanager
def without_values() -> Iterator[None]:
    """Build models whose weights have shapes, but no values, and take no memory. They cannot be used."""
    import keras
    from keras.src.backend.common import global_state

    waiting = "uninitialized_variables"
    before = list(global_state.get_global_attribute(waiting, []))
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras would make up for the weights that were left without values as soon as the next model is built.
        global_state.set_global_attribute(waiting, before)


_POSTPONED = "kerascnn_postponed_values"


def postpone_values() -> None:
    """From here on, build weights that have shapes, but no values yet, and take no memory.

    It ends with `give_values`, or with `drop_postponed` where building fails.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute("uninitialized_variables", []))
    scope = keras.StatelessScope(initialize_variables=False)
    scope.__enter__()
    global_state.set_global_attribute(_POSTPONED, (scope, waiting))


def give_values() -> None:
    """Give the weights that were built since `postpone_values` their initial values; nothing where none were."""
    waiting = _end_postponing()
    if waiting is not None:
        from keras.src.backend.common.variables import initialize_all_variables

        initialize_all_variables()


def drop_postponed() -> bool:
    """Forget the weights that were built since `postpone_values`; return whether any could have been."""
    from keras.src.backend.common import global_state

    waiting = _end_postponing()
    if waiting is not None:
        global_state.set_global_attribute("uninitialized_variables", waiting)
    return waiting is not None


def _end_postponing() -> list[Any] | None:
    """Leave the scope of `postpone_values`; return what was waiting for values before it, None where it is not open."""
    from keras.src.backend.common import global_state

    postponed = global_state.get_global_attribute(_POSTPONED, None)
    if postponed is None:
        return None
    global_state.set_global_attribute(_POSTPONED, None)
    scope, waiting = postponed
    scope.__exit__(None, None, None)
    return list(waiting)


def tensorflow_convolutions() -> Any:
    """Return the module with Keras's convolutions on TensorFlow, which it knows as `tf` there."""
    return importlib.import_module("keras.src.backend.tensorflow.nn")
