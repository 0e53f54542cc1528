"""Varied copies of photos: where photos are few, a network shows more of itself on these as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

VIEWS = 512  # of few photos: 84 of them round SqueezeNet's weights no better with 672 than with 336


def with_varied(images: np.ndarray, count: int) -> np.ndarray:
    """Return images [n, height, width, channels] and, after them, varied copies of all, at most `count` together."""
    import tensorflow as tf

    copies = [np.asarray(varied(tf.constant(images), [seed, 0])) for seed in range(count // len(images) - 1)]
    return np.concatenate([images, *copies]) if copies else images


def varied(images: tf.Tensor, seed: Sequence[int], flip: bool = True) -> tf.Tensor:
    """Return a random part of each image, perhaps mirrored, with another contrast and tint, in the same size.

    Args:
        images: float32 [n, height, width, channels].
        seed: Two numbers that decide what is random.
        flip: Whether images may be mirrored.
    """
    import tensorflow as tf

    count, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    places = tf.random.stateless_uniform([count, 4], seed)
    side = tf.sqrt(0.6 + 0.4 * places[:, 0])
    top, left = (1 - side) * places[:, 1], (1 - side) * places[:, 2]
    mirrored = (places[:, 3] < 0.5) & flip
    start, end = tf.where(mirrored, left + side, left), tf.where(mirrored, left, left + side)
    boxes = tf.stack([top, start, top + side, end], axis=1)
    parts = tf.image.crop_and_resize(images, boxes, tf.range(count), [height, width])
    jitter = tf.random.stateless_normal([2, count, 1, 1, channels], [seed[0] + 1, seed[1]])
    return parts * (1 + 0.1 * jitter[0, ..., :1]) + 0.1 * tf.math.reduce_std(images) * jitter[1]
