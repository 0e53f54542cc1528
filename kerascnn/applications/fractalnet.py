"""FractalNet: very deep networks without residuals (Larsson et al. 2016, arXiv:1605.07648).

A block is a fractal of C columns: a convolution beside two fractals of C - 1 columns in a row, joined by means, so that
column c is 2^(c - 1) convolutions deep. `kerascnn.surgery.parts.single_column(model)` is the deepest column alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import Norm, batch_norm, conv, conv_bn_relu, max_pool
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder
from kerascnn.layers.drop_path import FractalJoin, GlobalDropPath, Mode, check

__all__ = ["fractalnet10_cifar", "fractalnet20_cifar", "fractalnet34", "fractalnet40_cifar"]

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4)  # of the blocks' convolutions (section 4)


@builder
def fractalnet20_cifar(
    *,
    drop_path: float = 0.15,
    global_drop_path: float = 0.5,
    drop_path_mode: Mode = "batch",
    dropout: bool = True,
    thin: bool | None = None,
    pool_before_join: bool | None = None,
    bn_affine: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build FractalNet-20 for images of 32x32: five blocks of three columns, 20 convolutions in the deepest.

    What is dropped is dropped in training only; no weights depend on it.

    Args:
        drop_path: How often a join drops each of its inputs, all but one at most (local drop-path); 0 for never.
        global_drop_path: Share of the training steps in which one column alone is the network (global drop-path).
        drop_path_mode: "batch" (the default) drops for a whole batch, as the authors' join does; "row" for each image.
        dropout: With dropout between convolution and batch normalization, 0 to 0.4 from the first block to the last.
        thin: True for a quarter of the filters, 16 to 128, as we recall the paper's study of depth up to 160 layers;
            False (the default) for 64 to 512.
        pool_before_join: True (the default) pools each column before they join at the end of a block, as the authors'
            network does; False after, as in pytorchcv.
        bn_affine: True (the default) for batch normalization with scale and shift (gamma and beta), as in the paper
            that introduced it and in pytorchcv; False without them, and with biases in the convolutions, which it then
            takes away again, as in the authors' network (github.com/gustavla/fractalnet, generation/globals.crox).
        **options: See `ModelOptions`.
    """
    drop = DropPath(drop_path, global_drop_path, drop_path_mode)
    choices = {**_choices(pool_before_join, bn_affine), "thin": Choice(thin, False)}
    return _cifar(Network("fractalnet20_cifar", options, choices), 3, drop, dropout)


