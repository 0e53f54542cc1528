"""Find the weights of a network that are compressed, and refuse what cannot be compressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from export.errors import RequestError

if TYPE_CHECKING:
    import keras

Setting = TypeVar("Setting")

MOST = 256  # a kernel of more different values counts as not shared


def kernels(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the kernels of convolutions and dense layers by `layer/weight`, in the order of the layers."""
    return {path_of(layer): layer.kernel for layer in kernel_layers(model)}


def path_of(layer: keras.Layer) -> str:
    """Return the name of a layer's kernel, `layer/weight`."""
    return f"{layer.name}/kernel"


def layer_of(path: str) -> str:
    """Return the name of the layer that has the kernel `path`."""
    return path.removesuffix("/kernel")


def kernel_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the convolutions (grouped and depthwise ones too) and dense layers of a model.

    Raises:
        RequestError: there are none, or a layer is itself a model.
    """
    import keras

    from kerascnn.build_info import build_info
    from kerascnn.layers import QuantizedScale

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
    layers = [layer for layer in model.layers if isinstance(layer, kinds) and not isinstance(layer, QuantizedScale)]
    if not layers:
        raise RequestError(f"{model.name} has no convolution and no dense layer whose weights could be compressed.")
    return layers


def inputs_of(layers: Sequence[keras.Layer], model: keras.Model) -> Callable[[Any], list[Any]]:
    """Return a function from images to what each of a model's layers gets of them."""
    import keras

    tap = keras.Model(model.inputs, [layer.input for layer in layers])
    return lambda images: keras.tree.flatten(tap(images, training=False))  # Keras makes no list of one output


def by_kernel(model: keras.Model, given: Setting | Mapping[str, Setting]) -> dict[str, Setting]:
    """Return a setting for each kernel by `layer/weight`.

    Args:
        model: the network.
        given: one setting for all layers, or settings by layer name; layers without one are left out.

    Raises:
        RequestError: the model has no such layer.
    """
    known = kernels(model)
    if not isinstance(given, Mapping):
        return dict.fromkeys(known, given)
    for name in given:
        if f"{name}/kernel" not in known:
            raise RequestError(f"{model.name} has no convolution or dense layer {name!r}.")
    return {f"{name}/kernel": setting for name, setting in given.items()}


def check_model(model: keras.Model) -> None:
    """Refuse a model that cannot be compressed.

    Raises:
        RequestError: it has no convolution, a layer is itself a model, or it computes in mixed precision.
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


def copy(model: keras.Model) -> keras.Model:
    """Return the same network with weights of its own."""
    import keras

    from kerascnn.keras_graph import deep_graphs

    with deep_graphs():
        copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def log_probabilities(model: keras.Model) -> Callable[[Any], Any]:
    """Return a function from images to the logarithms of the probabilities [n, classes] that a classifier gives them.

    Raises:
        RequestError: the model ends in neither a softmax nor logits.
    """
    import tensorflow as tf

    from kerascnn.surgery.logits import ending

    try:
        logits = ending(model) == "logits"
    except ValueError as error:
        raise RequestError(str(error)) from None

    def answers(images: tf.Tensor) -> tf.Tensor:
        output = model(images, training=False)
        output = tf.reshape(output, [tf.shape(output)[0], -1])
        return tf.nn.log_softmax(output) if logits else tf.math.log(tf.maximum(output, 1e-30))

    return answers


def members(kernel: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Find which weights share a value.

    Returns:
        The different values of a kernel, and the index of each weight's value among them. For a kernel that shares too
        few: None, and 0 where a weight is zero, 1 elsewhere.
    """
    book, indices = np.unique(kernel, return_inverse=True)
    if len(book) <= MOST and len(book) < kernel.size // 2:
        return book, indices.reshape(kernel.shape)
    return None, (kernel != 0).astype(np.int64)
