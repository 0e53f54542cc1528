"""Batch normalization by TensorFlow's fused kernel while a network is trained: the same numbers in less time.

Keras 3 computes the moments, the normalization and their gradients by single operations, in float32.
`benchmarks/training_speed.py` measures what the kernel saves.
"""

from __future__ import annotations

from typing import Any

import keras

SMALLEST = 1e-5  # cuDNN's kernel takes no smaller epsilon


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, computed by one kernel in training.

    Input and output: (batch, height, width, channels).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalize by the moments of the batch; inference, frozen layers and masks are left to Keras."""
        if not (training and self.trainable) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        channels = inputs.shape[-1]
        gamma = self.gamma.value if self.scale else tf.ones(channels)
        beta = self.beta.value if self.center else tf.zeros(channels)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gamma, offset=beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        count = tf.cast(tf.size(inputs) // channels, variance.dtype)
        variance *= (count - 1) / count  # the kernel divides by count - 1, Keras by count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs


def fuse(model: keras.Model) -> None:
    """Let a network's batch normalizations use the kernel, where there is one that computes what Keras does.

    Nothing changes on other backends, in float64, for layers with axes other than the last of four, with batch
    renormalization or synchronized moments, and with an epsilon below 1e-5.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in model.layers:
        if type(layer) is keras.layers.BatchNormalization and _has_kernel(layer):
            layer.__class__ = FusedBatchNormalization  # a clone would lose the names and nodes that the model holds


def _has_kernel(layer: keras.layers.BatchNormalization) -> bool:
    return (
        layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.epsilon >= SMALLEST
        and layer.compute_dtype != "float64"
        and not (layer.renorm or layer.synchronized)
    )
