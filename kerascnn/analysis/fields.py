"""What a network's outputs see of the image: in theory from the graph, in effect from gradients.

The theory is the arithmetic of Araujo, Norris & Sim 2019 (Computing Receptive Fields of Convolutional Neural Networks,
Distill). Where paths meet, their fields are united.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras
import numpy as np
from keras import layers

from kerascnn.analysis.calls import Call, Graph, Shape, read_calls
from kerascnn.analysis.costs import is_known
from kerascnn.layers import AdaptiveAveragePooling2D, PartialConv2D, TrainableSubsampling

_WINDOWS = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    PartialConv2D,
    TrainableSubsampling,
)
_GLOBAL = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Flatten)


@dataclass(frozen=True)
class Axis:
    """A field along one axis: output i sees the pixels `start` + i * `jump` to `start` + i * `jump` + `size` - 1.

    Attributes:
        size: Pixels that an output sees.
        jump: Pixels between neighboring outputs (the cumulative stride); 0 if there is a single place.
        start: First pixel that output 0 sees; negative if it reaches over the edge, into padding.
    """

    size: int
    jump: Fraction
    start: Fraction

    @property
    def end(self) -> Fraction:
        """The last pixel that output 0 sees."""
        return self.start + self.size - 1

    @property
    def padding(self) -> Fraction:
        """How far output 0 reaches over the edge, in pixels of the image; negative if it does not reach the edge."""
        return -self.start


@dataclass(frozen=True)
class Field:
    """The receptive field of a tensor.

    Attributes:
        height: Along the height.
        width: Along the width.
        whole: Whether every output also sees the whole image, through global pooling.
    """

    height: Axis
    width: Axis
    whole: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, without what global pooling adds beside the convolutions."""
        return self.height.size, self.width.size


def receptive_fields(graph: Graph) -> list[Field | None]:
    """Find the field of each tensor in the image; None if it has none or a layer before it is not known."""
    image = Axis(1, Fraction(1), Fraction(0))
    fields: list[Field | None] = [None] * len(graph.shapes)
    for call in graph.calls:
        if not call.inputs:
            field = Field(image, image) if len(graph.shapes[call.outputs[0]]) == 3 else None
        else:
            field = _field(call, [fields[i] for i in call.inputs], graph)
        for output in call.outputs:
            fields[output] = field
    return fields


def receptive_field(model: keras.Model, layer: str | None = None) -> Field:
    """Find the theoretical receptive field of a layer's output.

    Args:
        model: A functional model.
        layer: Name of the layer; by default that of the last feature map.

    Returns:
        The field.

    Raises:
        ValueError: The model has no graph, no such layer, or a layer whose field is not known.
    """
    graph = read_calls(model)
    call = find_map(graph, layer)
    field = receptive_fields(graph)[call.outputs[0]]
    if field is None:
        raise ValueError(
            f"The receptive field of {call.name!r} is not known: the windows of a layer before it cannot be read, or "
            "its input has sides of None. profile(model).layers shows at which layer it ends."
        )
    return field


def find_map(graph: Graph, layer: str | None) -> Call:
    """Find the call of a layer; by default the last one that makes a feature map of more than one place.

    Raises:
        ValueError: There is none.
    """
    for call in reversed(graph.calls):
        shape = graph.shapes[call.outputs[0]]
        if call.name == layer or (layer is None and len(shape) == 3 and shape[0] != 1 and call.inputs):
            return call
    if layer is None:
        raise ValueError("The model makes no feature map (height, width, channels) of more than one place.")
    near = [call.name for call in graph.calls if layer in call.name][:5]
    hint = f"Names that contain it: {', '.join(near)}." if near else "profile(model).layers has every name."
    raise ValueError(f"The model has no layer {layer!r}. {hint}")


def _field(call: Call, sources: Sequence[Field | None], graph: Graph) -> Field | None:
    shapes = [graph.shapes[i] for i in call.inputs]
    known = [field for field in sources if field is not None]
    if len(known) < len(sources) and type(call.operation).__name__ != "FractalJoin":
        return None  # the columns that a join chooses have no place in the image
    if len(known) > 1 or len(sources) > 1:
        return _union(known)
    field, shape, after = known[0], shapes[0], graph.shapes[call.outputs[0]]
    if len(shape) != 3 or (shape[:2] == (1, 1) and not isinstance(call.operation, layers.ZeroPadding2D)):
        return field  # there is only one place, whatever is done to it
    if len(after) != 3 and not isinstance(call.operation, _GLOBAL):
        return None
    windows = [_window(call.operation, axis, shape, after) for axis in (0, 1)]
    if None in windows:
        return None
    height, width = (_slide(one, *w) for one, w in zip((field.height, field.width), windows, strict=True) if w)
    return Field(height, width, field.whole or isinstance(call.operation, _GLOBAL))


