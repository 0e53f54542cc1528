"""The first weights as a paper, or its code, draws them; the builders' own are quicker to draw, and alike."""

from __future__ import annotations

import fnmatch
from typing import Any

import keras

from kerascnn.training.recipes import Initial

# (scale, mode, distribution) of Keras's VarianceScaling. Its fans are torch's and Caffe's: those of one group's kernel
# that enter a pixel, and all filters that leave it, whatever the groups.
_SCALED = {
    "fan_in": (2.0, "fan_in", "untruncated_normal"),
    "fan_out": (2.0, "fan_out", "untruncated_normal"),
    "xavier": (1.0, "fan_in", "uniform"),
    "glorot": (1.0, "fan_avg", "uniform"),
}


def initialize(model: keras.Model, initial: Initial) -> None:
    """Draw the first weights of a network anew.

    Convolutions get new kernels and biases, and so do dense layers, unless the rule is "fan_in" or "fan_out".
    Call `keras.utils.set_random_seed` before to draw the same again.

    Args:
        model: A network without trained weights.
        initial: The rule.
    """
    kinds = (
        (keras.layers.Conv2D,) if initial.kind in ("fan_in", "fan_out") else (keras.layers.Conv2D, keras.layers.Dense)
    )
    drawn: list[Any] = [layer for layer in model.layers if isinstance(layer, kinds)]
    for layer in drawn:
        kind: str = initial.kind
        deviation, bias = initial.deviation, initial.bias
        for pattern, own in initial.layers.items():
            if fnmatch.fnmatchcase(layer.name, pattern):
                bias = own.get("bias", bias)
                if "deviation" in own:
                    kind, deviation = "normal", own["deviation"]
        layer.kernel.assign(_initializer(kind, deviation)(layer.kernel.shape))
        if layer.use_bias:
            layer.bias.assign(keras.ops.full(layer.bias.shape, bias))


def _initializer(kind: str, deviation: float) -> keras.initializers.Initializer:
    if kind == "normal":
        return keras.initializers.RandomNormal(stddev=deviation)
    scale, mode, distribution = _SCALED[kind]
    return keras.initializers.VarianceScaling(scale, mode, distribution)
