"""Layers that Keras lacks. Each is registered, so that saved models load without `custom_objects`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="kerascnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Normalisation over neighbouring channels: y_i = x_i / (bias + alpha * sum_j x_j^2) ** beta.

    The sum runs over the `size` channels around i. Defaults and form are those of AlexNet (Krizhevsky et al. 2012,
    section 3.3). Caffe, torch and ONNX divide alpha by `size`; multiply theirs by it to use it here.

    Input and output: (batch, height, width, channels).

    Raises:
        ValueError: `size` is even or not positive.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 2.0, **kwargs: Any):
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"The window of LocalResponseNormalization must be odd and positive; size is {size}.")
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def call(self, inputs: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            # TensorFlow's own operator: TFLite and ONNX have a native counterpart of it, and none of a pattern.
            import tensorflow as tf

            x = tf.cast(inputs, tf.float32)  # it has no float16 kernel on the CPU
            y = tf.nn.local_response_normalization(x, self.size // 2, self.bias, self.alpha, self.beta)
            return tf.cast(y, inputs.dtype)
        half = self.size // 2
        channels = inputs.shape[-1]
        squares = ops.pad(ops.square(inputs), [[0, 0], [0, 0], [0, 0], [half, half]])
        window = sum(squares[..., i : i + channels] for i in range(self.size))
        return inputs / ops.power(self.bias + self.alpha * window, self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kerascnn")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Average pooling to a fixed size, with torch's windows: output i averages floor(i n / m) to ceil((i + 1) n / m).

    Keras's own layer cannot enlarge a map on TensorFlow, which torch does for small images.

    Input: (batch, height, width, channels) with fixed sides; output: (batch, *output_size, channels).
    """

    def __init__(self, output_size: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.output_size = tuple(output_size)

    def call(self, inputs: Any) -> Any:
        # Each axis is one product with a constant matrix, which every export format has as a standard operator.
        rows, columns = (_window_means(n, m) for n, m in zip(inputs.shape[1:3], self.output_size, strict=True))
        x = ops.matmul(ops.convert_to_tensor(columns, inputs.dtype), inputs)
        x = ops.matmul(ops.convert_to_tensor(rows, inputs.dtype), ops.transpose(x, (0, 2, 1, 3)))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *self.output_size, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_size": self.output_size}


def _window_means(size: int, windows: int) -> np.ndarray:
    """The (windows, size) matrix that averages each window."""
    means = np.zeros((windows, size), np.float32)
    for i in range(windows):
        start, end = i * size // windows, -(-(i + 1) * size // windows)
        means[i, start:end] = 1 / (end - start)
    return means


@keras.saving.register_keras_serializable(package="kerascnn")
class ChannelPadding(keras.layers.Layer):
    """Channels of zeros, `padding` = (before, after) the map's own.

    Input: (batch, height, width, channels); output: (batch, height, width, before + channels + after).
    """

    def __init__(self, padding: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = tuple(padding)

    def call(self, inputs: Any) -> Any:
        return ops.pad(inputs, [(0, 0), (0, 0), (0, 0), self.padding])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:3], input_shape[3] + sum(self.padding))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding}
