"""Normalization over neighboring channels, which batch normalization replaced."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerascnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Normalization over neighboring channels: y_i = x_i / (bias + alpha * sum_j x_j^2) ** beta.

    The sum runs over the `size` channels around i. Defaults and form are those of the formula in AlexNet's paper
    (Krizhevsky et al. 2012, section 3.3). Its author's cuda-convnet2, Caffe, torch and ONNX average the squares: they
    divide alpha by `size`. Divide theirs by it to use it here.

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
        """Apply it."""
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
        """Return the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **own}
