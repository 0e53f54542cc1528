"""Export Keras models that kerascnn did not build, in every format and the usual precisions, and say what came of it.

    python benchmarks/foreign_models.py --write docs/foreign_models.md
    python benchmarks/foreign_models.py unet lstm

Weights are random, moved away from their initial values so that no bias is 0. Inputs and calibration data are random.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

PRECISIONS = ("float16", "dynamic", "int8")
COLUMNS = {
    "saved_model float32": "SavedModel",
    "onnx float32": "ONNX",
    "onnx int8": "ONNX int8",
    "tflite float32": "TFLite",
    "tflite float16": "float16",
    "tflite dynamic": "dynamic",
    "tflite int8": "int8",
}


def application(name: str, side: int = 96) -> Callable[[], keras.Model]:
    """A network of keras.applications, with random weights."""
    return lambda: getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=10)


def conv(x: Any, filters: int, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", activation="relu", **options)(x)


def unet() -> keras.Model:
    """Two scales, a skip connection, a map of classes."""
    image = keras.Input((64, 64, 3))
    first = conv(image, 16)
    below = conv(layers.MaxPooling2D()(first), 32)
    above = layers.Conv2DTranspose(16, 2, strides=2)(below)
    return keras.Model(
        image, layers.Conv2D(4, 1, activation="softmax")(layers.concatenate([first, above])), name="unet"
    )


def two_towers() -> keras.Model:
    """A photo and a vector of numbers, by name."""
    image, numbers = keras.Input((32, 32, 3), name="image"), keras.Input((12,), name="numbers")
    seen = layers.GlobalAveragePooling2D()(conv(image, 16))
    known = layers.Dense(16, activation="relu")(numbers)
    return keras.Model([image, numbers], layers.Dense(5, activation="softmax")(layers.concatenate([seen, known])))


def detector() -> keras.Model:
    """Boxes, classes and scores in a dictionary."""
    image = keras.Input((64, 64, 3), name="image")
    x = conv(conv(image, 16, strides=2), 32, strides=2)
    boxes = layers.Reshape((-1, 4), name="to_boxes")(layers.Conv2D(8, 3, padding="same")(x))
    classes = layers.Reshape((-1, 3), name="to_classes")(layers.Conv2D(6, 3, padding="same", activation="sigmoid")(x))
    scores = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, {"boxes": boxes, "classes": classes, "objectness": scores}, name="detector")


def lstm() -> keras.Model:
    """A sequence of measurements."""
    sequence = keras.Input((20, 6), name="measurements")
    x = layers.LSTM(16, return_sequences=True)(sequence)
    return keras.Model(sequence, layers.Dense(3, activation="softmax")(layers.LSTM(8)(x)), name="lstm")


def bidirectional_gru() -> keras.Model:
    """A sequence of words, read from both ends."""
    tokens = keras.Input((20,), dtype="int32", name="tokens")
    x = layers.Bidirectional(layers.GRU(8))(layers.Embedding(100, 16)(tokens))
    return keras.Model(tokens, layers.Dense(1, activation="sigmoid")(x), name="gru")


def transformer() -> keras.Model:
    """Words, attention with a mask, two heads."""
    tokens = keras.Input((16,), dtype="int32", name="tokens")
    mask = keras.Input((16,), dtype="bool", name="padding_mask")
    x = layers.Embedding(200, 32)(tokens)
    attended = layers.MultiHeadAttention(2, 16)(x, x, attention_mask=layers.Reshape((1, 16))(mask))
    x = layers.LayerNormalization()(x + attended)
    x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="gelu")(x)))
    outputs = layers.Dense(4, activation="softmax", name="topic")(layers.GlobalAveragePooling1D()(x))
    return keras.Model([tokens, mask], outputs, name="transformer")


def autoencoder() -> keras.Model:
    """A vector in, the same vector out."""
    vector = keras.Input((64,), name="vector")
    code = layers.Dense(8, activation="relu", name="code")(layers.Dense(32, activation="relu")(vector))
    return keras.Model(vector, [layers.Dense(64, name="again")(code), code], name="autoencoder")


def augmented() -> keras.Model:
    """Scaling and augmentation inside."""
    image = keras.Input((48, 48, 3))
    x = layers.RandomFlip()(layers.RandomRotation(0.1)(layers.Rescaling(1 / 127.5, offset=-1)(image)))
    x = layers.BatchNormalization()(conv(x, 16))
    return keras.Model(
        image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)), name="augmented"
    )


def channels_first() -> keras.Model:
    """Channels before rows and columns."""
    image = keras.Input((3, 32, 32))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", data_format="channels_first")(image)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(5, activation="softmax")(x), name="channels_first")


def bytes_in() -> keras.Model:
    """A photo of whole numbers."""
    image = keras.Input((48, 48, 3), dtype="uint8", name="photo")
    x = conv(layers.Rescaling(1 / 255)(image), 16)
    return keras.Model(
        image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)), name="bytes_in"
    )


def mixed() -> keras.Model:
    """In mixed precision; artifacts compute in float32."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        image = keras.Input((48, 48, 3))
        x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(conv(image, 16)))
        return keras.Model(image, layers.Dense(5, activation="softmax", dtype="float32")(x), name="mixed")
    finally:
        keras.mixed_precision.set_global_policy(before)


