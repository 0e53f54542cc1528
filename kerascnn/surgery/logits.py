"""How a classifier ends: in a softmax, in logits, or in probabilities that were averaged."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers

from kerascnn.keras_graph import deep_graphs, node_of, walk_back
from kerascnn.layers.ensembling import WeightedMean

Ending = Literal["softmax", "probabilities", "logits"]

_RESHAPING = ("Flatten", "Reshape", "Identity", "Squeeze")
_UNBOUNDED = (None, keras.activations.linear, keras.activations.log_softmax)
_POOLING = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)


def without_softmax(model: keras.Model) -> keras.Model | None:
    """Return a model that ends before the final softmax of `model`; None where it has none.

    It shares the layers and weights of `model`. Where the softmax is the activation of a layer with weights, that one
    layer is a copy, which later training does not reach.
    """

    def before(tensor: Any) -> Any | None:
        node = node_of(tensor)
        operation, sources = node.operation, node.input_tensors
        if isinstance(operation, keras.Model):
            inner = without_softmax(operation)
            return None if inner is None else inner(sources[0])
        if type(operation).__name__ in _RESHAPING:
            return before(sources[0])
        if not _is_softmax(operation):
            return None
        if isinstance(operation, layers.Softmax | layers.Activation):
            return sources[0]
        config = operation.get_config() | {"activation": "linear", "name": f"{operation.name}_logits"}
        linear = type(operation).from_config(config)
        logits = linear(sources[0])
        linear.set_weights(operation.get_weights())
        return logits

    logits = before(model.outputs[0])
    with deep_graphs():
        return None if logits is None else keras.Model(model.inputs[0], logits)


def ending(model: keras.Model) -> Ending:
    """Tell how `model` ends: "softmax"; "probabilities", the mean that ends an ensemble; or "logits".

    Raises:
        ValueError: It ends in something else, such as a sigmoid, or in pooled features without a classifier.
    """
    operation = _last_operation(model.outputs[0])
    if isinstance(operation, WeightedMean):
        return "probabilities"
    if _is_softmax(operation):
        return "softmax"
    activation = getattr(operation, "activation", None)
    if activation not in _UNBOUNDED:
        name = getattr(activation, "__name__", activation)
        raise ValueError(
            f"{model.name} ends in the activation {name!r}, which gives neither probabilities nor logits. Take a model "
            "that ends in a softmax, or without an activation (classifier_activation=None)."
        )
    if isinstance(operation, _POOLING):
        raise ValueError(
            f"{model.name} ends in the pooling layer {operation.name!r}: these are features, not class scores. Build "
            "it with include_top=True."
        )
    return "logits"


def _last_operation(tensor: Any) -> Any:
    for node in walk_back(tensor):
        if isinstance(node.operation, keras.Model):
            return _last_operation(node.operation.outputs[0])
        if type(node.operation).__name__ not in _RESHAPING:
            return node.operation
    return None


def _is_softmax(operation: Any) -> bool:
    return isinstance(operation, layers.Softmax) or (
        getattr(operation, "activation", None) is keras.activations.softmax
    )
