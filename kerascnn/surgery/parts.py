"""Parts of networks that share their layers and weights: without auxiliary classifiers, or one column."""

from __future__ import annotations

import keras

from kerascnn.build_info import carry_over
from kerascnn.keras_graph import node_of
from kerascnn.layers import AuxiliaryModel, FractalJoin, GlobalDropPath


def inference_model(model: keras.Model) -> keras.Model:
    """Return the network without its auxiliary classifiers, on the same layers; other models as they are."""
    if not isinstance(model, AuxiliaryModel):
        return model
    return carry_over(model, keras.Model(model.input, model.predictions, name=model.name))


def single_column(model: keras.Model, column: int | None = None) -> keras.Model:
    """Take one column out of a fractal network, as a network of its own that shares its layers and weights.

    Args:
        model: With one input and one output, such as `fractalnet20_cifar()`; also a loaded one.
        column: 1 is the shallowest; None the deepest, which the paper takes.

    Returns:
        A plain network without joins, which trains and is exported like any other.

    Raises:
        ValueError: The model has no such column, or several outputs.
    """
    drawn = [layer for layer in model.layers if isinstance(layer, GlobalDropPath)]
    if len(drawn) != 1 or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{model.name!r} is not a fractal network with one output (drop-path layers: {len(drawn)}, outputs: "
            f"{len(model.outputs)})."
        )
    columns = drawn[0].columns
    column = columns if column is None else column
    if column not in range(1, columns + 1):
        raise ValueError(f"{model.name!r} has the columns 1 to {columns}, the deepest last; column is {column!r}.")
    layers = []
    tensor = model.outputs[0]
    while tensor is not model.inputs[0]:
        node = node_of(tensor)
        layer, sources = node.operation, node.input_tensors
        if isinstance(layer, FractalJoin):
            tensor = sources[column - 1 - columns + len(sources) - 1]
        else:
            layers.append(layer)
            (tensor,) = sources
    for layer in reversed(layers):
        tensor = layer(tensor)
    return carry_over(model, keras.Model(model.inputs[0], tensor, name=f"{model.name}_column{column}"))
