"""Average pooling to a fixed size as torch does it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


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
        """Apply it."""
        # Each axis is one product with a constant matrix, which every export format has as a standard operator.
        rows, columns = (_window_means(n, m) for n, m in zip(inputs.shape[1:3], self.output_size, strict=True))
        x = ops.matmul(ops.convert_to_tensor(columns, inputs.dtype), inputs)
        x = ops.matmul(ops.convert_to_tensor(rows, inputs.dtype), ops.transpose(x, (0, 2, 1, 3)))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return (input_shape[0], *self.output_size, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "output_size": self.output_size}


def _window_means(size: int, windows: int) -> np.ndarray:
    """The (windows, size) matrix that averages each window."""
    means = np.zeros((windows, size), np.float32)
    for i in range(windows):
        start, end = i * size // windows, -(-(i + 1) * size // windows)
        means[i, start:end] = 1 / (end - start)
    return means
