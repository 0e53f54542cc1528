"""Fine-tune the ImageNet SqueezeNet on a few hundred photos, and compare with training from scratch.

    python examples/fine_tune.py --train cifar10_train.zip --test cifar10_test_5000.zip

Photos lie in folders named after their classes, in a folder or a zip. First the new head alone is trained, then the
last fire modules with it, at a lower rate. From scratch, the same network gets the same photos, as many passes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import keras
import numpy as np

import kerascnn
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.training import Augmentation, finetuning
from kerascnn.training.augmentation import prepare
from kerascnn.training.data import Images
from kerascnn.training.photos import Photos

# SqueezeNet's own normalisation; the whole photo is resized to the input.
FLIPS = Augmentation(flip=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, required=True, metavar="DIR|ZIP")
    parser.add_argument("--test", type=Path, required=True, metavar="DIR|ZIP")
    parser.add_argument("--photos", type=int, default=300, help="to train on, as many of each class")
    parser.add_argument("--judged", type=int, default=500, help="photos to test with")
    parser.add_argument("--side", type=int, default=96, help="of the input in pixels")
    parser.add_argument("--weights", default="imagenet", help="published weights of SqueezeNet, or their file")
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(10, 6), help="passes with the head alone, and with more"
    )
    arguments = parser.parse_args()

    size = Preprocessing(resize=(arguments.side, arguments.side), channel_order="bgr", mean=(104.0, 117.0, 123.0))
    train = choose(arguments.train, arguments.photos, size)
    test = choose(arguments.test, arguments.judged, size)
    classes = len(train.classes)
    print(f"{len(train)} photos of {classes} classes to train on, {len(test)} to test with, {arguments.side} pixels")

    keras.utils.set_random_seed(0)
    x = prepare(keras.Input((*size.resize, 3), dtype="uint8"), size, FLIPS)
    tuned = finetuning.replace_head(
        "squeezenet", arguments.weights, classes, input_tensor=x, classifier_activation=None
    )
    fit(tuned, train, test, arguments.epochs[0], 1e-3, "the head alone")
    trained = finetuning.unfreeze(tuned, "fire6_squeeze1x1")
    fit(tuned, train, test, arguments.epochs[1], 1e-4, f"{len(trained)} layers from fire6 on")

    keras.utils.set_random_seed(0)
    x = prepare(keras.Input((*size.resize, 3), dtype="uint8"), size, FLIPS)
    scratch = kerascnn.create_model(
        "squeezenet", classes=classes, input_tensor=x, classifier_activation=None, conv10_padding=1
    )
    fit(scratch, train, test, sum(arguments.epochs), 3e-4, "from scratch")


def choose(path: Path, count: int, size: Preprocessing) -> Images:
    """As many photos of each class, together `count`, evenly spread over those that there are."""
    photos = Photos.find(path)
    classes = tuple(sorted(set(photos.folders)))
    each = count // len(classes)
    pixels, labels = [], []
    for label, folder in enumerate(classes):
        own = [name for name, of in zip(photos.names, photos.folders, strict=True) if of == folder]
        for name in own[:: max(1, len(own) // each)][:each]:
            pixels.append(photos.read(name, size))
            labels.append(label)
    return Images(np.array(labels, np.int32), classes, np.stack(pixels))


def fit(model: keras.Model, train: Images, test: Images, epochs: int, rate: float, what: str) -> None:
    """Train and print the accuracy on both sets."""
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    begun = time.perf_counter()
    model.fit(train.pixels, train.labels, batch_size=32, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - begun
    _, known = model.evaluate(train.pixels, train.labels, batch_size=100, verbose=0)
    _, found = model.evaluate(test.pixels, test.labels, batch_size=100, verbose=0)
    print(f"{what}: {epochs} epochs, {seconds:.0f} s, training {known:.1%}, test {found:.1%}", flush=True)


if __name__ == "__main__":
    main()
