"""Layers that compute as an int8 file will, and train: kernels and activations on few steps, in float32.

A rounded number has no useful gradient, so training takes that of the number before (straight through: Bengio, Léonard
& Courville 2013, arXiv:1308.3432). Kernels have a symmetric step for each output channel, which follows their largest
weight. Activations have 256 steps between two ends that follow the batches (Jacob et al. 2018, arXiv:1712.05877).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LEVELS = {8: 127, 4: 7}  # steps on either side of zero, by the bits of a kernel
STEPS = 255  # between the ends of an activation
_LEAST = 1e-6  # between the ends of an activation that is always zero


@keras.saving.register_keras_serializable(package="kerascnn")
class FakeQuantization(keras.layers.Layer):
    """Activations on 256 steps, one of which is zero.

    In training the ends move towards the smallest and the largest value of each batch. Input and output have the same
    shape.

    Args:
        momentum: How much of the ends a batch leaves as it was; 1 for ends that stay.
        low: The lower end at first.
        high: The upper end at first.

    Attributes:
        observing: Whether it widens its ends to all that it sees, and rounds nothing.
    """

    def __init__(self, momentum: float = 0.99, low: float = 0.0, high: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum, self._low, self._high = momentum, low, high
        self.observing = False

    def build(self, input_shape: Any) -> None:
        """Create the ends."""
        for name, value in (("low", self._low), ("high", self._high)):
            end = self.add_weight(shape=(), initializer=keras.initializers.Constant(value), trainable=False, name=name)
            setattr(self, name, end)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply it."""
        if self.momentum < 1 and (training or self.observing):
            lowest, highest = ops.stop_gradient(ops.min(inputs)), ops.stop_gradient(ops.max(inputs))
            if self.observing:
                self.low.assign(ops.minimum(self.low, lowest))
                self.high.assign(ops.maximum(self.high, highest))
            else:
                self.low.assign(self.momentum * self.low + (1 - self.momentum) * lowest)
                self.high.assign(self.momentum * self.high + (1 - self.momentum) * highest)
        if self.observing:
            return inputs
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf  # its own operation reads the numbers once instead of six times

            return tf.quantization.fake_quant_with_min_max_vars(inputs, *self._bounds())
        step, zero = self._steps()
        clipped = ops.clip(inputs, -zero * step, (STEPS - zero) * step)
        return clipped + ops.stop_gradient(step * ops.round(clipped / step) - clipped)

    def _bounds(self) -> tuple[Any, Any]:
        """Return two ends with zero between them."""
        low = ops.minimum(self.low, 0.0)
        return low, ops.maximum(ops.maximum(self.high, 0.0), low + _LEAST)

    def _steps(self) -> tuple[Any, Any]:
        """Return the step, and which of them is zero."""
        low, high = self._bounds()
        step = (high - low) / STEPS
        return step, ops.round(-low / step)

    def ends(self) -> tuple[float, float]:
        """Return the lowest and the highest step."""
        step, zero = (float(ops.convert_to_numpy(value)) for value in self._steps())
        return -zero * step, (STEPS - zero) * step

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "momentum": self.momentum, "low": self._low, "high": self._high}


class QuantizedLayer(keras.layers.Layer):
    """What layers with a kernel on steps share.

    The kernel is multiplied by a gain for each output channel before it is rounded. Batch normalization becomes that
    gain and the bias, so that weights of the kernel that share a value go on sharing it.

    Args:
        *args: Of the Keras layer.
        bits: Of a weight, 8 or 4.
        **kwargs: Of the Keras layer.
    """

    original: type[keras.layers.Layer]  # the Keras layer that it is made of
    channels = 1  # how many of the kernel's last dimensions tell its outputs apart

    def __init__(self, *args: Any, bits: int = 8, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.bits = bits

    def build(self, input_shape: Any) -> None:
        """Create the gain beside the weights of the Keras layer."""
        super().build(input_shape)
        self.gain = self.add_weight(shape=self.kernel.shape[-self.channels :], initializer="ones", name="gain")

    def on_steps(self) -> Any:
        """Return the kernel on its steps."""
        kernel = self.kernel * self.gain
        axes = tuple(range(len(kernel.shape) - self.channels))
        largest = ops.stop_gradient(ops.max(ops.abs(kernel), axis=axes, keepdims=True))
        step = ops.where(largest > 0, largest, ops.ones_like(largest)) / LEVELS[self.bits]
        return kernel + ops.stop_gradient(step * ops.round(kernel / step) - kernel)

    def finished(self, product: Any) -> Any:
        """Return what the layer makes of inputs times kernel."""
        if self.use_bias:
            product = product + self.bias
        return product if self.activation is None else self.activation(product)

    def save_own_variables(self, store: Any) -> None:
        """Save the gain too: the Keras layers name what they save."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Load what `save_own_variables` has saved."""
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "bits": self.bits}


@keras.saving.register_keras_serializable(package="kerascnn")
class QuantizedConv2D(QuantizedLayer, keras.layers.Conv2D):
    """A convolution with its kernel on steps; see `QuantizedLayer`."""

    original = keras.layers.Conv2D

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        return self.finished(self.convolution_op(inputs, self.on_steps()))


@keras.saving.register_keras_serializable(package="kerascnn")
class QuantizedDepthwiseConv2D(QuantizedLayer, keras.layers.DepthwiseConv2D):
    """A depthwise convolution with its kernel on steps; see `QuantizedLayer`."""

    original, channels = keras.layers.DepthwiseConv2D, 2

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        product = ops.depthwise_conv(
            inputs, self.on_steps(), self.strides, self.padding, self.data_format, self.dilation_rate
        )
        return self.finished(product)


@keras.saving.register_keras_serializable(package="kerascnn")
class QuantizedScale(QuantizedDepthwiseConv2D):
    """A normalization without a layer to join: a depthwise convolution with one weight a channel.

    Pruning and sharing pass it by, for its weights are no kernel of the network's.
    """


@keras.saving.register_keras_serializable(package="kerascnn")
class QuantizedDense(QuantizedLayer, keras.layers.Dense):
    """A dense layer with its kernel on steps; see `QuantizedLayer`."""

    original = keras.layers.Dense

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply it."""
        return self.finished(ops.matmul(inputs, self.on_steps()))


def trained_bits(model: keras.Model) -> int | None:
    """Return the fewest bits of a weight in a model that computes on steps; None for other models."""
    if not any(isinstance(layer, FakeQuantization) for layer in model.layers):
        return None
    return min((layer.bits for layer in model.layers if isinstance(layer, QuantizedLayer)), default=8)
