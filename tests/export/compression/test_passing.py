"""Photos on their way through a network whose later weights still change."""

import keras
import numpy as np
import pytest
from keras import layers

pytest.importorskip("tensorflow")

from export.compression import passing
from export.compression.networks import copy, kernel_layers


def branches() -> keras.Model:
    """A network with a branch, a shortcut, and layers that behave otherwise in training."""
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    y = layers.Conv2D(3, 1, activation="relu", name="left")(layers.Dropout(0.9)(x))
    z = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same", name="right")(x))
    x = layers.Concatenate()([x, layers.Add()([y, z])])
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, name="depthwise")(x))
    return keras.Model(image, layers.Dense(3, activation="softmax", name="last")(x))


@pytest.mark.parametrize("kept", [0, 9_000, passing.KEPT_BYTES])
def test_layers_get_what_the_network_gives_them(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """Whether photos are kept everywhere, nowhere or in some places, with weights that change on the way."""
    monkeypatch.setattr(passing, "KEPT_BYTES", kept)
    model = branches()
    original = copy(model)
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)
    passage = passing.Passage((model, original), images)
    for layer in sorted(kernel_layers(model), key=passage.position):
        found = [np.concatenate(parts) for parts in zip(*passage.inputs(layer), strict=True)]
        for network, values in zip((model, original), found, strict=True):
            wanted = keras.Model(network.inputs[0], network.get_layer(layer.name).input)(images, training=False)
            assert np.allclose(values, np.array(wanted), atol=1e-5), layer.name
        layer.kernel.assign(np.array(layer.kernel) * 1.5)
