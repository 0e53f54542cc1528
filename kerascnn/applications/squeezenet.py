"""SqueezeNet: fire modules, no fully connected layer (Iandola et al. 2016, arXiv:1602.07360)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import add, concatenate, conv, conv_bn_relu, max_pool
from kerascnn.building.head import averaged
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["squeezenet", "squeezenet1_1", "squeezenet_cifar"]

Bypass = Literal["simple", "complex"]

# fire module: (1x1 squeeze filters, filters of each of the two expand halves), Table 1
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}


@builder
def squeezenet(
    *, bypass: Bypass | None = None, conv10_padding: Literal[0, 1] | None = None, **options: Unpack[ModelOptions]
) -> keras.Model:
    """Build SqueezeNet v1.0 (Table 1).

    Args:
        bypass: None; "simple" (identity around fire 3, 5, 7 and 9) or "complex" (also a 1x1 convolution with bias
            around fire 2, 4, 6 and 8), Figure 2.
        conv10_padding: Zeros around the last map before its 1x1 convolution: 0 as in Table 1 (the default), or 1 as in
            the authors' Caffe network, which the "imagenet" weights were trained with and therefore use.
        **options: See `ModelOptions`.
    """
    net = _network("squeezenet", options, bypass, conv10_padding)
    x = net.stage("stem", conv(net.input, 96, 7, strides=2, name="conv1"))
    x = max_pool(x, 3, 2, ceil=True, name="pool1")
    x = net.stage("stage1", _fires(x, (2, 3, 4), net))
    x = max_pool(x, 3, 2, ceil=True, name="pool4")
    x = net.stage("stage2", _fires(x, (5, 6, 7, 8), net))
    x = max_pool(x, 3, 2, ceil=True, name="pool8")
    x = net.stage("stage3", _fires(x, (9,), net))
    return _classifier(x, net)


@builder
def squeezenet1_1(
    *, bypass: Bypass | None = None, conv10_padding: Literal[0, 1] | None = None, **options: Unpack[ModelOptions]
) -> keras.Model:
    """Build SqueezeNet v1.1: 3x3 stem with 64 filters and earlier pooling, 2.4 times less work than v1.0.

    The options are those of `squeezenet`.
    """
    net = _network("squeezenet1_1", options, bypass, conv10_padding)
    x = net.stage("stem", conv(net.input, 64, 3, strides=2, name="conv1"))
    x = max_pool(x, 3, 2, ceil=True, name="pool1")
    x = net.stage("stage1", _fires(x, (2, 3), net))
    x = max_pool(x, 3, 2, ceil=True, name="pool3")
    x = net.stage("stage2", _fires(x, (4, 5), net))
    x = max_pool(x, 3, 2, ceil=True, name="pool5")
    x = net.stage("stage3", _fires(x, (6, 7, 8, 9), net))
    return _classifier(x, net)


@builder
def squeezenet_cifar(*, bypass: Bypass | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build SqueezeNet v1.1 for images of 32x32, 10 classes unless `classes` says otherwise.

    No paper has it. It is v1.1 with the stem at stride 1, so that the fire modules work on 16, 8 and 4 pixels a side;
    with batch normalization after every convolution but the last, and no ReLU after that, as the usual adaptations to
    CIFAR have it.

    Args:
        bypass: As for `squeezenet`.
        **options: See `ModelOptions`.
    """
    net = Network("squeezenet_cifar", options, {"bypass": Choice(bypass, None, ("simple", "complex"))})
    x = net.stage("stem", conv_bn_relu(net.input, 64, 3, padding=1, name="conv1"))
    for stage, numbers in enumerate(((2, 3), (4, 5), (6, 7, 8, 9)), 1):
        x = max_pool(x, 3, 2, ceil=True, name=f"pool{numbers[0] - 1}")
        x = net.stage(f"stage{stage}", _fires(x, numbers, net, conv_bn_relu))
    return _classifier(x, net, activation=None)


def _network(name: str, options: ModelOptions, bypass: Bypass | None, conv10_padding: int | None) -> Network:
    choices = {
        "bypass": Choice(bypass, None, ("simple", "complex")),
        "conv10_padding": Choice(conv10_padding, 0, (0, 1)),
    }
    return Network(name, options, choices)


def _fires(
    x: KerasTensor, numbers: tuple[int, ...], net: Network, convolve: Callable[..., KerasTensor] = conv
) -> KerasTensor:
    bypass = net.choices["bypass"]
    for number in numbers:
        squeeze, expand = FIRES[number]
        name = f"fire{number}"
        y = convolve(x, squeeze, 1, name=f"{name}_squeeze1x1")
        left = convolve(y, expand, 1, name=f"{name}_expand1x1")
        right = convolve(y, expand, 3, padding=1, name=f"{name}_expand3x3")
        y = concatenate([left, right], name=f"{name}_concat")
        if bypass and number % 2:
            y = add(x, y, name=f"{name}_add")
        elif bypass == "complex":
            # With its bias this makes 1,589,672 parameters, 6.1 MiB; the paper's Table 3 prints 7.7 MB.
            y = add(conv(x, 2 * expand, 1, activation=None, name=f"{name}_bypass"), y, name=f"{name}_add")
        x = y
    return x


def _classifier(x: KerasTensor, net: Network, activation: str | None = "relu") -> keras.Model:
    if net.features_only:
        return net.finish(x)
    x = layers.Dropout(0.5, name="drop9")(x)
    padding = net.choices.get("conv10_padding", 0)
    return averaged(net, conv(x, net.options.classes, 1, padding=padding, activation=activation, name="conv10"))
