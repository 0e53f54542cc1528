"""OverFeat: a classifier that is a convolution, applied to images of any size (Sermanet et al. 2013, arXiv:1312.6229).

`kerascnn.photos.detection` has what the paper does with the maps of scores: evaluation over scales, and bounding boxes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Unpack

import keras
from keras import KerasTensor, layers

from kerascnn.building.blocks import DATA_FORMAT, conv, max_pool
from kerascnn.building.head import activated, require_fixed_size
from kerascnn.building.network import Network
from kerascnn.building.options import Choice, ModelOptions, builder

__all__ = ["overfeat_accurate", "overfeat_fast"]

Dense = Literal["fine"] | bool


@builder
def overfeat_fast(*, dense: Dense | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the fast network (Table 1), on windows of 231x231 pixels.

    Args:
        dense: False (the default) for one answer an image. True for a map of answers, (batch, rows, columns, classes),
            one for every window of the network's own size that begins at a multiple of 32 pixels; the sides of the
            input may then be None. "fine" for a map of every 16 pixels: the last pool at each of its offsets
            (section 3.3). The weights are the same for all three.
        **options: See `ModelOptions`.
    """
    net = _network("overfeat_fast", options, dense)
    x = net.stage("stem", conv(net.input, 96, 11, strides=4, name="conv1"))
    x = max_pool(x, 2, 2, name="pool1")
    x = net.stage("stage1", conv(x, 256, 5, name="conv2"))
    x = max_pool(x, 2, 2, name="pool2")
    x = conv(x, 512, 3, padding=1, name="conv3")
    x = conv(x, 1024, 3, padding=1, name="conv4")
    x = net.stage("stage2", conv(x, 1024, 3, padding=1, name="conv5"))
    return _classifier(net, x, Classifier("pool5", 2, 6, {"fc6": 3072, "fc7": 4096}, "fc8"))


@builder
def overfeat_accurate(*, dense: Dense | None = None, **options: Unpack[ModelOptions]) -> keras.Model:
    """Build the accurate network (Table 3), on windows of 221x221 pixels.

    Options as for `overfeat_fast`; the maps have a position every 36 pixels, or every 12 with dense="fine".
    """
    net = _network("overfeat_accurate", options, dense)
    x = net.stage("stem", conv(net.input, 96, 7, strides=2, name="conv1"))
    x = max_pool(x, 3, 3, name="pool1")
    x = net.stage("stage1", conv(x, 256, 7, name="conv2"))
    x = max_pool(x, 2, 2, name="pool2")
    x = conv(x, 512, 3, padding=1, name="conv3")
    x = conv(x, 512, 3, padding=1, name="conv4")
    x = conv(x, 1024, 3, padding=1, name="conv5")
    x = net.stage("stage2", conv(x, 1024, 3, padding=1, name="conv6"))
    return _classifier(net, x, Classifier("pool6", 3, 5, {"fc7": 4096, "fc8": 4096}, "fc9"))


def _network(name: str, options: ModelOptions, dense: Dense | None) -> Network:
    net = Network(name, options, {"dense": Choice(dense, False, (False, True, "fine"))})
    if net.choices["dense"] and net.features_only:
        raise ValueError(
            f"dense={dense!r} is for the classifier, but include_top=False or features= asks for a network without "
            "one. Leave one of them out."
        )
    side = net.variant.input_shape[0]
    if net.choices["dense"] and any(given is not None and given < side for given in net.input.shape[1:3]):
        raise ValueError(
            f"{name} with dense={dense!r} slides a window of {side}x{side} over the image; the input of "
            f"{net.input.shape[1]}x{net.input.shape[2]} is smaller."
        )
    return net


class Classifier(NamedTuple):
    """What follows the last convolution of the features.

    Attributes:
        pool: Name of the last pool.
        size: Its side.
        window: Side of the pooled map that the first layer reads.
        widths: Units of the hidden layers, by name.
        last: Name of the last layer.
    """

    pool: str
    size: int
    window: int
    widths: dict[str, int]
    last: str


def _classifier(net: Network, x: KerasTensor, classifier: Classifier) -> keras.Model:
    """End with the last pool and the classifier, or without the top where asked."""
    size, dense = classifier.size, net.choices["dense"]
    # Pooling without skipping and a classifier that reads every size-th pixel: the same as to pool at each offset, to
    # apply the classifier to each of the results, and to interleave its answers.
    x = max_pool(x, size, 1 if dense == "fine" else size, name=classifier.pool)
    if net.features_only:
        return net.finish(x)
    if not dense:
        require_fixed_size(net, x)
    kernel: int | tuple[int, int] = classifier.window if dense else x.shape[1:3]
    dilation = size if dense == "fine" else 1
    for layer, width in classifier.widths.items():
        x = conv(x, width, kernel, dilation=dilation, name=layer)
        x = layers.Dropout(0.5, name=f"{layer}_dropout")(x)
        kernel = dilation = 1
    x = conv(x, net.options.classes, 1, activation=None, name=classifier.last)
    if not dense:
        x = layers.Flatten(data_format=DATA_FORMAT, name="flatten")(x)
    return net.finish(activated(net, x))
