"""From images of bytes to a network's input, with a recipe's augmentation, as Keras layers in front of the network.

The layers are part of the model that is trained, so that their random numbers are part of its state (a resumed run
goes on with them), and that every backend runs them. They do nothing outside of training. What is cut from photos of
other sizes is cut where they are read: see `kerascnn.training.photos`.
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


@keras.saving.register_keras_serializable(package="kerascnn")
class PCAColour(keras.layers.Layer):
    """AlexNet's change of colour and intensity: a random multiple of each principal component is added to all pixels.

    Input and output: RGB images of values from 0 to 255, (batch, height, width, 3). Krizhevsky et al. 2012, section
    4.1, where `deviation` is 0.1.
    """

    def __init__(self, deviation: float = 0.1, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.deviation, self.seed = deviation, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        drawn = keras.random.normal((ops.shape(inputs)[0], 3), 0.0, self.deviation, "float32", self.seed_generator)
        weighted = drawn * ops.convert_to_tensor(np.multiply(255, _DEVIATIONS).astype("float32"))
        shift = ops.matmul(weighted, ops.convert_to_tensor(np.transpose(_COMPONENTS).astype("float32")))
        return inputs + ops.cast(shift, inputs.dtype)[:, None, None, :]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deviation": self.deviation, "seed": self.seed}


def prepare(images: KerasTensor, preprocessing: Preprocessing, augmentation: Augmentation) -> KerasTensor:
    """Normalised, augmented images from RGB or gray ones of the network's size, (batch, height, width, channels).

    `images` has values from 0 to 255 of any type.
    """
    x = images
    for layer in _colours(augmentation, channels=images.shape[-1]):
        x = layer(x)
    if preprocessing.channel_order == "bgr":
        x = x[..., ::-1]
    mean, variance = (
        np.broadcast_to(values, images.shape[-1:]) for values in (preprocessing.mean, np.square(preprocessing.std))
    )
    x = layers.Normalization(axis=-1, mean=mean, variance=variance, name="normalize")(x)
    # Outside a photo is its mean colour, as the papers pad; outside a digit is black, as inside.
    gray = preprocessing.channel_order == "gray"
    outside = float(preprocessing.normalize(np.zeros((1, 1, 1)))[0, 0, 0]) if gray else 0.0
    for layer in _geometry(augmentation, preprocessing, images.shape[1:], outside):
        # Keras marks them as beyond XLA, which is true of TensorFlow's; on JAX the whole step would not be compiled.
        layer.supports_jit = layer.supports_jit or keras.backend.backend() == "jax"
        x = layer(x)
    return x


def _colours(augmentation: Augmentation, channels: int) -> list[keras.layers.Layer]:
    """The layers that change colours of 0 to 255; a gray image has none."""
    found: list[keras.layers.Layer] = []
    if channels == 3 and (augmentation.colour_jitter or augmentation.pca_colour):
        found.append(layers.Rescaling(1.0, name="to_float"))
    if channels == 3 and augmentation.colour_jitter:
        most = augmentation.colour_jitter
        found.append(
            layers.RandomColorJitter(
                (0, 255), brightness_factor=most, contrast_factor=most, saturation_factor=most, name="colour_jitter"
            )
        )
    if channels == 3 and augmentation.pca_colour:
        found.append(PCAColour(augmentation.pca_colour, name="pca_colour"))
    return found


def _geometry(
    augmentation: Augmentation, preprocessing: Preprocessing, shape: tuple[int, int, int], outside: float
) -> list[keras.layers.Layer]:
    """The layers that move pixels of normalised images; `outside` is the value of those that come in."""
    found: list[keras.layers.Layer] = []
    fill = {"fill_mode": "constant", "fill_value": outside}
    if augmentation.elastic:
        limits = preprocessing.value_range(shape[2])
        found.append(
            layers.RandomElasticTransform((1.0, 1.0), augmentation.elastic, value_range=limits, name="elastic", **fill)
        )
    if augmentation.crop_padding:
        factors = [augmentation.crop_padding / side for side in shape[:2]]
        # whole pixels: an image that is only shifted stays as sharp as those of the test set
        found.append(layers.RandomTranslation(*factors, interpolation="nearest", name="shift", **fill))
    if augmentation.rotation:
        found.append(layers.RandomRotation(augmentation.rotation / 360, name="rotate", **fill))
    if augmentation.zoom:
        zoom = (-augmentation.zoom, augmentation.zoom)
        found.append(layers.RandomZoom(zoom, zoom, name="zoom", **fill))
    if augmentation.flip:
        found.append(layers.RandomFlip("horizontal", name="flip"))
    return found
