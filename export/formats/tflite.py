"""TFLite (LiteRT): phones, microcontrollers, browsers."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from export.formats import tensorflow_lite
from export.formats.format import Format, Source
from export.formats.precision import PRECISIONS, Precision, check_trained
from export.proving.proof import Place
from export.quantization.goal import Goal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from export.checking.runtimes import Runtime, TensorSpec
    from export.checking.sizes import Sizes
    from export.tracing.freezing import FrozenGraph
    from export.tracing.graph import TracedModel


class TFLite(Format):
    """A file for batch 1, which takes others once its input is resized, with the signature `serving_default`."""

    name, title, help = "tflite", "TFLite", "Write a TFLite file (LiteRT: phones, edge devices)."
    precisions = tuple(precision for precision in PRECISIONS.values() if not (precision.is_half or precision.symmetric))
    packages = ("tensorflow", "ai_edge_litert")
    runtime = Place("litert", "LiteRT", "ai-edge-litert")

    def write(self, source: Source, path: Path, precision: Precision) -> None:
        """Write a file with labels and preprocessing inside."""
        write_tflite(source.traced, path, precision.name, source.calibration, source.metadata, source.goal)

    def open(self, path: Path, threads: int = 2) -> Runtime:
        """Load it in LiteRT, as an application does."""
        from export.formats.tflite_runtime import open_tflite

        return open_tflite(path, threads)

    def specifications(
        self, precision: Precision, source: TensorSpec, target: TensorSpec
    ) -> tuple[TensorSpec, TensorSpec]:
        """Return the network's input and output with batch 1, in the type that the precision takes and gives."""
        first, second = (replace(s, shape=(1, *s.shape[1:]), dtype=precision.interface) for s in (source, target))
        return first, second

    def details(self, path: Path, images: np.ndarray, answers: np.ndarray) -> Mapping[str, Any]:
        """Say which batches it takes, where the input is resized."""
        from export.formats.tflite_runtime import batches

        return batches(path, images, answers)

    def sizes(self, folder: Path, path: str, threads: int, kernels: Sequence[np.ndarray]) -> Sizes:
        """Pack the file for transport, and measure what it takes in memory."""
        from export.checking.sizes import measure_sizes

        return measure_sizes(folder, path, threads, kernels)


def write_tflite(
    traced: TracedModel,
    path: Path,
    precision: str,
    calibration: np.ndarray | None = None,
    metadata: Mapping[str, str] | None = None,
    goal: Goal | None = None,
) -> None:
    """Write a TFLite file for batch 1 with the signature `serving_default`.

    Args:
        traced: The network.
        path: The file to write.
        precision: `dynamic` has int8 weights and float32 activations; `int8` is int8 inside with float32 input and
            output; `int8-io` has int8 input and output as well; `int16x8` is like `int8` with int16 activations;
            `int8x4` is like `int8` with int4 weights, of a network that was trained for that; `int4` is like `dynamic`
            with int4 weights in most layers; `auto` has int4, int8 or float16 weights in each layer;
            `sparse-float16`, `sparse-dynamic` and `sparse-int8` are float16, dynamic and int8 without the zeros of the
            kernels.
        calibration: float32 [n, height, width, channels], as the network takes them. Precisions with fixed ranges,
            `int4` and `auto` need them; `dynamic` rounds its weights by them where they are given.
        metadata: What the file says of itself, as `tflite_metadata.describe` takes it.
        goal: What `auto` has to reach.

    Raises:
        RequestError: The precision is unknown, or calibration images are missing, too few or of another shape.
        ExportError: The network has an operation that TFLite does not have, the file would be no smaller than one of
            a simpler precision, or the goal cannot be reached.
    """
    from export.formats.tflite_metadata import with_files
    from export.quantization.calibration import check_calibration

    chosen = TFLite().precision(precision)
    if traced.frozen.has_ranges:
        calibration = None
    elif chosen.is_trained:
        check_trained(None, [precision], compresses=False)
    elif chosen.needs_photos or (chosen.weights == "int8" and calibration is not None):
        check_calibration(traced, calibration, f"TFLite {precision}", rounds=chosen.rounds_by_photos)
    metadata = metadata or {}
    if chosen.weights == "mixed":
        assert calibration is not None
        frozen = _searched(traced, calibration, metadata, goal or Goal())
    else:
        frozen = traced.frozen if calibration is None else _rounded(traced, chosen, calibration)
    path.write_bytes(with_files(_content(traced, frozen, chosen, calibration, metadata), metadata))


