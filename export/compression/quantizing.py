"""Rewrite a network so that it computes as its int8 files will, and can be trained for them.

Activations are put on steps where TFLite and ONNX Runtime put them: after each operation, or after the rectifier that
is computed with it. All inputs of a concatenation share one range; pooling, padding and reshaping keep the range of
their input.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from keras import layers

from export.compression.networks import check_model
from export.errors import RequestError
from kerascnn.build_info import BuildInfo, build_info, set_build_info
from kerascnn.keras_graph import Node, deep_graphs, nodes_before, producer
from kerascnn.layers import (
    ChannelPadding,
    FakeQuantization,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedScale,
    trained_bits,
)

if TYPE_CHECKING:
    from keras import KerasTensor

_QUANTIZED = {layer.original: layer for layer in (QuantizedConv2D, QuantizedDepthwiseConv2D, QuantizedDense)}
_KEEPING = (  # their outputs are values of their input, or zeros
    *(layers.MaxPooling2D, layers.GlobalMaxPooling2D, layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D),
    *(layers.Flatten, layers.Reshape, layers.Permute, layers.Dropout, layers.SpatialDropout2D, layers.Identity),
    ChannelPadding,
)
_SUMS = ("Add", "Subtract", "Multiply")  # layers and operations that are computed with the rectifier after them
_RECTIFIERS = (keras.activations.relu, keras.activations.relu6)
# Ends that TFLite demands.
_ENDS = {keras.activations.sigmoid: (0.0, 255 / 256), keras.activations.tanh: (-1.0, 127 / 128)}
_BATCH = 16


def quantize_aware(model: keras.Model, *, calibration: np.ndarray, bits: Literal[4, 8] = 8) -> keras.Model:
    """Return a network that computes on the steps of its int8 files, to train on as you would train the original.

        aware = quantize_aware(model, calibration=images)
        aware.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
        aware.fit(...)
        export.export(aware, folder, formats=["tflite", "onnx"], precisions=["int8"])

    Batch normalization is folded into the layer before it, with the statistics as they are; its scale and shift are
    trained on. `KeepStructure` and `PruningSchedule` work on the result as on the original.

    Args:
        model: A trained network of float32 layers in a row or in branches, with its channels last. It is left as it is.
        calibration: float32 [n, height, width, channels], as the network takes them: the ranges of activations begin at
            the smallest and largest values that they give. In training they follow the batches.
        bits: Of the weights: 8; or 4, for `int8x4`, whose weights take half the bytes. Depthwise kernels have 8.

    Returns:
        A functional model with weights of its own.

    Raises:
        RequestError: The network has a layer that cannot be trained for int8, or `calibration` is not what it takes.
    """
    check_model(model)
    if bits not in (4, 8):
        raise RequestError(f"Weights are trained for 8 or 4 bits; bits is {bits}.")
    if trained_bits(model) is not None:
        raise RequestError(f"{model.name} is quantization-aware already. Give the network that it was made from.")
    if len(model.inputs) != 1 or len(model.outputs) != 1 or model.inputs[0].dtype != "float32":
        raise RequestError(f"{model.name} does not take one image of floats and give one answer, as is needed here.")
    images = _checked(calibration, model)
    with deep_graphs():
        aware = _Rewriting(model, bits).run()
    _calibrate(aware, images)
    info = build_info(model)
    if info is not None:  # no longer the variant, whose layers are of other kinds
        labels = info.class_names(model.outputs[0].shape[-1])
        set_build_info(aware, BuildInfo(preprocessing=info.preprocessing, weights=info.weights, labels=labels))
    return aware


def _checked(calibration: np.ndarray, model: keras.Model) -> np.ndarray:
    """Return images as an array; refuse what the network does not take."""
    shape, images = tuple(model.inputs[0].shape[1:]), np.asarray(calibration)
    if images.shape[1:] != shape or not len(images) or images.dtype.kind not in "fiu" or not np.isfinite(images).all():
        raise RequestError(
            f"calibration is {images.dtype} {images.shape}; {model.name} takes an array of finite numbers [n, "
            f"{', '.join(map(str, shape))}]."
        )
    return images


def _calibrate(aware: keras.Model, images: np.ndarray) -> None:
    """Let the ends of each activation span what images give."""
    ranges = [layer for layer in aware.layers if isinstance(layer, FakeQuantization)]
    for layer in ranges:
        layer.observing = True
    try:
        for start in range(0, len(images), _BATCH):
            aware(images[start : start + _BATCH], training=False)
    finally:
        for layer in ranges:
            layer.observing = False


class _Rewriting:
    """One network under way.

    Attributes:
        made: The new tensor of each tensor of the network, by its id.
        ranges: The layer that rounds a tensor, by the id of the network's tensor; None where the next layer rounds it.
            Tensors that stay in float are missing.
        joined: Ids of calls that are computed with a layer before them.
        copies: The new layer of each layer, by its id.
    """

    def __init__(self, model: keras.Model, bits: int):
        self.model, self.bits = model, bits
        self.nodes = list(nodes_before(model.outputs))
        self.readers: dict[int, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tensor in node.input_tensors:
                self.readers[id(tensor)].append(node)
        calls: dict[int, int] = defaultdict(int)
        for node in self.nodes:
            calls[id(node.operation)] += 1
        self.shared = {key for key, count in calls.items() if count > 1}
        self.made: dict[int, Any] = {}
        self.ranges: dict[int, FakeQuantization | None] = {}
        self.joined: set[int] = set()
        self.copies: dict[int, Any] = {}

    def run(self) -> keras.Model:
        for node in self.nodes:
            (output,) = node.output_tensors
            if id(node) not in self.joined:
                self._add(node, output)
        inputs = self.copies[id(self.nodes[0].operation)]
        return keras.Model(inputs, self.made[id(self.model.outputs[0])], name=self.model.name)

    def _add(self, node: Node, output: KerasTensor) -> None:
        layer = node.operation
        if isinstance(layer, layers.InputLayer):
            image = keras.Input(layer.batch_shape[1:], dtype=layer.dtype, name=layer.name)
            self.copies[id(layer)] = image
            self._put_on_steps(output, image)
        elif type(layer) in _QUANTIZED or isinstance(layer, layers.BatchNormalization):
            self._add_weighted(node, output)
        elif any(weight.trainable for weight in getattr(layer, "weights", ())):
            raise RequestError(
                f"{self.model.name}: {layer.name!r} is a {type(layer).__name__}, which cannot be trained for int8. "
                "Only Conv2D, DepthwiseConv2D, Dense and BatchNormalization can, and layers without weights."
            )
        else:
            self._add_plain(node, output)

    def _add_plain(self, node: Node, output: KerasTensor) -> None:
        """Copy what has no weights."""
        layer, sources = node.operation, node.input_tensors
        positional, named = node.arguments.fill_in(self.made)
        made = self._copy(layer)(*positional, **named)
        activation = _activation(layer)
        known = [self.ranges[id(source)] for source in sources if id(source) in self.ranges]
        if not known or activation is keras.activations.softmax or isinstance(layer, layers.Softmax):
            self.made[id(output)] = made
        elif isinstance(layer, _KEEPING) or activation is keras.activations.linear:
            self.made[id(output)], self.ranges[id(output)] = made, known[0]
        elif isinstance(layer, layers.AveragePooling2D) and known[0] is not None:
            self.made[id(output)], self.ranges[id(output)] = known[0](made), known[0]
        elif type(layer).__name__ in _SUMS and (rectifier := self._rectifier(output)) is not None:
            self._put_on_steps(self._joined(rectifier), self._copy(rectifier.operation)(made))
        else:
            self._put_on_steps(output, made, activation)

    def _add_weighted(self, node: Node, output: KerasTensor) -> None:
        """Put a layer with a kernel on steps, with the normalization and the rectifier that follow it."""
        layer, (source,) = node.operation, node.input_tensors
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise RequestError(f"{self.model.name}: {layer.name!r} has its channels first; they are to be last.")
        norm: Any = layer if isinstance(layer, layers.BatchNormalization) else None
        activation = layer.activation if norm is None else keras.activations.linear
        if activation is keras.activations.linear and id(layer) not in self.shared:
            follower = self._only_reader(output)
            if norm is None and follower is not None and self._can_fold(follower):
                norm = follower.operation
                output = self._joined(follower)
            rectifier = self._rectifier(output)
            if rectifier is not None:
                activation = _activation(rectifier.operation)
                output = self._joined(rectifier)
        fused = activation if activation in _RECTIFIERS else keras.activations.linear
        made = self._weighted(layer, norm, fused, source)(self.made[id(source)])
        if fused is activation:
            self._put_on_steps(output, made)
            return
        made = FakeQuantization(name=f"{layer.name}_before_range")(made)
        made = layers.Activation(activation, name=f"{layer.name}_{activation.__name__}")(made)
        if activation is keras.activations.softmax:
            self.made[id(output)] = made
        else:
            self._put_on_steps(output, made, activation)

    def _can_fold(self, node: Node) -> bool:
        norm, last = node.operation, len(node.input_tensors[0].shape) - 1
        return isinstance(norm, layers.BatchNormalization) and norm.axis in (-1, last) and id(norm) not in self.shared

    def _joined(self, node: Node) -> KerasTensor:
        """Note that a call is computed with the layer before it; return what it makes."""
        self.joined.add(id(node))
        (output,) = node.output_tensors
        return output

    def _weighted(self, layer: Any, norm: Any, activation: Any, source: KerasTensor) -> Any:
        """Return the layer on steps, with normalization in its gain and bias."""
        if id(layer) in self.copies:
            return self.copies[id(layer)]
        if layer is norm:  # one weight a channel
            if len(source.shape) != 4 or norm.axis not in (-1, 3):
                raise RequestError(f"{self.model.name}: {norm.name!r} does not normalize the last of four dimensions.")
            new = QuantizedScale(1, name=norm.name, activation=activation)
            new.build(source.shape)
            kernel, bias = np.ones(new.kernel.shape, np.float32), np.zeros(1, np.float32)
        else:
            config = layer.get_config() | {"activation": activation, "use_bias": layer.use_bias or norm is not None}
            bits = 8 if isinstance(layer, layers.DepthwiseConv2D) else self.bits
            new = _QUANTIZED[type(layer)].from_config(config | {"bits": bits})
            new.build(source.shape)
            kernel = np.asarray(layer.kernel)
            bias = np.asarray(layer.bias) if layer.use_bias else np.zeros(1, np.float32)
        new.kernel.assign(kernel)
        if norm is not None:
            gain, bias = _folded(norm, bias)
            new.gain.assign(gain.reshape(new.gain.shape))
        if new.use_bias:
            new.bias.assign(np.broadcast_to(bias, new.bias.shape))
        self.copies[id(layer)] = new
        return new

    def _copy(self, layer: Any) -> Any:
        """Return a layer without weights anew; an operation as it is."""
        if not isinstance(layer, keras.Layer):
            return layer
        if id(layer) not in self.copies:
            self.copies[id(layer)] = type(layer).from_config(layer.get_config())
        return self.copies[id(layer)]

    def _put_on_steps(self, output: KerasTensor, made: Any, activation: Any = None) -> None:
        """Round a tensor; not one that only a concatenation reads, which rounds what it joins."""
        follower = self._only_reader(output)
        if follower is not None and isinstance(follower.operation, layers.Concatenate):
            self.made[id(output)], self.ranges[id(output)] = made, None
            return
        low, high = _ENDS.get(activation, (0.0, 0.0))
        name = f"{producer(made).name}_range"
        new = FakeQuantization(1.0 if activation in _ENDS else 0.99, low, high, name=name)
        self.made[id(output)], self.ranges[id(output)] = new(made), new

    def _only_reader(self, tensor: KerasTensor) -> Node | None:
        readers = self.readers[id(tensor)]
        return readers[0] if len(readers) == 1 and tensor is not self.model.outputs[0] else None

    def _rectifier(self, tensor: KerasTensor) -> Node | None:
        """Return the rectifier that alone reads a tensor."""
        follower = self._only_reader(tensor)
        return follower if follower is not None and _activation(follower.operation) in _RECTIFIERS else None


def _activation(operation: Any) -> Any:
    """Return the function of a layer that is nothing else; None for other operations."""
    if isinstance(operation, layers.Activation):
        return operation.activation
    if isinstance(operation, layers.ReLU) and not operation.negative_slope and not operation.threshold:
        return {None: keras.activations.relu, 6: keras.activations.relu6}.get(operation.max_value)
    return None


def _folded(norm: Any, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain and the bias that a normalization with its moving statistics is."""
    gain = 1 / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        gain = gain * np.asarray(norm.gamma)
    bias = (bias - np.asarray(norm.moving_mean)) * gain
    return gain, bias + np.asarray(norm.beta) if norm.center else bias
