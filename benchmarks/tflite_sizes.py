"""Bytes of our .tflite files beside those of the plain TFLiteConverter, for the same weights.

    python benchmarks/tflite_sizes.py [VARIANT] [--trained] [--sparsity 0,0.5,0.7,0.9]

VARIANT (default squeezenet1_1): with random weights, of which the smallest are set to zero in each layer; `--trained`
takes the published weights instead. "plain" is tf.lite.TFLiteConverter on the same function without anything of ours,
with its sparsity flag for the sparse files; int8 is calibrated on the same 8 synthetic images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("float16", "dynamic", "int8", "sparse-float16", "sparse-int8")


def main(options: argparse.Namespace) -> None:
    import kerascnn
    from export.checking.parity import synthetic_images
    from export.compression import prune
    from export.tracing.graph import trace

    print("| zeros | file | plain TFLiteConverter | ours | ratio |\n|---:|---|---:|---:|---:|")
    for sparsity in options.sparsity:
        model = kerascnn.create_model(options.variant, weights="imagenet" if options.trained else None)
        if sparsity:
            prune(model, sparsity)
        traced = trace(model)
        images = synthetic_images(model.inputs[0].shape, 8, low=-100, high=100)
        for file in FILES:
            theirs, mine = plain(traced, file, images), ours(traced, file, images)
            ratio = "" if mine is None else f"{mine / theirs:.3f}"
            size = "left out: no smaller than dense" if mine is None else f"{mine:,}"
            print(f"| {100 * sparsity:.0f} % | {file} | {theirs:,} | {size} | {ratio} |", flush=True)


def ours(traced: Any, file: str, images: np.ndarray) -> int | None:
    """Bytes; None where the file is not written because a dense one is no larger."""
    from export.errors import ExportError
    from export.formats.tflite import write_tflite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        try:
            write_tflite(traced, path, file, images)
        except ExportError:
            return None
        return path.stat().st_size


def plain(traced: Any, file: str, images: np.ndarray) -> int:
    """Bytes of what TensorFlow's own converter makes of a frozen function of batch 1."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape = (1, *traced.input_shape[1:])
    function = tf.function(lambda image: traced.model(image, training=False), autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, tf.float32)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if "float16" in file:
        converter.target_spec.supported_types = [tf.float16]
    if "int8" in file:
        converter.representative_dataset = lambda: ([image[None]] for image in images)
    if file.startswith("sparse"):
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    return len(converter.convert())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default="squeezenet1_1")
    parser.add_argument("--trained", action="store_true")
    parser.add_argument(
        "--sparsity", type=lambda text: [float(part) for part in text.split(",")], default=[0, 0.5, 0.7, 0.9]
    )
    main(parser.parse_args())
