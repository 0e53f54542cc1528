"""Padding with channels of zeros, for shortcuts without weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerascnn")
class ChannelPadding(keras.layers.Layer):
    """Channels of zeros, `padding` = (before, after) the map's own.

    Input: (batch, height, width, channels); output: (batch, height, width, before + channels + after).
    """

    def __init__(self, padding: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = tuple(padding)

    def call(self, inputs: Any) -> Any:
        """Apply it."""
        return ops.pad(inputs, [(0, 0), (0, 0), (0, 0), self.padding])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output."""
        return (*input_shape[:3], input_shape[3] + sum(self.padding))

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of it."""
        return {**super().get_config(), "padding": self.padding}
