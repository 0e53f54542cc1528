"""Parameters, multiply-accumulates and connections of a Keras functional model, counted from its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
from keras import layers

from kerascnn.analysis.calls import Call, Graph, read_calls
from kerascnn.analysis.costs import check_shapes, counted_macs
from kerascnn.keras_graph import all_layers
from kerascnn.layers.lenet import PartialConv2D, RadialBasis, TrainableSubsampling, units


@dataclass(frozen=True)
class Parameters:
    """Weights of a model.

    Attributes:
        trained: Weights that gradients change, frozen at the moment or not.
        statistics: Moving means and variances, which training only tracks.
        fixed: Weights that nothing changes: the codes of LeNet-5's outputs.
    """

    trained: int
    statistics: int
    fixed: int = 0


def count_parameters(model: keras.Model) -> Parameters:
    """Count the weights of a model, frozen or not."""
    parts = all_layers(model)
    normalizations = [layer for layer in parts if isinstance(layer, layers.BatchNormalization)]
    statistics = sum(math.prod(x.shape) for layer in normalizations for x in (layer.moving_mean, layer.moving_variance))
    fixed = sum(math.prod(layer.prototypes.shape) for layer in parts if isinstance(layer, RadialBasis))
    return Parameters(model.count_params() - statistics - fixed, statistics, fixed)


def count_macs(model: keras.Model) -> int:
    """Count the multiply-accumulates of the convolutions and dense layers for one image.

    Biases, normalization, activations and pooling are not counted, as in the papers' "FLOPs" and torchvision's.

    Raises:
        ValueError: A side of the input is open, so the work is not fixed.
    """
    graph = _fixed_graph(model)
    return sum(_macs(call, graph) for call in graph.calls)


def count_connections(model: keras.Model) -> dict[str, int]:
    """Count the connections of each layer that has weights as LeCun et al. 1998 (section II.B) do.

    There is one for each input of each unit, wherever in the image, and one for its bias.

    Returns:
        Name of the layer -> connections; 0 for layers whose units are not sums over inputs, such as batch
        normalization.

    Raises:
        ValueError: A side of the input is open, so their number is not fixed.
    """
    graph = _fixed_graph(model)
    return {call.name: _connections(call, graph) for call in graph.calls if getattr(call.operation, "weights", None)}


def _connections(call: Call, graph: Graph) -> int:
    layer = call.operation
    if isinstance(layer, TrainableSubsampling | PartialConv2D | RadialBasis):
        return layer.connections()
    products = _macs(call, graph)
    return products + (units(layer) if products and layer.use_bias else 0)


def _macs(call: Call, graph: Graph) -> int:
    if not call.inputs:
        return 0
    return counted_macs(call.operation, graph.shapes[call.inputs[0]], graph.shapes[call.outputs[0]])


def _fixed_graph(model: keras.Model) -> Graph:
    graph = read_calls(model)
    check_shapes(graph)
    return graph
