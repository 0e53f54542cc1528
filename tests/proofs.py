"""A small network, artifacts of it, and the faults that a prover has to catch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers

from export.checking.parity import Demands, synthetic_images, verify
from export.checking.runtimes import Prediction, open_keras
from export.files import digest_of, size_of
from export.formats.format import Source
from export.formats.registry import FORMATS
from export.manifest import Artifact
from export.proving.prover import Evidence
from export.tracing.graph import trace

IMAGES = synthetic_images((24, 24, 3), 12)
MODELS = ("whole", "swapped channels", "lost weights")


@cache
def network(kind: str = "whole", activation: str = "softmax") -> keras.Model:
    """Build the network, as it is or with one of the faults of a converter."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((24, 24, 3))
    x = inputs[..., ::-1] if kind == "swapped channels" else inputs
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Conv2D(10, 1, kernel_initializer="he_normal")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Activation(activation)(x))
    if kind == "lost weights":
        for layer in model.layers[2:4]:
            layer.set_weights([np.zeros_like(values) for values in layer.get_weights()])
    return model


@cache
def answer(activation: str = "softmax") -> Prediction:
    """Ask the Keras model."""
    return open_keras(network(activation=activation)).predict_with_logits(IMAGES)


def evidence(format: str, precision: str, activation: str = "softmax") -> Evidence:
    """Return what artifacts of the network are judged by."""
    reference = answer(activation)
    return Evidence(IMAGES, reference, reference.output, FORMATS[format].precision(precision))


def write(folder: Path, format: str, precision: str, kind: str = "whole", activation: str = "softmax") -> Artifact:
    """Write an artifact to a folder, and say what an export says of a whole one; each is made once."""
    artifact, content = _written(format, precision, kind, activation)
    (folder / artifact.path).write_bytes(content)
    return artifact


@cache
def _written(format: str, precision: str, kind: str, activation: str) -> tuple[Artifact, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        artifact = _write(Path(folder), format, precision, kind, activation)
        return artifact, (Path(folder) / artifact.path).read_bytes()


def _write(folder: Path, format: str, precision: str, kind: str, activation: str) -> Artifact:
    traced = trace(network(kind, activation))
    source = Source(traced, synthetic_images((24, 24, 3), 20, seed=9))
    chosen = FORMATS[format].precision(precision)
    name = FORMATS[format].path("model", chosen)
    FORMATS[format].write(source, folder / name, chosen)
    runtime = FORMATS[format].open(folder / name)
    demands = Demands(chosen, *FORMATS[format].specifications(chosen, *source.interface))
    parity, _ = verify(lambda: runtime, answer(activation), IMAGES, demands)
    assert parity.passed == (kind == "whole"), parity.failures
    return Artifact(
        path=name,
        format=format,
        precision=precision,
        bytes=size_of(folder / name),
        sizes={},
        packed=None,
        sha256=digest_of(folder / name),
        input=demands.input,
        output=demands.output,
        parity=parity,
        steps=runtime.steps,
    )


def requantized(path: Path, scale: float = 1.0, shift: int = 0) -> None:
    """Let the first kernel of an int8 file be read with another scale, or its input with another zero point.

    An .onnx file says both where values are written and where they are read, and only the latter is changed. A .tflite
    file says them once for a tensor: of int8-io that changes what its input means.
    """
    if path.suffix == ".onnx":
        _change_onnx(path, scale, shift)
    else:
        _change_tflite(path, scale, shift)


def _change_onnx(path: Path, scale: float, shift: int) -> None:
    model = onnx.load(path)
    values = {one.name: one for one in model.graph.initializer}
    reading = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    kernel = next(node for node in reading if node.input[0] in values and len(values[node.input[0]].dims) == 4)
    activations = next(node for node in reading if node.input[0] not in values)
    for node, place, change in (
        (kernel, 1, lambda old: old * np.float32(scale)),
        (activations, 2, lambda old: (old.astype(int) + shift).astype(old.dtype)),
    ):
        old = onnx.numpy_helper.to_array(values[node.input[place]])
        added = onnx.numpy_helper.from_array(np.asarray(change(old)), f"{node.input[place]}_changed")
        model.graph.initializer.append(added)
        node.input[place] = added.name
    onnx.save(model, path)


def _change_tflite(path: Path, scale: float, shift: int) -> None:
    from tensorflow.lite.tools import flatbuffer_utils

    content: Any = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
    (graph,) = content.subgraphs
    convolution = next(operator for operator in graph.operators if len(operator.inputs) == 3)
    activations, kernel = (graph.tensors[index].quantization for index in convolution.inputs[:2])
    kernel.scale = np.asarray(kernel.scale) * scale
    activations.zeroPoint = np.asarray(activations.zeroPoint) + shift
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(content))


class RightAtFirst:
    """Answers batches of images rightly for a number of calls, and each class with the score of another after that."""

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], calls: int):
        self.run, self.calls = run, calls

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Answer images."""
        self.calls -= 1
        return self.run(images) if self.calls >= 0 else np.roll(self.run(images), 1, axis=-1)
