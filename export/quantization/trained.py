"""A network that was trained for int8, as the graph that its files are written from.

Kernels are constants on their steps. Where activations are rounded, TensorFlow's own FakeQuantWithMinMaxArgs stands,
with the ends that were trained; the converters to TFLite and to ONNX know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kerascnn.keras_graph import deep_graphs
from kerascnn.layers import FakeQuantization
from kerascnn.layers.quantization import QuantizedLayer

if TYPE_CHECKING:
    import numpy as np


class Ends(keras.layers.Layer):
    """Activations on 256 steps between fixed ends.

    Args:
        low: The lower end.
        high: The upper end.
        name: The layer's.
    """

    def __init__(self, low: float, high: float, name: str):
        super().__init__(name=name)
        self.low, self.high = low, high

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        import tensorflow as tf

        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)


def with_constants(model: keras.Model) -> keras.Model:
    """Return a quantization-aware network with its kernels and ends as they are now."""
    weights: list[tuple[Any, list[np.ndarray]]] = []

    def constant(layer: Any) -> Any:
        if isinstance(layer, FakeQuantization):
            return Ends(*layer.ends(), name=layer.name)
        if not isinstance(layer, QuantizedLayer):
            return layer
        config = layer.get_config()
        del config["bits"]
        plain = layer.original.from_config(config)
        bias = [keras.ops.convert_to_numpy(layer.bias)] if layer.use_bias else []
        weights.append((plain, [keras.ops.convert_to_numpy(layer.on_steps()), *bias]))
        return plain

    with deep_graphs():
        copied = keras.models.clone_model(model, clone_function=constant)
    for layer, values in weights:
        layer.set_weights(values)
    return copied
