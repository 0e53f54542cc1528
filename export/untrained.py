"""Make a network of random weights one that can be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kerascnn.keras_graph import producer

if TYPE_CHECKING:
    import keras

BRANCH_SCALE = 0.2


def calm_branches(model: keras.Model) -> None:
    """Scale down the branches of an untrained residual network: the last weights before each sum.

    Before training, batch normalization normalizes nothing and each unit about doubles the signal: a thousand layers
    overflow, and the gates of SENet open and shut on differences of one part in a million, so that no artifact could
    be told from a broken one.
    """
    import keras

    from kerascnn.layers.stochastic_depth import StochasticDepth

    for layer in model.layers:
        if isinstance(layer, keras.layers.Add | StochasticDepth):
            weight = _last_weight(layer.input[-1])  # the shortcut comes first
            if weight is not None:
                weight.assign(weight * BRANCH_SCALE)


def _last_weight(tensor: Any) -> Any | None:
    """The scale or kernel that a branch ends with, in front of a ReLU or a gate where there is one."""
    import keras

    layer = producer(tensor)
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.gamma
    if isinstance(layer, keras.layers.Conv2D):
        return layer.kernel
    if isinstance(layer, keras.layers.Activation):
        return _last_weight(layer.input)
    if isinstance(layer, keras.layers.Multiply):
        return _last_weight(layer.input[0])
    return None
