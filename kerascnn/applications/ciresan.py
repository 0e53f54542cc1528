"""Ciresan, Meier, Gambardella & Schmidhuber 2010 (arXiv:1003.0358), and single columns of their networks of 2012.

Units are scaled tanh and initial weights uniform between -0.05 and 0.05, as the papers have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, max_pool
from kerascnn.building.head import flat, predictions
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder
from kerascnn.layers.lenet import scaled_tanh

__all__ = ["ciresan_gtsrb", "ciresan_mlp", "ciresan_mnist"]

HIDDEN = (2500, 2000, 1500, 1000, 500)


@builder
def ciresan_mlp(*, hidden: Sequence[int] | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the deep perceptron of 2010 for MNIST (section 2, table 1): no convolutions, on images of 29x29.

    Each hidden layer is a stage, as a map of one pixel; include_top=False ends with the last of them.

    Args:
        hidden: Units of each hidden layer: 2500-2000-1500-1000-500 by default; the paper also has 1000-500,
            1500-1000-500, 2000-1500-1000-500 and nine times 1000.
        **options: See `ModelOptions`; the sides in input_shape must be given.

    Raises:
        ValueError: `hidden` is not a list of positive whole numbers, or a side of the input is None.
    """
    _check_hidden(hidden)
    net = Network("ciresan_mlp", options, {"hidden": Choice(hidden, HIDDEN, None)})
    if None in net.input.shape[1:3]:
        raise ValueError(
            f"ciresan_mlp is fully connected from its first layer on: give the sides in input_shape, such as "
            f"{net.variant.input_shape}; they are {net.input.shape[1:3]}."
        )
    x = layers.Flatten(data_format=DATA_FORMAT, name="flatten")(net.input)
    one_pixel = x
    for i, count in enumerate(net.choices["hidden"], 1):
        x = _units(x, count, f"fc{i}")
        one_pixel = net.stage(f"stage{i}", layers.Reshape((1, 1, count), name=f"fc{i}_map")(x))
    return net.finish(one_pixel if net.features_only else _predictions(x, net))


@builder
def ciresan_mnist(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build one column of the multi-column network for MNIST (arXiv:1202.2745): 29x29-20C4-MP2-40C5-MP3-150N-10N.

    Options: `ModelOptions`.
    """
    return _column("ciresan_mnist", options, ((20, 4, 2), (40, 5, 3)), 150)


@builder
def ciresan_gtsrb(**options: Unpack[ModelOptions]) -> keras.Model:
    """Build one column for the 43 German traffic signs (arXiv:1202.2745): 48x48-100C7-MP2-150C4-MP2-250C4-MP2-300N-43N.

    Options: `ModelOptions`.
    """
    return _column("ciresan_gtsrb", options, ((100, 7, 2), (150, 4, 2), (250, 4, 2)), 300)


def _column(name: str, options: ModelOptions, convolutions: Sequence[tuple[int, int, int]], hidden: int) -> keras.Model:
    """Build a column of convolutions, of (maps, kernel, pool) each, and one hidden layer."""
    net = Network(name, options)
    x = net.input
    for i, (maps, kernel, pool) in enumerate(convolutions, 1):
        x = layers.Conv2D(
            maps,
            kernel,
            activation=scaled_tanh,
            kernel_initializer=_initializer(),
            data_format=DATA_FORMAT,
            name=f"conv{i}",
        )(x)
        net.stage(f"stage{i - 1}" if i > 1 else "stem", x)
        x = max_pool(x, pool, pool, name=f"pool{i}")
    if net.features_only:
        return net.finish(x)
    return net.finish(_predictions(_units(flat(net, x), hidden, "fc1"), net))


def _units(x: KerasTensor, count: int, name: str) -> KerasTensor:
    return layers.Dense(count, activation=scaled_tanh, kernel_initializer=_initializer(), name=name)(x)


def _predictions(x: KerasTensor, net: Network) -> KerasTensor:
    return predictions(net, x, initializer=_initializer())


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-0.05, 0.05)


def _check_hidden(hidden: Sequence[int] | None) -> None:
    if hidden is None:
        return
    sizes = list(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else []
    if not sizes or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ValueError(
            f"hidden must be the units of each hidden layer, at least one positive whole number, such as {HIDDEN}; "
            f"it is {hidden!r}."
        )
