"""Write such a network in each format, by the converters of TensorFlow and tf2onnx themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, RequestError
from export.formats.precision import Precision
from serving.contract import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    import numpy as np

    from export.general.network import Network

# The others round by what one image makes of each layer.
PRECISIONS = ("float32", "float16", "dynamic", "int8", "int8-io", "int8-symmetric", "int16x8")


@dataclass(frozen=True)
class Writing:
    """What an artifact is written from.

    Attributes:
        network: The network.
        calibration: Inputs by name to take ranges from; None where the user gave none.
        opset: ONNX operator set.
        metadata: What an ONNX or TFLite file says of itself.
    """

    network: Network
    calibration: Mapping[str, np.ndarray] | None
    opset: int
    metadata: Mapping[str, str]


def check_precision(name: str, precision: str, precisions: Collection[str]) -> None:
    """Refuse a precision that is for networks with one image, in all formats or in those that were asked for.

    Args:
        name: The network's.
        precision: The precision.
        precisions: Those that can be made of the network in the formats that were asked for.

    Raises:
        RequestError: It is one.
    """
    if precision in PRECISIONS and precision not in precisions:
        raise RequestError(
            f"A SavedModel in {precision} is for networks that take one image and give one answer, and {name} does "
            "not. Add --tflite."
        )
    if precision not in PRECISIONS:
        raise RequestError(
            f"{precision} is for networks that take one image and give one answer, and {name} does not. Choose "
            f"from {', '.join(PRECISIONS[1:])}."
        )


def write_saved_model(writing: Writing, path: Path, precision: Precision) -> None:
    """Write a version folder with the signature `serving_default`, and warm-up requests.

    Raises:
        ExportError: The graph holds what the server's TensorFlow does not know.
    """
    import tensorflow as tf

    from export.formats.warmup import write_warmup
    from serving.contract.operators import problems

    module = tf.Module()
    function = writing.network.trace()
    module.weights, module.network = list(function.variables), function
    signatures = {DEFAULT_SIGNATURE: function}
    tf.saved_model.save(module, str(path), signatures=signatures)
    unknown = problems(path)
    if unknown:
        raise ExportError(" ".join(unknown))
    write_warmup(signatures, path)


def write_tflite(writing: Writing, path: Path, precision: Precision) -> None:
    """Write a file for batch 1 with the signature `serving_default`.

    Raises:
        ExportError: The network has an operation that TFLite does not have.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from export.formats import flatbuffers
    from export.formats.onnx import without_logs
    from export.formats.tensorflow_lite import function_converter
    from export.formats.tflite import explain
    from export.formats.tflite_metadata import with_files
    from export.formats.tflite_ranges import quick_calibration

    network = writing.network
    function = network.trace(batch=1)
    if precision.has_ranges:
        _refuse_loops(function, network.model.name, precision)
    # Constants for variables: what the converter itself makes of them cannot be run.
    frozen = convert_variables_to_constants_v2(function)
    with without_logs():
        converter = function_converter(frozen, precision)
    if precision.has_ranges:
        converter.representative_dataset = lambda: _one_by_one(writing)
    try:
        with warnings.catch_warnings(), quick_calibration():
            # It asks for statistics that the representative data set gives.
            warnings.filterwarnings("ignore", "Statistics for quantized inputs")
            converted = converter.convert()
    except Exception as error:
        raise ExportError(explain(error, network.model.name, precision.name)) from error
    inputs = [spec.name for spec in network.inputs]
    # TensorFlow orders what a function returns by name.
    outputs = sorted(spec.name for spec in network.outputs)
    signed = flatbuffers.with_signature(converted, inputs, outputs, writing.metadata)
    path.write_bytes(with_files(signed, writing.metadata))


def _refuse_loops(function: Any, name: str, precision: Precision) -> None:
    """Refuse ranges within a loop, at which TensorFlow's converter ends the whole process."""
    loops = [operation.name for operation in function.graph.get_operations() if operation.type.endswith("While")]
    if loops:
        layers = sorted({loop.split("/")[-2] if "/" in loop else loop for loop in loops})
        raise ExportError(
            f"TFLite {precision.name} needs the range of every tensor, and those within the loop of "
            f"{', '.join(layers)} in {name} cannot be measured. Build recurrent layers with unroll=True, or "
            "take float16 or dynamic."
        )


def _one_by_one(writing: Writing) -> Iterator[list[np.ndarray]]:
    assert writing.calibration is not None
    for index in range(len(next(iter(writing.calibration.values())))):
        yield [writing.calibration[spec.name][index : index + 1] for spec in writing.network.inputs]


def write_onnx(writing: Writing, path: Path, precision: Precision) -> None:
    """Write a file with an open batch.

    Raises:
        ExportError: The network has an operation that ONNX does not have.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    from export.formats.onnx import CONVERTED, at_opset, in_precision, refuse_foreign_operations, without_logs
    from export.formats.onnx_operations import HANDLERS

    network = writing.network
    signature = [tf.TensorSpec(spec.shape, spec.dtype, spec.name) for spec in network.inputs]
    try:
        with without_logs():
            model, _ = tf2onnx.convert.from_function(
                _function(network), signature, opset=min(writing.opset, CONVERTED), custom_op_handlers=HANDLERS
            )
    except Exception as error:
        raise ExportError(f"tf2onnx could not convert {network.model.name!r}: {error}") from error
    refuse_foreign_operations(model, network.model.name)
    _rename(model, network)
    onnx.checker.check_model(model)
    model = at_opset(in_precision(model, precision, writing.calibration), writing.opset)
    refuse_foreign_operations(model, network.model.name)
    onnx.helper.set_model_props(model, dict(writing.metadata))
    path.write_bytes(model.SerializeToString())


def _function(network: Network) -> Any:
    """Return a function of positional tensors that gives a list, whose order tf2onnx keeps."""
    import tensorflow as tf

    traced = network.trace()

    @tf.function(autograph=False)
    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        named = {spec.name: tensor for spec, tensor in zip(network.inputs, tensors, strict=True)}
        answer = traced(**named)
        return [answer[spec.name] for spec in network.outputs]

    return call


def _rename(model: Any, network: Network) -> None:
    """Give inputs and outputs their names, and the batch its own."""
    graph = model.graph
    names = {}
    for values, specs in ((graph.input, network.inputs), (graph.output, network.outputs)):
        for value, spec in zip(values, specs, strict=True):
            names[value.name] = spec.name
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
            value.name = spec.name
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del graph.value_info[:]


WRITE: dict[str, Callable[[Writing, Path, Precision], None]] = {
    "saved_model": write_saved_model,
    "tflite": write_tflite,
    "onnx": write_onnx,
}
