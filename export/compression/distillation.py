"""Train a compressed network further, without losing its zeros and its shared values.

Without labels it learns to answer as the network did before (Hinton, Vinyals & Dean 2015, arXiv:1503.02531), for which
a few hundred photos are enough: only the shared values, biases and the like are trained, some thousand numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export.compression.networks import kernels, log_probabilities, members
from export.errors import RequestError

if TYPE_CHECKING:
    import keras

STEPS = 100
BATCH = 16
RATE = 1e-4  # of Adam, falling to nothing along a cosine


def fine_tune(
    model: keras.Model,
    images: np.ndarray,
    *,
    teacher: keras.Model | None = None,
    labels: Sequence[int] | None = None,
    steps: int = STEPS,
    rate: float = RATE,
    batch: int = BATCH,
    flip: bool = True,
    seed: int = 0,
    step: Callable[[str], None] = lambda text: None,
) -> float:
    """Train in place, on the answers of `teacher` or on `labels`.

    Each step sees a random part of each photo, in slightly other colours. Zeros stay zero. Kernels of at most 256
    different values keep them shared: a value follows the summed gradient of its members. Statistics of batch
    normalisation stay as they are.

    Args:
        model: changed in place.
        images: float32 [n, height, width, channels], as the model takes them.
        teacher: the network before compression.
        labels: the n class indices.
        steps: of Adam, on `batch` images each.
        rate: the first step's.
        batch: images a step.
        flip: whether a mirrored photo shows the same class.
        seed: of all that is random.
        step: told how far it is.

    Returns:
        The mean loss of the last quarter of the steps, in nats.

    Raises:
        RequestError: neither or both of teacher and labels, or not one label for each image.
    """
    import keras
    import tensorflow as tf

    if (teacher is None) == (labels is None):
        raise RequestError("Fine-tuning needs the network before compression (teacher=), or labels=: one of the two.")
    if labels is not None and len(labels) != len(images):
        raise RequestError(f"There are {len(images)} images but {len(labels)} labels.")
    answers = log_probabilities(model)
    wanted = log_probabilities(teacher) if teacher is not None else None
    shared, variables, free = _trained(model)
    schedule = keras.optimizers.schedules.CosineDecay(rate, max(steps, 1))
    optimizer = keras.optimizers.Adam(schedule, beta_2=0.99)
    optimizer.build([*variables, *free])

    @tf.function(reduce_retracing=True)
    def train(photos: tf.Tensor, classes: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        photos = _varied(photos, [seed, number], flip)
        if wanted is not None:
            target = wanted(photos)
            share = tf.exp(target)
        with tf.GradientTape() as tape:
            answer = answers(photos)
            if wanted is not None:
                loss = tf.reduce_mean(tf.reduce_sum(share * (target - answer), axis=1))
            else:
                loss = -tf.reduce_mean(tf.gather(answer, classes, batch_dims=1))
        watched = [kernel for kernel, *_ in shared] + free
        gradients = tape.gradient(loss, [variable.value for variable in watched])
        summed = [fold(gradient) for (_, fold, _), gradient in zip(shared, gradients, strict=False)]
        optimizer.apply([*summed, *gradients[len(shared) :]], [*variables, *free])
        for (kernel, _, unfold), variable in zip(shared, variables, strict=True):
            kernel.assign(unfold(variable.value))
        return loss

    random = np.random.default_rng(seed)
    losses = []
    for number in range(steps):
        if not number % 10:
            step(f"fine-tuning, step {number + 1} of {steps}")
        chosen = random.choice(len(images), min(batch, len(images)), replace=False)
        classes = np.asarray(labels)[chosen] if labels is not None else np.zeros(len(chosen), np.int64)
        losses.append(float(train(tf.constant(images[chosen]), tf.constant(classes), tf.constant(number))))
    return float(np.mean(losses[-max(steps // 4, 1) :])) if losses else 0.0


def _trained(model: keras.Model) -> tuple[list[tuple[Any, Any, Any]], list[Any], list[Any]]:
    """What is trained: kernels with the way from their gradient to that of what they share, and back; the rest."""
    import keras
    import tensorflow as tf

    shared, variables = [], []
    for kernel in kernels(model).values():
        book, indices = members(np.asarray(kernel, np.float32))
        if book is None:
            variable, mask = keras.Variable(np.asarray(kernel)), tf.constant(indices, tf.float32)
            shared.append((kernel, lambda g, mask=mask: g * mask, lambda v: v))
        else:
            variable, flat = keras.Variable(book), tf.constant(indices.ravel(), tf.int32)
            sizes = tf.constant((book != 0).astype(np.float32))  # zero stays

            def fold(gradient: Any, flat: Any = flat, sizes: Any = sizes) -> Any:
                return sizes * tf.math.unsorted_segment_sum(tf.reshape(gradient, [-1]), flat, len(sizes))

            def unfold(values: Any, flat: Any = flat, shape: Any = tuple(kernel.shape)) -> Any:
                return tf.reshape(tf.gather(values, flat), shape)

            shared.append((kernel, fold, unfold))
        variables.append(variable)
    own = {id(kernel) for kernel, *_ in shared}
    return shared, variables, [weight for weight in model.trainable_weights if id(weight) not in own]


def _varied(images: Any, seed: Any, flip: bool) -> Any:
    """A random part of each image, perhaps mirrored, with another contrast and tint; of the same size."""
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