def _slide(axis: Axis, size: int, step: int, before: int) -> Axis:
    """Slide a window of `size` places by `step` (0: there is one window); the first begins `before` the map."""
    return Axis(int(axis.size + (size - 1) * axis.jump), axis.jump * step, axis.start - before * axis.jump)


def _union(fields: Sequence[Field]) -> Field | None:
    """Unite fields where paths meet: from the first to the last pixel of any. Global pooling sees all of the image."""
    local = [field for field in fields if field.height.jump] or list(fields)
    sides = []
    for side in ("height", "width"):
        axes: list[Axis] = [getattr(field, side) for field in local]
        if len({axis.jump for axis in axes}) > 1:
            return None
        start, end = min(axis.start for axis in axes), max(axis.end for axis in axes)
        sides.append(Axis(int(end - start) + 1, axes[0].jump, start))
    return Field(sides[0], sides[1], len(local) < len(fields) or any(field.whole for field in fields))


def _window(operation: Any, axis: int, shape: Shape, after: Shape) -> tuple[int, int, int] | None:
    """Return (size, step, places before) of a layer's windows along an axis; None for layers that are not known."""
    n = shape[axis]
    if isinstance(operation, _GLOBAL):
        return None if n is None else (n, 0, 0)
    if isinstance(operation, AdaptiveAveragePooling2D | layers.AdaptiveAveragePooling2D):
        m = after[axis]
        if n is None or not m or n % m:
            return None
        return (n, 0, 0) if m == 1 else (n // m, n // m, 0)
    if isinstance(operation, TrainableSubsampling):
        return 2, 2, 0
    if isinstance(operation, layers.ZeroPadding2D):
        return 1, 1, operation.padding[axis][0]
    if isinstance(operation, layers.Cropping2D):
        return 1, 1, -operation.cropping[axis][0]
    if isinstance(operation, _WINDOWS):
        kernel = getattr(operation, "kernel_size", None) or operation.pool_size
        size = _side(kernel, axis) - 1
        size = size * _side(getattr(operation, "dilation_rate", 1), axis) + 1
        step = _side(getattr(operation, "strides", 1), axis)
        if getattr(operation, "padding", "valid") != "same":
            return size, step, 0
        if n is None and step > 1:
            return None
        total = size - 1 if n is None else max((-(-n // step) - 1) * step + size - n, 0)
        return size, step, total // 2
    return (1, 1, 0) if shape[axis] == after[axis] and _keeps_places(operation) else None


def _keeps_places(operation: Any) -> bool:
    """Return whether output i is made of input i alone, along both sides."""
    return is_known(operation) and not isinstance(operation, layers.Reshape | layers.Permute)


def _side(value: int | Sequence[int], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


def effective_receptive_field(
    model: keras.Model, layer: str | None = None, *, images: int = 8, seed: int = 0
) -> np.ndarray:
    """Measure how much each pixel moves the center of a layer's output: the mean of |gradient| over random images.

    The method is that of Luo et al. 2016 (arXiv:1701.04128): all channels at the center of the map get the gradient 1.
    The weights are the model's own: random ones show the architecture, trained ones the network.

    Args:
        model: A functional model.
        layer: Name of a layer that makes a map; by default that of the last feature map.
        images: How many normally distributed random images; they are run one at a time.
        seed: The seed of the images.

    Returns:
        Array of shape (height, width), float32, whose largest value is 1.

    Raises:
        ValueError: The model has no such layer, no graph, or an input of no fixed size.
        RuntimeError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("The effective receptive field is computed on TensorFlow: set KERAS_BACKEND=tensorflow.")
    import tensorflow as tf

    call = find_map(read_calls(model), layer)
    if "/" in call.name:
        raise ValueError(f"{call.name!r} is inside a nested model; give that model itself.")
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape:
        raise ValueError(f"{model.name} takes images of any size; build it with a fixed input_shape, such as 224.")
    part = keras.Model(model.inputs, call.operation.output)
    random = np.random.default_rng(seed)

    @tf.function(reduce_retracing=True)
    def gradient(image: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(image)
            y = part(image, training=False)
            total = tf.reduce_sum(tf.cast(y[:, y.shape[1] // 2, y.shape[2] // 2], tf.float32))
        return tape.gradient(total, image)

    mean = np.zeros(shape[:2])
    for _ in range(images):
        image = tf.constant(random.standard_normal((1, *shape)), tf.float32)
        mean += np.abs(gradient(image).numpy()[0]).sum(axis=-1)
    return (mean / (mean.max() or 1)).astype(np.float32)
