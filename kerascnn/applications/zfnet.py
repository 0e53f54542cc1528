"""ZFNet (Zeiler & Fergus 2013, arXiv:1311.2901): AlexNet with a finer first layer, found by looking at its features."""

from __future__ import annotations

from typing import Literal, Unpack

import keras
from keras import KerasTensor

from kerascnn.building.blocks import conv, max_pool
from kerascnn.building.head import flattened
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder
from kerascnn.layers import LocalResponseNormalization

__all__ = ["zfnet", "zfnet_wide"]

Normalization = Literal["after_pool", "pytorchcv"]


@builder
def zfnet(
    *,
    normalization: Normalization | None = None,
    lrn_average: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build ZFNet (Figure 3): 96-256-384-384-256 filters.

    The figure's map sizes (110, 55, 26, 13, 6) come from one row of zeros around the input and pools that round up.

    Args:
        normalization: Where the two contrast normalizations across maps are. "after_pool" as in the figure (the
            default), with AlexNet's constants because the paper has none of its own; or "pytorchcv", before the pools
            and of averages.
        lrn_average: As for `alexnet`, whose constants these are; "pytorchcv" averages in any case.
        **options: See `ModelOptions`.
    """
    choices = _choices(normalization, lrn_average)
    return _zfnet(Network("zfnet", options, choices), (384, 384, 256))


@builder
def zfnet_wide(
    *,
    normalization: Normalization | None = None,
    lrn_average: bool | None = None,
    **options: Unpack[ModelOptions],
) -> keras.Model:
    """Build ZFNet with 512-1024-512 filters in layers 3 to 5, the best single network of Table 2.

    The options are those of `zfnet`.
    """
    choices = _choices(normalization, lrn_average)
    return _zfnet(Network("zfnet_wide", options, choices), (512, 1024, 512))


def _choices(normalization: Normalization | None, lrn_average: bool | None) -> dict[str, Choice]:
    return {
        "normalization": Choice(normalization, "after_pool", ("after_pool", "pytorchcv")),
        "lrn_average": Choice(lrn_average, False),
    }


def _zfnet(net: Network, widths: tuple[int, int, int]) -> keras.Model:
    x = net.stage("stem", conv(net.input, 96, 7, strides=2, padding=1, name="conv1"))
    x = _pool_and_normalize(x, "1", net)
    x = net.stage("stage1", conv(x, 256, 5, strides=2, name="conv2"))
    x = _pool_and_normalize(x, "2", net)
    for number, width in enumerate(widths, start=3):
        x = conv(x, width, 3, padding=1, name=f"conv{number}")
    net.stage("stage2", x)
    return flattened(net, max_pool(x, 3, 2, ceil=True, name="pool5"))


def _pool_and_normalize(x: KerasTensor, number: str, net: Network) -> KerasTensor:
    if net.choices["normalization"] == "pytorchcv":
        x = LocalResponseNormalization(alpha=1e-4 / 5, name=f"norm{number}")(x)
        return max_pool(x, 3, 2, ceil=True, name=f"pool{number}")
    x = max_pool(x, 3, 2, ceil=True, name=f"pool{number}")
    alpha = 1e-4 / 5 if net.choices["lrn_average"] else 1e-4
    return LocalResponseNormalization(alpha=alpha, name=f"norm{number}")(x)
