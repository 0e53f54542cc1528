"""The ends of networks: classifiers and the layers that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, INITIALIZER
from kerascnn.building.network import Network


def pooled(
    net: Network, x: KerasTensor, dropout: float = 0.0, auxiliary: Mapping[str, KerasTensor] | None = None
) -> keras.Model:
    """End with global average pooling and one fully connected layer, or without the top where asked.

    Args:
        net: The network.
        x: Its last map.
        dropout: Rate of dropout after the pooling.
        auxiliary: The outputs of auxiliary classifiers, by name.
    """
    if net.features_only:
        return net.finish(x)
    x = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="avg_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return net.finish(predictions(net, x), auxiliary)


def flattened(
    net: Network, x: KerasTensor, hidden: tuple[str, str] = ("fc6", "fc7"), dropout: Literal["in", "out"] = "out"
) -> keras.Model:
    """End with two hidden layers of 4,096 units, or without the top where asked.

    Args:
        net: The network.
        x: Its last map.
        hidden: Names of the hidden layers.
        dropout: Whether half of their inputs are dropped, or half of their outputs.
    """
    if net.features_only:
        return net.finish(x)
    x = flat(net, x)
    for name in hidden:
        if dropout == "in":
            x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
        x = dense(x, 4096, name)
        if dropout == "out":
            x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return net.finish(predictions(net, x))


def averaged(net: Network, x: KerasTensor) -> keras.Model:
    """End a network whose last map has one channel a class: the mean of a channel is the logit of its class."""
    return net.finish(activated(net, layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="avg_pool")(x)))


def activated(net: Network, x: KerasTensor) -> KerasTensor:
    """Turn logits into predictions; float32 also under mixed precision."""
    return layers.Activation(net.options.classifier_activation, dtype=head_dtype(), name="predictions")(x)


def predictions(
    net: Network,
    x: KerasTensor,
    name: str = "predictions",
    initializer: str | keras.initializers.Initializer = "glorot_uniform",
) -> KerasTensor:
    """Add the last fully connected layer, one unit a class; float32 also under mixed precision."""
    activation = net.options.classifier_activation
    return layers.Dense(
        net.options.classes, activation=activation, kernel_initializer=initializer, dtype=head_dtype(), name=name
    )(x)


def dense(x: KerasTensor, units: int, name: str) -> KerasTensor:
    """Add a hidden fully connected layer with ReLU."""
    return layers.Dense(units, activation="relu", kernel_initializer=INITIALIZER, name=name)(x)


def flat(net: Network, x: KerasTensor, name: str = "flatten") -> KerasTensor:
    """Flatten a map for a fully connected layer.

    Raises:
        ValueError: The sides of the map are not known.
    """
    require_fixed_size(net, x)
    return layers.Flatten(data_format=DATA_FORMAT, name=name)(x)


def require_fixed_size(net: Network, x: KerasTensor) -> None:
    """Refuse sides of None before a head that depends on the size of the map `x`."""
    if None in x.shape[1:3]:
        raise ValueError(
            f"The classifier of {net.variant.name} is fully connected and needs a fixed input size, such as "
            f"{net.variant.input_shape}. Give the sides in input_shape, or take include_top=False."
        )


def wants_auxiliary(net: Network, aux_logits: bool) -> bool:
    """Return whether to build the auxiliary classifiers that the option `aux_logits` asks for.

    Raises:
        ValueError: It is neither True nor False, or the network is built without classifiers.
    """
    if not isinstance(aux_logits, bool):
        raise ValueError(f"aux_logits must be True or False; it is {aux_logits!r}.")
    if aux_logits and net.features_only:
        raise ValueError(
            "aux_logits=True adds classifiers beside the last one, but include_top=False or features= asks for a "
            "network without classifiers. Leave one of them out."
        )
    return aux_logits


def dropout_rate(name: str, rate: float) -> float:
    """Return the option `dropout` of the network of that name, checked."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"{name}: dropout is the share of values to drop, at least 0 and below 1; it is {rate!r}.")
    return float(rate)


def head_dtype() -> str | None:
    """Return float32 under a mixed precision policy, where a float16 softmax would lose small probabilities."""
    policy = keras.config.dtype_policy()
    return "float32" if policy.compute_dtype != policy.variable_dtype else None