@builder
def fractalnet10_cifar(
    *,
    drop_path: float = 0.15,
    global_drop_path: float = 0.5,
    drop_path_mode: Mode = "batch",
    dropout: bool = True,
    thin: bool | None = None,
    pool_before_join: bool | None = None,
    bn_affine: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build FractalNet-10 for images of 32x32: five blocks of two columns. Options as for `fractalnet20_cifar`."""
    drop = DropPath(drop_path, global_drop_path, drop_path_mode)
    choices = {**_choices(pool_before_join, bn_affine), "thin": Choice(thin, False)}
    return _cifar(Network("fractalnet10_cifar", options, choices), 2, drop, dropout)


@builder
def fractalnet40_cifar(
    *,
    drop_path: float = 0.15,
    global_drop_path: float = 0.5,
    drop_path_mode: Mode = "batch",
    dropout: bool = True,
    thin: bool | None = None,
    pool_before_join: bool | None = None,
    bn_affine: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build FractalNet-40 for images of 32x32: five blocks of four columns. Options as for `fractalnet20_cifar`."""
    drop = DropPath(drop_path, global_drop_path, drop_path_mode)
    choices = {**_choices(pool_before_join, bn_affine), "thin": Choice(thin, False)}
    return _cifar(Network("fractalnet40_cifar", options, choices), 4, drop, dropout)


@builder
def fractalnet34(
    *,
    drop_path: float = 0.15,
    global_drop_path: float = 0.5,
    drop_path_mode: Mode = "batch",
    pool_before_join: bool | None = None,
    bn_affine: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build FractalNet-34 for ImageNet: four blocks of four columns between the first and the last layers of ResNet-34.

    The first layers are its 7x7 convolution and 3x3 pooling, the last its global average pooling, in the place of the
    last block's pooling, and the classifier. No dropout. Options as for `fractalnet20_cifar`.
    """
    net = Network("fractalnet34", options, _choices(pool_before_join, bn_affine))
    fractals = Fractals(net, 4, DropPath(drop_path, global_drop_path, drop_path_mode))
    x = net.stage("stem", conv_bn_relu(net.input, 64, 7, strides=2, padding=3, name="conv1"))
    x = max_pool(x, 3, 2, padding=1, name="pool1")
    for block, filters in enumerate((128, 256, 512, 1024), start=1):
        x = net.stage(f"stage{block}", fractals.block(x, filters, f"block{block}", pool=block < 4))
    return pooled(net, x)


class DropPath(NamedTuple):
    """How often paths are dropped in training: locally, globally, and whether for a whole batch."""

    rate: float
    globally: float
    mode: Mode


def _choices(pool_before_join: bool | None, bn_affine: bool | None) -> dict[str, Choice]:
    return {"pool_before_join": Choice(pool_before_join, True), "bn_affine": Choice(bn_affine, True)}


def _cifar(net: Network, columns: int, drop_path: DropPath, dropout: bool) -> keras.Model:
    """Build five blocks, each of which halves the map, and the classifier."""
    if not isinstance(dropout, bool):
        raise ValueError(f"dropout must be True or False; it is {dropout!r}. The rates are the paper's.")
    fractals = Fractals(net, columns, drop_path)
    rates = DROPOUT if dropout else (0.0,) * 5
    x, thinner = net.input, 4 if net.choices["thin"] else 1
    for block, (filters, rate) in enumerate(zip((64, 128, 256, 512, 512), rates, strict=True), start=1):
        x = net.stage(f"stage{block}", fractals.block(x, filters // thinner, f"block{block}", rate, pool=True))
    return pooled(net, x)


class Fractals:
    """The blocks of one network of `columns` columns, which share the draw of global drop-path."""

    def __init__(self, net: Network, columns: int, drop_path: DropPath):
        check(drop_path.rate, drop_path.mode, "drop_path")
        check(drop_path.globally, drop_path.mode, "global_drop_path", 1)
        self.columns, self.rate, self.mode = columns, drop_path.rate, drop_path.mode
        self.pool_before_join: bool = net.choices["pool_before_join"]
        self.affine: bool = net.choices["bn_affine"]
        self.choice = GlobalDropPath(columns, drop_path.globally, self.mode, name="global_drop_path")(net.input)

    def block(self, x: KerasTensor, filters: int, name: str, dropout: float = 0.0, *, pool: bool) -> KerasTensor:
        """Build a fractal, row by row: column c convolves once every 2^(C - c) rows, where it joins all deeper ones.

        Its convolutions are `NAME_colC_I` (the shallowest column is 1), its joins `NAME_joinROW`.
        """
        maps = [x] * self.columns
        last = 2 ** (self.columns - 1)
        for row in range(1, last + 1):
            here = [column for column in range(self.columns) if row % 2 ** (self.columns - 1 - column) == 0]
            for column in here:
                number = row // 2 ** (self.columns - 1 - column)
                maps[column] = self.unit(maps[column], filters, dropout, f"{name}_col{column + 1}_{number}")
            if row == last and pool and self.pool_before_join:
                maps = [max_pool(y, 2, 2, name=f"{name}_col{i}_pool") for i, y in enumerate(maps, start=1)]
            if len(here) > 1:
                joined = self.join([maps[column] for column in here], f"{name}_join{row}")
                for column in here:
                    maps[column] = joined
        if pool and not self.pool_before_join:
            return max_pool(maps[-1], 2, 2, name=f"{name}_pool")
        return maps[-1]

    def join(self, maps: Sequence[KerasTensor], name: str) -> KerasTensor:
        """Join maps by their mean, the deepest column's last."""
        return FractalJoin(self.rate, self.mode, name=name)([*maps, self.choice])

    def unit(self, x: KerasTensor, filters: int, dropout: float, name: str) -> KerasTensor:
        """Add 3x3 convolution, dropout, batch normalization and ReLU, in the order of the authors' network."""
        norm = Norm(scale=self.affine, shift=self.affine)
        x = conv(x, filters, 3, padding=1, use_bias=not self.affine, activation=None, name=f"{name}_conv")
        if dropout:
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        return layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, norm=norm, name=f"{name}_bn"))
