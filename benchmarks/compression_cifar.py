"""A CIFAR-10 network through the whole of compression: pruned, clustered, fine-tuned on labels, and exported.

KERASCNN_DATA=../shared/data python benchmarks/compression_cifar.py --network resnet20_cifar \
    --weights cifar10 --parent-epochs 0 --prune-epochs 6 --prune-rate 0.05 --precision bfloat16

With --parent-epochs the network is first trained further on the photos at hand. That is the float parent; a polynomial
schedule prunes it while it trains on, its weights are shared by k-means, shared values, biases and normalization are
trained on and rounded to float16, and it is exported to int8. What is said of a file was counted in it. Every step is
kept in the folder of --output, and a second run goes on with what is missing there. Reads cifar10_train.zip and
cifar10_test_5000.zip of KERASCNN_DATA.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerascnn.statistics import with_interval

BATCH = 128
MARGIN = 4  # pixels that a training image is shifted by at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet20_cifar")
    parser.add_argument("--weights", help="a name, a file, or a .weights.h5 that Keras saved")
    parser.add_argument("--options", type=json.loads, default={}, help="of the builder, as JSON")
    parser.add_argument("--output", type=Path, default=Path("compression_cifar"))
    parser.add_argument("--parent-epochs", type=float, default=2)
    parser.add_argument("--parent-rate", type=float, default=0.02)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--prune-epochs", type=float, default=4)
    parser.add_argument("--prune-rate", type=float, default=0.02)
    parser.add_argument("--bits", type=int, default=5)
    parser.add_argument("--share-epochs", type=float, default=1)
    parser.add_argument("--share-rate", type=float, default=3e-4, help="of Adam")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32", help="of training alone; weights are float32"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    folder = arguments.output / arguments.network
    folder.mkdir(parents=True, exist_ok=True)

    import keras

    import kerascnn
    from export import compression
    from kerascnn.photos.preprocessing import find_preprocessing
    from kerascnn.training.normalization import fuse
    from kerascnn.weights.container import half

    keras.utils.set_random_seed(0)
    data = Path(os.environ.get("KERASCNN_DATA", "../shared/data"))
    own = str(arguments.weights).endswith(".weights.h5")  # saved by Keras, from training of one's own
    model = kerascnn.create_model(arguments.network, weights=None if own else arguments.weights, **arguments.options)
    if own:
        model.load_weights(arguments.weights)
    trained = model
    if arguments.precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{arguments.precision}")
        trained = kerascnn.create_model(arguments.network, weights=None, **arguments.options)
        fuse(trained)
        keras.config.set_dtype_policy("float32")
    training, testing = photos(data / "cifar10_train.zip", folder), photos(data / "cifar10_test_5000.zip", folder)
    normalize = find_preprocessing(model).normalize
    tests = normalize(testing[0])

    def accuracy() -> float:
        return float((model.predict(tests, batch_size=250, verbose=0).argmax(axis=1) == testing[1]).mean())

    def fit(optimizer: Callable[[Any], Any], rate: float, epochs: float, callbacks: Callable[[int], list[Any]]) -> None:
        steps = round(epochs * len(training[0]) / BATCH)
        if not steps:
            return
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        trained.set_weights(model.get_weights())
        trained.compile(optimizer(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        batches = augmented(*training, normalize).take(steps)
        trained.fit(batches, epochs=1, verbose=2, callbacks=callbacks(steps))
        model.set_weights(trained.get_weights())

    def momentum(schedule: Any) -> Any:
        return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def prune() -> None:
        fit(
            momentum,
            arguments.prune_rate,
            arguments.prune_epochs,
            lambda steps: [
                compression.PruningSchedule(arguments.sparsity, begin=0, end=round(0.5 * steps), every=25, whole=True)
            ],
        )

    def share() -> None:
        images = normalize(training[0][:: len(training[0]) // 500])
        compression.cluster(model, arguments.bits, sensitivities=compression.measure(model, images))

    def tune() -> None:
        fit(
            lambda schedule: compression.KeepStructure(keras.optimizers.Adam(schedule), trained),
            arguments.share_rate,
            arguments.share_epochs,
            lambda steps: [],
        )
        model.set_weights([half(weight) for weight in model.get_weights()])  # or every scale and shift takes four bytes

    rows: list[dict[str, Any]] = []
    for name, work in {
        "as given": lambda: None,
        "float parent": lambda: fit(momentum, arguments.parent_rate, arguments.parent_epochs, lambda steps: []),
        f"pruned to {arguments.sparsity:.0%}": prune,
        f"shared, {arguments.bits} bits": share,
        "fine-tuned": tune,
    }.items():
        stem = folder / f"{len(rows)}"
        if stem.with_suffix(".json").exists():
            model.load_weights(stem.with_suffix(".weights.h5"))
            rows.append(json.loads(stem.with_suffix(".json").read_text()))
        else:
            start = time.perf_counter()
            work()
            state = compression.state(model)
            row = {
                "name": name,
                "accuracy": accuracy(),
                "sparsity": state.sparsity,
                "values": max(state.values.values()),
                "bytes": state.bytes,
                "seconds": time.perf_counter() - start,
            }
            model.save_weights(stem.with_suffix(".weights.h5"))
            stem.with_suffix(".json").write_text(json.dumps(row))
            rows.append(row)
        print(f"{rows[-1]['name']}: {rows[-1]['accuracy']:.2%}, {rows[-1]['seconds']:.0f} s", flush=True)
    rows += _files(model, folder, data / "cifar10_test_5000.zip", normalize(training[0][:: len(training[0]) // 200]))
    print(f"{arguments.network}, float32 weights of {4 * model.count_params():,} bytes")
    print("| | bytes | accuracy | zeros | values, at most | in a channel |\n|---|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['name']} | {row['bytes']:,} | {with_interval(row['accuracy'], 5000, 2)} | {row['sparsity']:.1%} "
            f"| {row['values']:,} | {row.get('channel', '')} |"
        )


def _files(model: Any, folder: Path, tests: Path, calibration: np.ndarray) -> list[dict[str, Any]]:
    """What the exported files hold, counted in them, and the accuracy that they have."""
    import export
    from export import compression

    with zipfile.ZipFile(tests) as archive:
        labels = tuple(sorted({name.split("/")[0] for name in archive.namelist()}))
    made = folder / "export"
    manifest = export.export(
        model,
        made,
        formats=["tflite"],
        precisions=["float16", "int8"],
        calibration=calibration,
        evaluate=tests,
        labels=labels,
    )
    rows = []
    for artifact in manifest["artifacts"]:
        kernels = compression.count(made / artifact["path"])
        rows.append(
            {
                "name": f"TFLite {artifact['precision']}",
                "bytes": artifact["bytes"],
                "accuracy": artifact["accuracy"]["top1"],
                "sparsity": compression.counting.sparsity(kernels),
                "values": max(kernel.values for kernel in kernels),
                "channel": max(kernel.channel_values for kernel in kernels),
            }
        )
    return rows


def photos(path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images [n, 32, 32, 3] and their classes, of a zip with a folder for each class."""
    from PIL import Image

    kept = folder.parent / f"{path.stem}.npz"
    if not kept.exists():
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            images = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
        classes = {name: number for number, name in enumerate(sorted({name.split("/")[0] for name in names}))}
        np.savez(kept, images=np.stack(images), labels=[classes[name.split("/")[0]] for name in names])
    with np.load(kept) as file:
        return file["images"], file["labels"]


def augmented(images: np.ndarray, labels: np.ndarray, normalize: Callable[[Any], np.ndarray]) -> Any:
    """Batches without end, of images shifted by up to MARGIN pixels and mirrored half of the time."""
    import tensorflow as tf

    # What is black outside the photo; an affine map for each channel, so that TensorFlow can do it.
    shift = normalize(np.zeros((1, 1, 3)))
    scale = normalize(np.ones((1, 1, 3))) - shift

    def vary(image: Any, label: Any) -> Any:
        image = tf.image.random_flip_left_right(tf.pad(image, [[MARGIN, MARGIN], [MARGIN, MARGIN], [0, 0]]))
        return tf.cast(tf.image.random_crop(image, [32, 32, 3]), tf.float32) * scale + shift, label

    found = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=0).repeat()
    return found.map(vary, num_parallel_calls=2).batch(BATCH).prefetch(2)


if __name__ == "__main__":
    main()
