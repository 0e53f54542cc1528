"""Fully connected layers as convolutions, so that a network takes images of any size."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from kerascnn.build_info import BuildInfo, build_info, set_build_info
from kerascnn.keras_graph import walk_back


def fully_convolutional(model: keras.Model) -> keras.Model:
    """Make a network take images of any size: its fully connected layers become convolutions.

    This is the dense evaluation of VGG (Simonyan & Zisserman 2014, arXiv:1409.1556, section 3.2). The first becomes a
    convolution as large as the map that it flattened, the others become 1x1; the scores of all places are averaged
    before the softmax. An image of the model's own size has one place, and the same answer. Convolutions are shared
    with `model`, the fully connected layers' weights are copied.

    Raises:
        ValueError: The model does not end in one Flatten layer and fully connected layers.
    """
    tail, flatten = _tail(model)
    source = flatten.input
    image = keras.Input((None, None, model.inputs[0].shape[-1]), name="images")
    trunk = keras.Model(model.inputs[0], source)
    x = keras.models.clone_model(trunk, input_tensors=image, clone_function=lambda layer: layer).outputs[0]
    kernel, activation = tuple(source.shape[1:3]), None
    copies = []
    for layer in tail:
        last = layer is tail[-1]
        if isinstance(layer, layers.Dense):
            activation = layer.activation
            conv = layers.Conv2D(
                layer.units,
                kernel,
                activation=None if last else activation,
                use_bias=layer.use_bias,
                data_format="channels_last",
                dtype=layer.dtype_policy,
                name=layer.name,
            )
            x, kernel = conv(x), (1, 1)
            copies.append((conv, layer))
        elif last:
            activation = layer.activation
        else:
            x = layer(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_last", name="mean_scores")(x)
    x = layers.Activation(activation, dtype=tail[-1].dtype_policy, name="mean_probabilities")(x)
    dense = keras.Model(image, x, name=model.name)
    for conv, layer in copies:
        matrix, *bias = layer.get_weights()
        conv.set_weights([matrix.reshape(conv.kernel.shape), *bias])
    # No longer the variant, whose layers are of other kinds.
    info = build_info(model) or BuildInfo()
    set_build_info(dense, BuildInfo(preprocessing=info.preprocessing, weights=info.weights))
    return dense


def _tail(model: keras.Model) -> tuple[list[Any], Any]:
    """Return the layers after the last Flatten, in their order, and that Flatten."""
    tail: list[Any] = []
    for node in walk_back(model.outputs[0]):
        layer = node.operation
        if not isinstance(layer, layers.Dense | layers.Dropout | layers.Activation):
            break
        tail.insert(0, layer)
    if not isinstance(layer, layers.Flatten) or not any(isinstance(part, layers.Dense) for part in tail):
        raise ValueError(
            f"{model.name} does not end in a Flatten layer and fully connected layers, so there is nothing to convert. "
            "A network that ends in global pooling takes any size when built with input_shape=(None, None, 3)."
        )
    return tail, layer
