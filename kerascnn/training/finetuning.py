"""Transfer learning: a new head on a trained network, trained first, and more of the network with it later.

Normalisation is the trap: a batch normalisation that is trained on a few hundred photos replaces the statistics of a
million, and the network falls apart. In Keras a frozen one (`trainable = False`) uses its statistics as at inference,
also while the layers around it are trained; here all of them stay frozen unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerascnn import factory
from kerascnn.build_info import build_info
from kerascnn.surgery.heads import last_layers


def replace_head(name: str, weights: str, classes: int, **options: Any) -> keras.Model:
    """A network with trained weights in all layers but the last, which is new, and alone is to be trained.

    The new head begins near zero (normal, deviation 0.01, as AlexNet and SqueezeNet began), because the features of
    networks without normalisation are large: with the usual weights its first answers would be certain, and wrong.

    Args:
        name: of the variant.
        weights: see the builders' option `weights`.
        classes: of the new head.
        **options: more of the builder's options, such as input_shape.

    Returns:
        a model whose layers are frozen, but for the new head (see `unfreeze`).

    Raises:
        ValueError: the network has no head, or the weights do not fit.
    """
    model = factory.create_model(name, weights=weights, classes=classes, head="new", **options)
    freeze(model)
    for layer in head_of(model):
        shape = layer.kernel.shape
        layer.kernel.assign(keras.initializers.RandomNormal(stddev=0.01)(shape))
    return model


def freeze(model: keras.Model) -> None:
    """Freeze every layer but the head."""
    head = head_of(model)
    for layer in model.layers:
        layer.trainable = layer in head


def unfreeze(model: keras.Model, layers: int | str | None = None, *, normalization: bool = False) -> list[str]:
    """Let more of the network be trained, from its end on. Compile the model again afterwards.

    Args:
        model: any model.
        layers: how many of the last layers with weights; or the name of the first one to train, with all after it; or
            None for all.
        normalization: let batch normalisations be trained too, and gather new statistics; for large data alone.

    Returns:
        the names of the layers that are trained now.

    Raises:
        ValueError: there is no such layer.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    if isinstance(layers, str):
        names = [layer.name for layer in model.layers]
        if layers not in names:
            raise ValueError(f"{model.name} has no layer named {layers!r}.")
        chosen = {id(layer) for layer in model.layers[names.index(layers) :]}
    elif layers is None:
        chosen = {id(layer) for layer in weighted}
    elif not 1 <= layers <= len(weighted):
        raise ValueError(f"{model.name} has {len(weighted)} layers with weights; {layers!r} of them cannot be trained.")
    else:
        chosen = {id(layer) for layer in weighted[-layers:]}
    for layer in weighted:
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = id(layer) in chosen and (normalization or not normalizes)
    return [layer.name for layer in weighted if layer.trainable]


def head_of(model: keras.Model) -> Sequence[Any]:
    """The last layer with weights before each output.

    Raises:
        ValueError: the model was built without its top, and has no head.
    """
    info = build_info(model)
    if info is not None and info.top.get("include_top", True) is False:
        raise ValueError(f"{model.name} was built with include_top=False, and has no head to keep.")
    return last_layers(model)
