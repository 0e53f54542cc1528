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

# Their products are not counted, as in the papers: normalisation, activations, pooling, sums, copies. By name, because
# each is known only for what it does itself: a layer that is derived from one of them may do more.
_UNCOUNTED_LAYERS = {
    *("InputLayer", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Identity", "Dropout"),
    *("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization"),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "Rescaling", "Normalization"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
    *("ZeroPadding2D", "Cropping2D", "Flatten", "Reshape", "Permute", "UpSampling2D"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D", "LocalResponseNormalization", "ChannelPadding"),
    *("TrainableSubsampling", "StochasticDepth", "FractalJoin", "GlobalDropPath", "WeightedMean"),
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
    *("Relu", "Sigmoid", "Tanh"),
}
_VIEWS = {"Flatten", "Reshape", "Dropout", "SpatialDropout2D", "Identity", "GaussianNoise", "ActivityRegularization"}
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_GLOBAL_POOLS = (layers.GlobalMaxPooling2D, layers.GlobalAveragePooling2D)


def is_known(operation: Any) -> bool:
    """Whether the work of a layer or operation is known: counted, or known not to count."""
    name = type(operation).__name__
    if isinstance(operation, layers.Layer):
        return _own(operation) and (name in _UNCOUNTED_LAYERS or isinstance(operation, _COUNTED))
    return name in _UNCOUNTED_OPERATIONS


def call_macs(call: Call, graph: Graph) -> int | None:
    """Multiply-accumulates for one image, as `count_macs` counts them; None where the layer is not known."""
    operation = call.operation
    if callable(own := getattr(operation, "multiply_accumulates", None)):
        return own()
    if not is_known(operation):
        return None
    if not isinstance(operation, _COUNTED):
        return 0
    before, after = graph.shapes[call.inputs[0]], graph.shapes[call.outputs[0]]
    if isinstance(operation, PhotoPreparation):
        return 0  # what happens to a photo before the network
    if isinstance(operation, layers.Dense):
        return _size(after[:-1]) * math.prod(operation.kernel.shape)
    last = getattr(operation, "data_format", "channels_last") == "channels_last"
    sides_in, sides_out = (_size(shape[:-1] if last else shape[1:]) for shape in (before, after))
    if isinstance(operation, layers.SeparableConv2D):
        return sides_out * (math.prod(operation.depthwise_kernel.shape) + math.prod(operation.pointwise_kernel.shape))
    if isinstance(operation, layers.Conv2DTranspose):
        return sides_in * math.prod(operation.kernel.shape)
    return sides_out * math.prod(operation.kernel.shape)


_COUNTED = (
    *(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D, layers.SeparableConv2D),
    *(layers.Conv2DTranspose, PartialConv2D, RadialBasis, PhotoPreparation),
)


def _own(operation: Any) -> bool:
    """Whether it is a layer of Keras or of this package, and not one derived from it elsewhere."""
    return type(operation).__module__.split(".")[0] in ("keras", "kerascnn")


def pooling_operations(call: Call, graph: Graph) -> int:
    """The lectures' count of a pooling layer: the size of the window for each output element; 0 for other layers."""
    operation = call.operation
    if isinstance(operation, _POOLS):
        return _size(graph.shapes[call.outputs[0]]) * math.prod(operation.pool_size)
    if isinstance(operation, _GLOBAL_POOLS):
        return _size(graph.shapes[call.inputs[0]])
    return 0


def is_view(operation: Any) -> bool:
    """Whether its output is its input at inference, in another shape at most."""
    return _own(operation) and type(operation).__name__ in _VIEWS


def works_in_place(operation: Any) -> bool:
    """Whether its output can be written over its input, element by element, or channel by channel."""
    return is_view(operation) or (_own(operation) and type(operation).__name__ in _IN_PLACE)


def weight_counts(operation: Any) -> tuple[int, int]:
    """(trained weights, those that training never touches as gradients: statistics and codes), frozen or not."""
    if not isinstance(operation, layers.Layer):
        return 0, 0
    trained = {id(weight) for weight in trained_weights(operation)}
    counts = [0, 0]
    for weight in operation.weights:
        counts[id(weight) not in trained] += math.prod(weight.shape)
    return counts[0], counts[1]


def check_shapes(graph: Graph) -> None:
    """Refuse sides of None: the work and the memory would not be fixed.

    Raises:
        ValueError: with the first layer that has one.
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