def from_jax() -> keras.Model:
    """Saved by Keras on JAX."""
    code = (
        "import keras; i = keras.Input((32, 32, 3)); x = keras.layers.Conv2D(16, 3, activation='silu')(i);"
        "x = keras.layers.Dense(5, activation='softmax')(keras.layers.GlobalMaxPooling2D()(x));"
        "keras.Model(i, x, name='from_jax').save('jax.keras')"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True)
        return keras.saving.load_model(Path(folder) / "jax.keras")


def siamese() -> keras.Model:
    """One tower, called twice."""
    tower = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten()])
    left, right = keras.Input((28, 28, 1), name="left"), keras.Input((28, 28, 1), name="right")
    distance = layers.Dot(-1, normalize=True)([tower(left), tower(right)])
    return keras.Model([left, right], distance, name="siamese")


def nested() -> keras.Model:
    """A functional model inside a Sequential one."""
    inner = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35)
    return keras.Sequential([inner, layers.GlobalAveragePooling2D(), layers.Dense(5, activation="softmax")])


def volume() -> keras.Model:
    """A stack of slices."""
    stack = keras.Input((8, 16, 16, 1), name="slices")
    x = layers.Conv3D(8, 3, activation="relu")(stack)
    return keras.Model(stack, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling3D()(x)), name="volume")


def signal() -> keras.Model:
    """A signal in time."""
    wave = keras.Input((256, 2), name="signal")
    x = layers.MaxPooling1D()(layers.Conv1D(16, 5, strides=2, activation="tanh")(wave))
    return keras.Model(wave, layers.Dense(6)(layers.GlobalMaxPooling1D()(x)), name="signal")


def maps() -> keras.Model:
    """One of our networks as a backbone."""
    import kerascnn

    return kerascnn.create_model("resnet20_cifar", features=True)


MODELS: dict[str, Callable[[], keras.Model]] = {
    **{
        name: application(name)
        for name in (
            *("MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
            *("DenseNet121", "ResNet50", "ResNet50V2", "VGG16"),
        )
    },
    "Xception": application("Xception", 128),
    "InceptionV3": application("InceptionV3", 128),
    "InceptionResNetV2": application("InceptionResNetV2", 128),
    "NASNetMobile": application("NASNetMobile", 224),
    "unet": unet,
    "two_towers": two_towers,
    "detector": detector,
    "lstm": lstm,
    "bidirectional_gru": bidirectional_gru,
    "transformer": transformer,
    "autoencoder": autoencoder,
    "augmented": augmented,
    "channels_first": channels_first,
    "bytes_in": bytes_in,
    "mixed": mixed,
    "from_jax": from_jax,
    "siamese": siamese,
    "nested": nested,
    "volume": volume,
    "signal": signal,
    "maps": maps,
}


def moved(model: keras.Model) -> keras.Model:
    """Move biases, scales and shifts away from where they begin, by as much as training does."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1 and str(weight.dtype).startswith("float"):
            weight.assign(np.asarray(weight) + random.normal(scale=0.05, size=weight.shape))
    return model


def outcome(model: keras.Model, name: str, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Export a model; say of each artifact how close it is, and why any is missing."""
    import export
    from export.general.network import network_of
    from export.general.samples import samples

    calibration = {key: value[:8] for key, value in samples(network_of(model), None).items()}
    try:
        manifest = export.export(
            model,
            folder / name,
            formats=("saved_model", "tflite", "onnx"),
            precisions=PRECISIONS,
            calibration=calibration,
        )
    except export.RequestError as error:
        return {}, [str(error)]
    except export.ExportError as error:
        manifest = getattr(error, "manifest", None)
        if manifest is None:
            return {}, [str(error)]
    cells = {}
    for artifact in manifest["artifacts"]:
        parity = artifact["parity"]
        exact = artifact["precision"] == "float32"
        figure = f"{parity['relative_error']:.0e}" if exact else f"{parity['sqnr_db']:.0f} dB"
        cells[f"{artifact['format']} {artifact['precision']}"] = figure
    return cells, [f"{row['format']} {row['precision']}: {row['reason']}" for row in manifest["rejected"]]


def read_rows(page: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Read the rows and the reasons of models that a page has already."""
    from pages import figures  # beside this file, which tests import from elsewhere

    text = figures(page, "table")
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    rows.pop("model", None)
    reasons: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("- "):
            reasons.setdefault(line[2:].split(": ")[0], []).append(line)
    return rows, reasons


def write_rows(page: Path, rows: dict[str, str], reasons: dict[str, list[str]]) -> None:
    """Write the rows and reasons of all models into a page."""
    from pages import replace_figures

    head = ["| model | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---:|" * len(COLUMNS)]
    known = [name for name in MODELS if name in rows]
    lines = [*head, *(rows[name] for name in known), "", *(line for name in known for line in reasons.get(name, []))]
    replace_figures(page, "table", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace their rows in the table of this page")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or MODELS:
            start = time.monotonic()
            keras.utils.set_random_seed(0)
            cells, reasons = outcome(moved(MODELS[name]()), name, Path(folder))
            row = f"| {name} | " + " | ".join(cells.get(key, "refused") for key in COLUMNS) + " |"
            print(f"{row} {time.monotonic() - start:.0f} s", *reasons, sep="\n  ", flush=True)
            if arguments.write:
                rows, notes = read_rows(arguments.write)
                notes[name] = [f"- {name}: {reason}" for reason in reasons]
                write_rows(arguments.write, rows | {name: row}, notes)
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