def _content(
    traced: TracedModel,
    frozen: FrozenGraph,
    chosen: Precision,
    calibration: np.ndarray | None,
    metadata: Mapping[str, str],
) -> bytes:
    """Convert a graph whose kernels lie on the steps of the precision."""
    from export.formats import flatbuffers
    from export.formats.tflite_kernels import with_four_bits, with_small_kernels
    from export.formats.tflite_ranges import quick_calibration

    converter = _converter(traced, frozen, chosen, calibration)
    try:
        with quick_calibration(), warnings.catch_warnings():
            # It misses a range of the input beside the one that is in a graph with ranges.
            warnings.filterwarnings("ignore", "Statistics for quantized inputs")
            converted = converter.convert()
    except Exception as error:
        raise ExportError(explain(error, traced.model.name, chosen.name)) from error
    # TFLite's own int16 softmax is too coarse for many classes.
    float_softmax = chosen.activations == "int16"
    content = flatbuffers.finish(converted, traced.input_name, traced.output_name, float_softmax, metadata)
    if chosen.sparse:
        content = flatbuffers.without_zeros(content, chosen.dense)
    elif chosen.is_trained:
        content = with_four_bits(content)
    elif chosen.weights in ("int4", "mixed"):
        content = with_small_kernels(content)
        if chosen.weights == "int4" and len(content) >= sum(kernel.size for kernel in frozen.kernels.values()):
            raise ExportError(
                "Most of the weights are in layers for which LiteRT has no four bits: a file with int4 weights would "
                f"have {len(content):,} bytes. Use dynamic or sparse-float16."
            )
    return content


def _searched(traced: TracedModel, calibration: np.ndarray, metadata: Mapping[str, str], goal: Goal) -> FrozenGraph:
    """Return the graph with each kernel on the steps of the precision that is best for it."""
    from export.formats.tflite_kernels import cost
    from export.formats.tflite_metadata import with_files
    from export.quantization.network import Network
    from export.quantization.searching import search

    auto = PRECISIONS["auto"]

    def weigh(frozen: FrozenGraph) -> int:
        return len(with_files(_content(traced, frozen, auto, None, metadata), metadata))

    return search(Network(traced.frozen, traced.input_name), calibration, goal, cost, weigh)


def _rounded(traced: TracedModel, precision: Precision, calibration: np.ndarray) -> FrozenGraph:
    """Return the graph with kernels on the steps of the precision, chosen for the calibration images."""
    from export.formats.tflite_kernels import cost
    from export.quantization import sequence
    from export.quantization.calibration import prepare
    from export.quantization.network import Network

    if precision.weights == "int4":
        network = Network(traced.frozen, traced.input_name)
        levels = sequence.mostly_four_bits(traced.frozen, cost)
        return network.with_values(sequence.quantize(network, calibration, levels))
    if precision.weights == "int8":
        # 65,536 steps are enough for the smallest channel, so int16 activations need not be equalized.
        return prepare(traced, calibration, activations=precision.activations == "int8")
    return traced.frozen


def _converter(traced: TracedModel, frozen: FrozenGraph, precision: Precision, calibration: np.ndarray | None) -> Any:
    """Set up TensorFlow's converter for batch 1."""
    import tensorflow as tf

    if frozen.has_ranges:
        return tensorflow_lite.function_converter(_function(traced, frozen), precision)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph_def, name="")
        inputs = graph.get_tensor_by_name(f"{traced.input_name}:0")
        outputs = graph.get_tensor_by_name(f"{traced.output_name}:0")
        inputs.set_shape((1, *traced.input_shape[1:]))
    converter = tensorflow_lite.graph_converter(frozen.with_kernels(), [inputs], [outputs], precision)
    if calibration is not None and precision.has_ranges:
        converter.representative_dataset = lambda: _one_by_one(calibration)
    return converter


def _function(traced: TracedModel, frozen: FrozenGraph) -> Any:
    """Return a graph as a concrete function, whose converter reads the ranges that are in the graph."""
    import tensorflow as tf

    graph_def, outputs = frozen.with_kernels(), [f"{traced.output_name}:0"]
    spec = tf.TensorSpec((1, *traced.input_shape[1:]), tf.float32, traced.input_name)

    def call(images: Any) -> Any:
        return tf.graph_util.import_graph_def(graph_def, {f"{traced.input_name}:0": images}, outputs, name="")[0]

    return tf.function(call, autograph=False).get_concrete_function(spec)


def _one_by_one(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    for index in range(len(images)):
        yield [images[index : index + 1]]


def explain(error: Exception, name: str, precision: str) -> str:
    """Name the operations that TFLite lacks, which stand on lines of their own among the converter's pages of MLIR."""
    missing = sorted(
        set(", ".join(re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.M)).split(", ")) - {""}
    )
    if missing:
        return (
            f"Model {name!r} uses operations that TFLite does not have: {', '.join(missing)}. "
            "Replace the layers that make them, or export to another format."
        )
    return f"TensorFlow could not convert {name!r} to TFLite {precision}: {error}"
