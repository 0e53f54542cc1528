"""Transfer learning: a new head on a trained network is trained first, and more of the network with it later.

Batch normalization needs care. If it is trained on a few hundred photos, their statistics replace those of a million,
and the network becomes useless. In Keras a frozen one (`trainable = False`) uses its statistics as at inference, even
while the layers around it are trained. So all of them stay frozen here unless the caller asks for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kerascnn import factory
from kerascnn.build_info import build_info, carry_over
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.surgery.heads import last_layers


def replace_head(
    name: str,
    weights: str,
    classes: int,
    *,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **options: Any,
) -> keras.Model:
    """Build a network with trained weights in all layers except the last, which is new.

    The new head begins near zero (normal, deviation 0.01, as AlexNet and SqueezeNet began), because the features of
    networks without normalization are large: with Keras's own weights its first answers would be certain and wrong.

    Args:
        name: The name of the variant.
        weights: See the builders' option `weights`.
        classes: How many classes the new head has.
        labels: The names of the classes, which the model then remembers.
        preprocessing: How the photos are prepared that it will be trained on; by default as those that the weights
            were trained on, for the size of this network's input.
        **options: More of the builder's options, such as input_shape.

    Returns:
        A model whose layers are frozen, except the new head (see `unfreeze`). It keeps what it knows of labels and
        preprocessing when it is saved as a .keras file.

    Raises:
        ValueError: The network has no head, the weights do not fit, or there are not as many labels as classes.
    """
    if labels is not None and len(labels) != classes:
        raise ValueError(f"There are {len(labels)} labels for {classes} classes; give one for each.")
    model = factory.create_model(name, weights=weights, classes=classes, head="new", **options)
    freeze(model)
    for layer in head_of(model):
        shape = layer.kernel.shape
        layer.kernel.assign(keras.initializers.RandomNormal(stddev=0.01)(shape))
    known: dict[str, Any] = {} if labels is None else {"labels": tuple(labels)}
    return carry_over(model, model, **known, **({} if preprocessing is None else {"preprocessing": preprocessing}))


def freeze(model: keras.Model) -> None:
    """Freeze every layer except the head."""
    head = head_of(model)
    for layer in model.layers:
        layer.trainable = layer in head


def unfreeze(model: keras.Model, layers: int | str | None = None, *, normalization: bool = False) -> list[str]:
    """Make more of the network trainable, beginning at its end. Compile the model again afterwards.

    Args:
        model: Any model.
        layers: How many of the last layers with weights; or the name of the first layer, for this and all after it; or
            None for all.
        normalization: Whether batch normalizations are trained too and gather new statistics; only for large data.

    Returns:
        The names of the layers that are trained now.

    Raises:
        ValueError: There is no such layer.
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
    """Find the last layer with weights before each output.

    Raises:
        ValueError: The model was built without its top, and has no head.
    """
    info = build_info(model)
    if info is not None and info.top.get("include_top", True) is False:
        raise ValueError(f"{model.name} was built with include_top=False, and has no head to keep.")
    return last_layers(model)
