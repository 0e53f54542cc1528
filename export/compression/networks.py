"""Which weights of a network are compressed, and the checks that come before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import RequestError

if TYPE_CHECKING:
    import keras


MOST = 256  # different values, beyond which a kernel counts as not shared


def kernels(model: keras.Model) -> dict[str, Any]:
    """The kernels of convolutions and dense layers by `layer/weight`, in the order of the layers."""
    return {f"{layer.name}/kernel": layer.kernel for layer in kernel_layers(model)}


def kernel_layers(model: keras.Model) -> list[keras.Layer]:
    """The convolutions (grouped and depthwise ones too) and dense layers of a model.

    Raises:
        RequestError: there is none, or a layer is a model of its own.
    """
    import keras

    from kerascnn.build_info import build_info

    nested = next((layer.name for layer in model.layers if isinstance(layer, keras.Model)), None)
    info = build_info(model)
    if nested and info and info.members:
        raise RequestError(
            f"{model.name} is an ensemble. Compress its members one by one, each into a file of its own, and build the "
            "ensemble of those."
        )
    if nested:
        raise RequestError(
            f"{model.name} has a model within it, {nested!r}, whose layers cannot be reached. Build one flat "
            "network (kerascnn's builders take input_tensor=) and load the weights into that."
        )
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not found:
        raise RequestError(f"{model.name} has no convolution and no dense layer whose weights could be compressed.")
    return found


def check_model(model: keras.Model) -> None:
    """Refuse what cannot be compressed.

    Raises:
        RequestError: there is no convolution or dense layer, a layer is a model of its own, or it computes in mixed
            precision.
    """
    if not any(len(layer.kernel.shape) == 4 for layer in kernel_layers(model)):
        raise RequestError(f"{model.name} has no convolution: there is nothing to compress in a network of photos.")
    for layer in model.layers:
        policy = layer.dtype_policy
        if policy.compute_dtype != "float32" and layer.weights:
            raise RequestError(
                f"{model.name} computes in {policy.compute_dtype} ({layer.name}); its weights are compressed from "
                "float32. Build it under keras.config.set_dtype_policy('float32') and load the weights into that."
            )


def log_probabilities(model: keras.Model) -> Callable[[Any], Any]:
    """A function from images to the logarithms of the probabilities [n, classes] that a classifier gives them.

    Raises:
        RequestError: it ends in something else than a softmax or logits.
    """
    import tensorflow as tf

    from kerascnn.surgery.logits import ending

    try:
        logits = ending(model) == "logits"
    except ValueError as error:
        raise RequestError(str(error)) from None

    def answers(images: Any) -> Any:
        output = model(images, training=False)
        output = tf.reshape(output, [tf.shape(output)[0], -1])
        return tf.nn.log_softmax(output) if logits else tf.math.log(tf.maximum(output, 1e-30))

    return answers


def check_photos(images: np.ndarray) -> str | None:
    """A warning where photos cannot tell how important weights are; None where they can."""
    flat = images.reshape(len(images), -1, images.shape[-1])
    plain = int((flat.std(axis=1).max(axis=-1) < 1e-3 * max(float(abs(flat).max()), 1e-6)).sum())
    if not plain:
        return None
    return (
        f"{plain} of the {len(images)} calibration photos have one single colour: they do not show what the network "
        "sees, and ranges and sensitivities measured on them collapse. Give photos like those it will see."
    )


def members(kernel: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The different values of a kernel, and which of them each weight has; or None, and 0 where a weight is zero."""
    book, indices = np.unique(kernel, return_inverse=True)
    if len(book) <= MOST and len(book) < kernel.size // 2:
        return book, indices.reshape(kernel.shape)
    return None, (kernel != 0).astype(np.int64)
