"""What GoogLeNet's auxiliary classifiers do to the gradients of its first layers.

KERASCNN_DATA=../shared/data python benchmarks/auxiliary_gradients.py --steps 50

Szegedy et al. 2014 (arXiv:1409.4842, section 5) add two classifiers, each loss counted 0.3, so that the first layers
get a larger gradient. Two networks begin with the same weights; `without` learns from the loss of its predictions,
`with` from that and 0.3 of each auxiliary one. Printed is the norm of the loss's gradient with respect to a layer's
kernel, mean over some batches that are the same for both: before training, and after some steps of the recipe's SGD.
Weight decay and augmentation are left out. Needs TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from subsets import data

NETWORK = "googlenet"
WEIGHT = 0.3
LAYERS = (
    "conv1_7x7_s2",
    "conv2_3x3_reduce",
    "conv2_3x3",
    "inception_3a_1x1",
    "inception_3b_3x3",
    "inception_4a_3x3",  # aux1 follows
    "inception_4b_3x3",
    "inception_4d_3x3",  # aux2 follows
    "inception_4e_3x3",
    "inception_5b_3x3",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", default="imagenet_sample_250.zip", help="zip of KERASCNN_DATA, a folder a class")
    parser.add_argument("--size", type=int, default=224, help="side of the photos in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=4, help="that a gradient's norm is the mean of")
    parser.add_argument("--steps", type=int, default=50, help="of training before the second measurement")
    parser.add_argument("--rate", type=float, default=0.01)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"

    import keras

    import kerascnn

    start = time.perf_counter()
    random = np.random.default_rng(0)
    count = (arguments.batches + arguments.steps) * arguments.batch
    x, y, classes = load(arguments.photos, arguments.size, count, random)
    models = []
    for weight in (0.0, WEIGHT):
        keras.utils.set_random_seed(0)  # the same weights for both, and the same dropout in each step
        shape = (arguments.size, arguments.size, 3)
        model = kerascnn.create_model(
            NETWORK, aux_logits=True, classes=classes, classifier_activation=None, input_shape=shape
        )
        model.auxiliary_weight = weight
        model.compile(
            keras.optimizers.SGD(arguments.rate, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        models.append(model)
    held = arguments.batches * arguments.batch
    before = [norms(model, x[:held], y[:held], arguments.batch) for model in models]
    losses = []
    for model in models:
        for begin in range(held, len(x), arguments.batch):
            model.train_on_batch(x[begin : begin + arguments.batch], y[begin : begin + arguments.batch])
        answers = model.predict(x[:held], batch_size=arguments.batch, verbose=0)
        losses.append(float(model.loss(y[:held], answers)))
    after = [norms(model, x[:held], y[:held], arguments.batch) for model in models] if arguments.steps else None
    print(
        f"{NETWORK}, {arguments.photos}, {classes} classes, {arguments.size} px, batch {arguments.batch}, "
        f"{arguments.batches} batches, {time.perf_counter() - start:.0f} s"
    )
    print("\n".join(table(LAYERS, before, after, arguments.steps)))
    print(
        f"\nLoss of the predictions on the same batches after {arguments.steps} steps: "
        f"{losses[0]:.3f} without, {losses[1]:.3f} with; log({classes}) = {np.log(classes):.3f}"
    )


def load(name: str, size: int, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """`count` photos as the network wants them, their labels and the number of classes; in a random order, again and
    again where the zip has fewer."""
    from kerascnn.training.networks import preprocessing_of
    from kerascnn.training.photos import Photos

    photos = Photos.find(data(name))
    classes = sorted(set(photos.folders))
    rounds = -(-count // len(photos.names))
    order = np.concatenate([random.permutation(len(photos.names)) for _ in range(rounds)])[:count]
    preprocessing = preprocessing_of(NETWORK, size)
    read = {i: photos.read(photos.names[i], preprocessing.without_normalization) for i in sorted(set(order.tolist()))}
    labels = np.array([classes.index(photos.folders[i]) for i in order])
    return preprocessing.normalize(np.stack([read[i] for i in order])), labels, len(classes)


def norms(model: Any, x: np.ndarray, y: np.ndarray, batch: int) -> list[float]:
    """The norm of the gradient of the model's training loss for the kernel of each of LAYERS, mean over batches."""
    import tensorflow as tf

    kernels = [model.get_layer(name).kernel for name in LAYERS]

    @tf.function
    def of_batch(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, labels, model(images, training=True))
        return [tf.norm(gradient) for gradient in tape.gradient(loss, [kernel.value for kernel in kernels])]

    found = [of_batch(x[begin : begin + batch], y[begin : begin + batch]) for begin in range(0, len(x), batch)]
    return [float(value) for value in np.mean(found, axis=0)]


def table(names: Sequence[str], before: Sequence[Any], after: Sequence[Any] | None, steps: int) -> list[str]:
    """Lines of a table: for each layer the norm without and with the auxiliary losses, and their ratio.

    Args:
        names: of the layers; before, after: (without, with), each a number a layer; steps: between them.
    """
    parts = [("at first", before)] + ([(f"after {steps} steps", after)] if after else [])
    heads = [f"{kind}, {moment}" for moment, _ in parts for kind in ("without", "with", "ratio")]
    lines = [f"| kernel | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for i, name in enumerate(names):
        cells = []
        for _, (without, added) in parts:
            ratio = f"{added[i] / without[i]:.2f}" if without[i] else "-"
            cells += [f"{without[i]:.3g}", f"{added[i]:.3g}", ratio]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
