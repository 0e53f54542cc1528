"""What one call of a layer costs, and whether that is known."""

from __future__ import annotations

import math
from typing import Any

from keras import layers

from kerascnn.analysis.calls import Call, Graph, Shape
from kerascnn.keras_graph import trained_weights
from kerascnn.layers.ensembling import PhotoPreparation
from kerascnn.layers.lenet import PartialConv2D, RadialBasis

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}

# Their products are not counted, as in the papers: normalization, activations, pooling, sums, copies. They are listed
# by name, because a layer that is derived from one of them may do more.
_UNCOUNTED_LAYERS = {
    *("InputLayer", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Identity", "Dropout"),
    *("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "Rescaling", "Normalization"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    *("ZeroPadding2D", "Cropping2D", "Flatten", "Reshape", "Permute", "UpSampling2D"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "LocalResponseNormalization", "ChannelPadding"),
    *("TrainableSubsampling", "StochasticDepth", "FractalJoin", "GlobalDropPath", "WeightedMean", "FakeQuantization"),
}
# Operations of keras.ops on symbolic tensors, by name.
_ELEMENTWISE = {
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Power", "Negative", "Absolute", "Square", "Sqrt", "Exp"),
    *("Maximum", "Minimum", "Clip", "Relu", "Relu6", "Sigmoid", "Tanh", "Softmax", "Elu", "Selu", "Gelu", "Silu"),
    *("Cast", "Log", "Mod", "Sign"),
}
_UNCOUNTED_OPERATIONS = _ELEMENTWISE | {
    *("Reshape", "Transpose", "Pad", "Concatenate", "GetItem", "Mean", "Sum", "Max", "Min", "AveragePool", "MaxPool"),
    *("ExpandDims", "Squeeze", "Stack", "Flip"),
}
_IN_PLACE = {
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "BatchNormalization", "Rescaling"),
    "FakeQuantization",
    *("Relu", "Sigmoid", "Tanh"),
}
_VIEWS = {"Flatten", "Reshape", "Dropout", "SpatialDropout2D", "Identity", "GaussianNoise", "ActivityRegularization"}
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_GLOBAL_POOLS = (layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D)


def is_known(operation: Any) -> bool:
    """Return whether the work of a layer or operation is known: counted, or known not to count."""
    name = type(operation).__name__
    if isinstance(operation, layers.Layer):
        return _own(operation) and (name in _UNCOUNTED_LAYERS or isinstance(operation, _COUNTED))
    return name in _UNCOUNTED_OPERATIONS


def call_macs(call: Call, graph: Graph) -> int | None:
    """Count the multiply-accumulates of a call for one image; None if the layer is not known."""
    operation = call.operation
    if not hasattr(operation, "multiply_accumulates") and not is_known(operation):
        return None
    return counted_macs(operation, *(graph.shapes[side[0]] if side else () for side in (call.inputs, call.outputs)))


def counted_macs(operation: Any, before: Shape, after: Shape) -> int:
    """Count the multiply-accumulates of convolutions and dense layers for one image; 0 for all other operations.

    Args:
        operation: The layer or operation.
        before: Shape of its input, without the batch.
        after: Shape of its output, without the batch.
    """
    if callable(own := getattr(operation, "multiply_accumulates", None)):
        return int(own())
    # PhotoPreparation is what happens to a photo before the network.
    if not isinstance(operation, _COUNTED) or isinstance(operation, PhotoPreparation):
        return 0
    if isinstance(operation, layers.Dense):
        return _size(after[:-1]) * math.prod(operation.kernel.shape)
    last = getattr(operation, "data_format", "channels_last") == "channels_last"
    places_in, places_out = (_size(shape[:-1] if last else shape[1:]) for shape in (before, after))
    if isinstance(operation, layers.SeparableConv2D):
        return places_out * (math.prod(operation.depthwise_kernel.shape) + math.prod(operation.pointwise_kernel.shape))
    places = places_in if isinstance(operation, layers.Conv2DTranspose) else places_out
    return places * math.prod(operation.kernel.shape)


_COUNTED = (
    *(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.SeparableConv2D),
    *(layers.Conv2DTranspose, PartialConv2D, RadialBasis, PhotoPreparation),
)


def _own(operation: Any) -> bool:
    """Return whether it is a layer of Keras or of this package, and not one derived from it elsewhere."""
    return type(operation).__module__.split(".")[0] in ("keras", "kerascnn")


def pooling_operations(call: Call, graph: Graph) -> int:
    """Count a pooling layer as the lectures do: the size of the window for each output; 0 for other layers."""
    operation = call.operation
    if isinstance(operation, _POOLS):
        return graph.elements(call.outputs[0]) * math.prod(operation.pool_size)
    return graph.elements(call.inputs[0]) if isinstance(operation, _GLOBAL_POOLS) else 0


def is_view(operation: Any) -> bool:
    """Return whether its output is its input at inference, in another shape at most."""
    return _own(operation) and type(operation).__name__ in _VIEWS


def works_in_place(operation: Any) -> bool:
    """Return whether its output can be written over its input, element by element or channel by channel."""
    return is_view(operation) or (_own(operation) and type(operation).__name__ in _IN_PLACE)


def weight_counts(operation: Any) -> tuple[int, int]:
    """Count the weights that gradients train, and the others: statistics and fixed codes. Freezing does not matter."""
    if not isinstance(operation, layers.Layer):
        return 0, 0
    trained = {id(weight) for weight in trained_weights(operation)}
    counts = [0, 0]
    for weight in operation.weights:
        counts[id(weight) not in trained] += math.prod(weight.shape)
    return counts[0], counts[1]


def check_shapes(graph: Graph) -> None:
    """Refuse open sides, which leave the work and the memory open too.

    Raises:
        ValueError: A layer has one; the message names the first.
    """
    for call in graph.calls:
        for output in call.outputs:
            if None in graph.shapes[output]:
                raise ValueError(
                    f"The output of {call.name!r} has the shape {graph.shapes[output]}, without the batch, so its cost "
                    "is not fixed. Build the model with a fixed input_shape, or give one, such as "
                    "profile(model, input_shape=(224, 224, 3))."
                )


def _size(shape: Shape) -> int:
    return math.prod(side or 0 for side in shape)
