"""Train a compressed network further, without losing its zeros and its shared values.

Without labels it learns to answer as the network did before (Hinton, Vinyals & Dean 2015, arXiv:1503.02531). A few
hundred photos are enough for that: only the shared values, biases and the like are trained, some thousand numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.compression.networks import kernels, log_probabilities
from export.errors import RequestError
from export.varying import varied

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

STEPS = 100
BATCH = 16
SHOWN = 10  # steps between two signs of life
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

    Each step sees a random part of each photo, in slightly other colors. Zeros stay zero. Kernels of at most 256
    different values keep them shared: a value follows the summed gradient of its members. Statistics of batch
    normalization stay as they are.

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
        step: called with a sentence on the progress.

    Returns:
        The mean loss of the last quarter of the steps, in nats.

    Raises:
        RequestError: neither or both of teacher and labels are given, or there is not one label for each image.
    """
    import keras
    import tensorflow as tf

    from export.compression.structure import KeepStructure

    if (teacher is None) == (labels is None):
        raise RequestError("Fine-tuning needs the network before compression (teacher=), or labels=: one of the two.")
    if labels is not None and len(labels) != len(images):
        raise RequestError(f"There are {len(images)} images but {len(labels)} labels.")
    classes = np.zeros(len(images), np.int64) if labels is None else np.asarray(labels)
    schedule = keras.optimizers.schedules.CosineDecay(rate, max(steps, 1))
    optimizer = KeepStructure(keras.optimizers.Adam(schedule, beta_2=0.99), model)
    train = _training(model, teacher, optimizer)
    random = np.random.default_rng(seed)
    losses = []
    for number in range(steps):
        if not number % SHOWN:
            step(f"fine-tuning, step {number + 1} of {steps}")
        chosen = random.choice(len(images), min(batch, len(images)), replace=False)
        photos = varied(tf.constant(images[chosen]), [seed, number], flip)
        losses.append(float(train(photos, tf.constant(classes[chosen]))))
    return float(np.mean(losses[-max(steps // 4, 1) :])) if losses else 0.0


def _training(
    model: keras.Model, teacher: keras.Model | None, optimizer: keras.optimizers.Optimizer
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function that makes one step on photos and their classes, and gives the loss."""
    import tensorflow as tf

    answers = log_probabilities(model)
    wanted = log_probabilities(teacher) if teacher is not None else None
    compressed = list(kernels(model).values())
    own = {id(kernel) for kernel in compressed}
    variables = compressed + [weight for weight in model.trainable_weights if id(weight) not in own]
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def train(photos: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        target = wanted(photos) if wanted is not None else None
        with tf.GradientTape() as tape:
            answer = answers(photos)
            if target is not None:
                loss = tf.reduce_mean(tf.reduce_sum(tf.exp(target) * (target - answer), axis=1))
            else:
                loss = -tf.reduce_mean(tf.gather(answer, classes, batch_dims=1))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return train
