"""BN-Inception (Ioffe & Szegedy 2015, arXiv:1502.03167): as it is in Caffe, and as its authors have it, Inception v2.

The two are not the same network. Caffe's has wider projections in 4c and 4d and a full first convolution; that of the
authors (github.com/google-research/tf-slim, tf_slim/nets/inception_v2.py) has the widths that the paper prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.applications._inception import google
from kerascnn.applications.senet import squeeze_excite
from kerascnn.building.blocks import (
    DATA_FORMAT,
    Norm,
    average_pool,
    concatenate,
    conv,
    conv_bn_relu,
    max_pool,
)
from kerascnn.building.head import pooled
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["bn_inception", "inception_v2", "se_bn_inception"]

# filters of the 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3 and pool projection (0: none), Figure 5
MODULES = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    # Caffe's 128 make 608 channels of 4c and 4d (SE-BN-Inception.prototxt, line 1992); the paper prints 576.
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
CAFFE = Norm()
# the paper's widths, and the authors' (tf-slim calls these modules 4d and 4e)
PRINTED = {"4c": (160, 128, 160, 128, 160, 96), "4d": (96, 128, 192, 160, 192, 96)}
STAGES = {"3b": "stage2", "4d": "stage3", "5b": "stage4"}


@builder
def bn_inception(*, pool_counts_padding: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build BN-Inception (Figure 5) as it is in Caffe: two 3x3 in place of a 5x5, all convolutions normalized.

    Its authors' own network is `inception_v2`. This one is the trunk of SE-BN-Inception (github.com/hujie-frank/SENet,
    models/SE-BN-Inception.prototxt), and what weights of this name are for.

    Args:
        pool_counts_padding: True (the default) counts the zeros around a map in averages at its edge, as Caffe does;
            False averages over the pixels within the map, as TensorFlow does. The paper does not say.
        **options: See `ModelOptions`.
    """
    net = Network("bn_inception", options, {"pool_counts_padding": Choice(pool_counts_padding, True)})
    return pooled(net, trunk(net, Block(count_padding=net.choices["pool_counts_padding"])))


