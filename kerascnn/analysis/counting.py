"""Parameters and multiply-accumulates of a Keras functional model, counted from its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
from keras import layers

from kerascnn.keras_graph import all_layers
from kerascnn.layers.lenet import PartialConv2D, RadialBasis, TrainableSubsampling, units


@dataclass(frozen=True)
class Parameters:
    """Weights of a model: `trained` ones, `statistics` (moving means and variances) that training only tracks, and
    `fixed` ones that nothing changes (the codes of LeNet-5's outputs)."""

    trained: int
    statistics: int
    fixed: int = 0


def count_parameters(model: keras.Model) -> Parameters:
    """Count the weights of a model, whatever is frozen at the moment."""
    total = model.count_params()
    statistics = sum(
        math.prod(weight.shape)
        for layer in all_layers(model)
        if isinstance(layer, layers.BatchNormalization)
        for weight in (layer.moving_mean, layer.moving_variance)
    )
    fixed = sum(math.prod(layer.prototypes.shape) for layer in all_layers(model) if isinstance(layer, RadialBasis))
    return Parameters(trained=total - statistics - fixed, statistics=statistics, fixed=fixed)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of the convolutions and dense layers for one image.

    Biases, normalisation, activations and pooling are not counted, as in the papers' "FLOPs" and torchvision's.

    Raises:
        ValueError: a side of the input is None, so that the work is not fixed.
    """
    return sum(layer_macs(layer) for layer in all_layers(model))


def layer_macs(layer: keras.layers.Layer) -> int:
    """Multiply-accumulates of one layer for one image; 0 for layers that are not counted."""
    if isinstance(layer, PartialConv2D | RadialBasis):
        return layer.multiply_accumulates()
    if isinstance(layer, layers.Dense):
        return _positions(layer) * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.DepthwiseConv2D | layers.Conv2D):
        height, width, inputs, outputs = layer.kernel.shape
        if isinstance(layer, layers.DepthwiseConv2D):
            outputs = inputs * outputs
            inputs = 1
        return _positions(layer) * height * width * inputs * outputs
    return 0


def count_connections(model: keras.Model) -> dict[str, int]:
    """Connections of each layer that has weights, by its name, as LeCun et al. 1998 (section II.B) count them.

    One for each input of each unit, wherever in the image, and one for its bias.

    Raises:
        ValueError: a side of the input is None, so that their number is not fixed.
    """
    return {layer.name: layer_connections(layer) for layer in model.layers if layer.weights}


def layer_connections(layer: keras.layers.Layer) -> int:
    """Connections of one layer; 0 for layers whose units are not sums over inputs, such as batch normalisation."""
    if isinstance(layer, TrainableSubsampling | PartialConv2D | RadialBasis):
        return layer.connections()
    products = layer_macs(layer)
    return products + (units(layer) if products and layer.use_bias else 0)


def _positions(layer: keras.layers.Layer) -> int:
    sides = layer.output.shape[1:-1]
    if None in sides:
        raise ValueError(
            f"The output of {layer.name} has the shape {layer.output.shape}: build the model with a fixed "
            "input_shape to count its operations."
        )
    return math.prod(sides)
