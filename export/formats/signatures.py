"""The signatures of a SavedModel: prepared images, and photos as they come, which are pixels of any size or files.

A server does not compare a request with the shapes of a signature: the graph is fed whatever arrives. Each signature
therefore ensures its shapes in the graph, where an operation may take them for granted and end the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.formats import photos
from serving.contract import BYTES_SIGNATURE, NOT_READABLE, TOP, UINT8_SIGNATURE

if TYPE_CHECKING:
    import tensorflow as tf

    from export.tracing.graph import TracedModel
    from kerascnn.photos.preprocessing import Preprocessing

_CPU = "/CPU:0"


@dataclass(frozen=True)
class PhotoSignatures:
    """Signatures by name, and the part of each that comes before the network, which a check can then look at.

    prepare_uint8: images uint8 [n, h, w, c] → float32 [n, height, width, c].
    prepare_bytes: image_bytes string [n] → the same, and bool [n], whether each could be read.
    """

    signatures: dict[str, Any]
    prepare_uint8: Any
    prepare_bytes: Any


def default_signature(traced: TracedModel) -> Any:
    """`serving_default`: the network, for images of its own shape alone."""
    import tensorflow as tf

    spec = tf.TensorSpec(traced.input_shape, tf.float32, traced.input_name)

    @tf.function(input_signature=[spec], autograph=False)
    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return traced.function(tf.ensure_shape(images, traced.input_shape))

    return serving_default.get_concrete_function()


def photo_signatures(
    traced: TracedModel, preprocessing: Preprocessing | None, labels: Sequence[str] | None
) -> PhotoSignatures | None:
    """`serving_uint8` and `serving_bytes`; None where the network takes no photos or names no classes.

    Both answer with the best classes of each photo: `top_ids` int32 [n, k], `top_scores` float32 [n, k] and, where
    labels are given, `top_labels` string [n, k]. A file that cannot be read has the ids -1, scores 0 and empty labels.

    Reading and resizing photos stays on the CPU, where the kernels are: TensorFlow would copy the strings to a GPU.

    Args:
        traced: The network.
        preprocessing: How a photo becomes the input of `traced`; None where that is not known.
        labels: Class names in the order of the outputs.
    """
    import tensorflow as tf

    if preprocessing is None or len(traced.output_shape) != 2:
        return None
    if not photos.can_prepare(preprocessing, traced.input_shape):
        return None
    channels = traced.input_shape[-1]
    assert channels is not None

    pixels = (None, None, None, channels)

    @tf.function(input_signature=[tf.TensorSpec(pixels, tf.uint8, "images")], autograph=False)
    def prepare_uint8(images: tf.Tensor) -> tf.Tensor:
        with tf.device(_CPU):
            return photos.prepare(tf.ensure_shape(images, pixels), preprocessing)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")], autograph=False)
    def prepare_bytes(image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device(_CPU):
            return photos.prepare_files(tf.ensure_shape(image_bytes, (None,)), preprocessing, channels)

    def best(images: tf.Tensor, readable: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        ensured = tf.ensure_shape(images, traced.input_shape)
        return _best(traced.function(ensured)[traced.output_name], labels, readable)

    for prepare in (prepare_uint8, prepare_bytes):
        prepare.get_concrete_function()  # traced once for its signature, for the other callers and for the file

    @tf.function(input_signature=prepare_uint8.input_signature, autograph=False)
    def serving_uint8(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return best(prepare_uint8(images))

    @tf.function(input_signature=prepare_bytes.input_signature, autograph=False)
    def serving_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return best(*prepare_bytes(image_bytes))

    signatures = {UINT8_SIGNATURE: serving_uint8, BYTES_SIGNATURE: serving_bytes}
    return PhotoSignatures(
        {name: function.get_concrete_function() for name, function in signatures.items()},
        prepare_uint8,
        prepare_bytes,
    )


def _best(outputs: tf.Tensor, labels: Sequence[str] | None, readable: tf.Tensor | None) -> dict[str, tf.Tensor]:
    import tensorflow as tf

    scores, ids = tf.math.top_k(outputs, min(TOP, outputs.shape[-1]))
    answer = {"top_ids": ids, "top_scores": scores}
    if labels is not None:
        with tf.device(_CPU):
            answer["top_labels"] = tf.gather(tf.constant(list(labels)), ids)
    if readable is None:
        return answer
    missing = {"top_ids": NOT_READABLE, "top_scores": 0.0, "top_labels": ""}
    with tf.device(_CPU):
        return {name: tf.where(readable[:, None], values, missing[name]) for name, values in answer.items()}