@builder
def inception_v2(*, bn_momentum: float | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build Inception v2, the authors' BN-Inception (github.com/google-research/tf-slim, nets/inception_v2.py).

    Its first convolution is separable, with 8 filters a channel (lines 107 and 108); 4c and 4d have 576 channels as in
    the paper (lines 343 and 379), batch normalization no scale, and strided windows are placed as TensorFlow's "SAME".

    Args:
        bn_momentum: As for `inception_v3`.
        **options: See `ModelOptions`.
    """
    net = Network("inception_v2", options)
    block = Block({**MODULES, **PRINTED}, google("inception_v2", bn_momentum, scale=False), same=True)
    return pooled(net, trunk(net, block), dropout=0.2)


@builder
def se_bn_inception(*, pool_counts_padding: bool | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build SE-BN-Inception (Hu et al. 2017, arXiv:1709.01507).

    It is `bn_inception` with a squeeze-and-excitation block at the end of each module.
    Source: github.com/hujie-frank/SENet, models/SE-BN-Inception.prototxt.

    Args:
        pool_counts_padding: As for `bn_inception`.
        **options: See `ModelOptions`.
    """
    net = Network("se_bn_inception", options, {"pool_counts_padding": Choice(pool_counts_padding, True)})
    block = Block(count_padding=net.choices["pool_counts_padding"], attention=squeeze_excite)
    return pooled(net, trunk(net, block))


@dataclass(frozen=True)
class Block:
    """What the two networks differ in.

    Attributes:
        modules: The table of the modules.
        norm: The batch normalization.
        count_padding: Whether averages at the edge count the zeros around the map.
        same: TensorFlow's first convolution and windows, and not Caffe's.
        attention: What each module goes through at its end.
    """

    modules: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MODULES)
    norm: Norm = CAFFE
    count_padding: bool = False
    same: bool = False
    attention: Callable[[KerasTensor, str], KerasTensor] | None = None

    def unit(self, x: KerasTensor, filters: int, kernel: int, strides: int, name: str) -> KerasTensor:
        """Build a convolution, batch normalization and ReLU."""
        padding: int | Literal["same"] = "same" if self.same and strides > 1 else kernel // 2
        return conv_bn_relu(x, filters, kernel, strides=strides, padding=padding, norm=self.norm, name=name)

    def stem(self, x: KerasTensor) -> KerasTensor:
        """Build the first convolution: a whole one, or eight filters for each channel and a 1x1 convolution.

        The latter has a bias and no normalization, because the authors' settings name plain convolutions alone
        (tf_slim/nets/inception_v2.py, lines 639 to 647); their test counts it so.
        """
        if not self.same:
            return self.unit(x, 64, 7, 2, "conv1_7x7_s2")
        channels = x.shape[-1]
        name = "conv1_7x7_s2_depthwise"
        x = conv(
            x, 8 * channels, 7, strides=2, padding="same", groups=channels, use_bias=False, activation=None, name=name
        )
        return conv(x, 64, 1, name="conv1_7x7_s2_conv")

    def pool(self, x: KerasTensor, name: str) -> KerasTensor:
        """Build a strided 3x3 pool: the ceiling rule, which on even maps is TensorFlow's "SAME" too."""
        if self.same:
            return layers.MaxPooling2D(3, 2, padding="same", data_format=DATA_FORMAT, name=name)(x)
        return max_pool(x, 3, 2, ceil=True, name=name)

    def module(self, x: KerasTensor, name: str) -> KerasTensor:
        """Build an inception module. Without 1x1 convolution and projection it halves the map."""
        ones, threes_reduce, threes, doubles_reduce, doubles, projection = self.modules[name]
        last = name == "5b"
        name = f"inception_{name}"
        strides = 1 if ones else 2
        branches = [self.unit(x, ones, 1, 1, f"{name}_1x1")] if ones else []

        y = self.unit(x, threes_reduce, 1, 1, f"{name}_3x3_reduce")
        branches.append(self.unit(y, threes, 3, strides, f"{name}_3x3"))

        y = self.unit(x, doubles_reduce, 1, 1, f"{name}_double_3x3_reduce")
        y = self.unit(y, doubles, 3, 1, f"{name}_double_3x3_1")
        branches.append(self.unit(y, doubles, 3, strides, f"{name}_double_3x3_2"))

        if strides == 2:
            branches.append(self._strided_pool(x, f"{name}_pool"))
        else:
            if last:
                y = max_pool(x, 3, 1, padding=1, name=f"{name}_pool")
            else:
                y = average_pool(x, 3, padding=1, count_padding=self.count_padding, name=f"{name}_pool")
            branches.append(self.unit(y, projection, 1, 1, f"{name}_pool_proj"))
        y = concatenate(branches, name=f"{name}_output")
        return self.attention(y, name) if self.attention else y

    def _strided_pool(self, x: KerasTensor, name: str) -> KerasTensor:
        if self.same:
            return self.pool(x, name)
        # On an even map this is Caffe's rounding up; on an odd one it gives the size of the convolutions, as it must.
        x = layers.ZeroPadding2D(((0, 2), (0, 2)), data_format=DATA_FORMAT, name=f"{name}_pad")(x)
        return max_pool(x, 3, 2, name=name)


def trunk(net: Network, block: Block) -> KerasTensor:
    """Build all of the network but its classifier."""
    x = net.stage("stem", block.stem(net.input))
    x = block.pool(x, "pool1_3x3_s2")
    x = block.unit(x, 64, 1, 1, "conv2_3x3_reduce")
    x = net.stage("stage1", block.unit(x, 192, 3, 1, "conv2_3x3"))
    x = block.pool(x, "pool2_3x3_s2")
    for name in block.modules:
        x = block.module(x, name)
        if name in STAGES:
            net.stage(STAGES[name], x)
    return x
