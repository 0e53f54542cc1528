"""A recipe's augmentation, as Keras layers in front of the network: from images of bytes to a network's input.

The layers are part of the model that is trained. So their random numbers belong to its state, with which a stopped run
continues, and every backend runs them. They do nothing outside of training. Crops of larger photos are cut where the
photos are read: see `kerascnn.training.photos`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training.recipes import Augmentation

# Principal components of ImageNet's RGB values on a scale of 0 to 1, as fb.resnet.torch has them.
_DEVIATIONS = (0.2175, 0.0188, 0.0045)
_COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@keras.saving.register_keras_serializable(package="kerascnn", name="PCAColour")  # the name in files that were saved
class PCAColor(keras.layers.Layer):
    """AlexNet's change of color and intensity: a random multiple of each principal component is added to all pixels.

    Input and output are RGB images of values from 0 to 255, (batch, height, width, 3). Source: Krizhevsky et al. 2012,
    section 4.1, where `deviation` is 0.1.
    """

    def __init__(self, deviation: float = 0.1, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.deviation, self.seed = deviation, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """Add the same random color to all pixels of an image."""
        if not training:
            return inputs
        drawn = keras.random.normal((ops.shape(inputs)[0], 3), 0.0, self.deviation, "float32", self.seed_generator)
        weighted = drawn * ops.convert_to_tensor(np.multiply(255, _DEVIATIONS).astype("float32"))
        shift = ops.matmul(weighted, ops.convert_to_tensor(np.transpose(_COMPONENTS).astype("float32")))
        return inputs + ops.cast(shift, inputs.dtype)[:, None, None, :]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the layer."""
        return {**super().get_config(), "deviation": self.deviation, "seed": self.seed}


def prepare(images: KerasTensor, preprocessing: Preprocessing, augmentation: Augmentation) -> KerasTensor:
    """Normalize and augment images.

    Args:
        images: RGB or gray images of the network's size, (batch, height, width, channels), with values from 0 to 255
            of any type.
        preprocessing: How the network wants images.
        augmentation: The augmentation of the recipe.

    Returns:
        The network's input, of the same shape.
    """
    x = images
    for layer in _color_layers(augmentation, channels=images.shape[-1]):
        x = layer(x)
    if preprocessing.channel_order == "bgr":
        x = x[..., ::-1]
    mean, variance = (
        np.broadcast_to(values, images.shape[-1:]) for values in (preprocessing.mean, np.square(preprocessing.std))
    )
    x = layers.Normalization(axis=-1, mean=mean, variance=variance, name="normalize")(x)
    # Outside a photo is its mean color, as the papers pad; outside a digit is black, as inside.
    gray = preprocessing.channel_order == "gray"
    outside = float(preprocessing.normalize(np.zeros((1, 1, 1)))[0, 0, 0]) if gray else 0.0
    for layer in _geometry_layers(augmentation, preprocessing, images.shape[1:], outside):
        # Keras says that XLA cannot compile them. That is true of TensorFlow's; JAX would not compile the whole step.
        layer.supports_jit = layer.supports_jit or keras.backend.backend() == "jax"
        x = layer(x)
    return x


def _color_layers(augmentation: Augmentation, channels: int) -> list[keras.layers.Layer]:
    """Make the layers that change colors of 0 to 255; a gray image has none."""
    jitter, pca = augmentation.colour_jitter, augmentation.pca_colour
    brightness = jitter if augmentation.brightness is None else augmentation.brightness
    chain: list[keras.layers.Layer] = []
    if channels == 3 and (jitter or pca):
        chain.append(layers.Rescaling(1.0, name="to_float"))
    if channels == 3 and jitter:
        factors = {"brightness_factor": brightness, "contrast_factor": jitter, "saturation_factor": jitter}
        if augmentation.hue:
            factors["hue_factor"] = 2 * augmentation.hue  # Keras turns by half of its factor at most
        chain.append(layers.RandomColorJitter((0, 255), **factors, name="colour_jitter"))
    if channels == 3 and pca:
        chain.append(PCAColor(pca, name="pca_colour"))
    return chain


def _geometry_layers(
    augmentation: Augmentation, preprocessing: Preprocessing, shape: tuple[int, int, int], outside: float
) -> list[keras.layers.Layer]:
    """Make the layers that move pixels of normalized images; `outside` is the value of pixels that move in."""
    chain: list[keras.layers.Layer] = []
    fill = {"fill_mode": "constant", "fill_value": outside}
    if augmentation.elastic:
        limits = preprocessing.value_range(shape[2])
        chain.append(
            layers.RandomElasticTransform((1.0, 1.0), augmentation.elastic, value_range=limits, name="elastic", **fill)
        )
    if augmentation.crop_padding:
        factors = [augmentation.crop_padding / side for side in shape[:2]]
        # Whole pixels, so that a shifted image stays as sharp as those of the test set.
        chain.append(layers.RandomTranslation(*factors, interpolation="nearest", name="shift", **fill))
    if augmentation.rotation:
        chain.append(layers.RandomRotation(augmentation.rotation / 360, name="rotate", **fill))
    if augmentation.zoom:
        zoom = (-augmentation.zoom, augmentation.zoom)
        chain.append(layers.RandomZoom(zoom, zoom, name="zoom", **fill))
    if augmentation.flip:
        chain.append(layers.RandomFlip("horizontal", name="flip"))
    return chain
