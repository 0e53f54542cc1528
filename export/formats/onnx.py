"""ONNX: ONNX Runtime, TensorRT, OpenVINO and most accelerators."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from export.errors import ExportError, RequestError
from export.formats import onnx_int8
from export.quantization.calibration import check_calibration, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from export.tracing.freezing import FrozenGraph
    from export.tracing.graph import TracedModel

OPSETS = range(9, 19)
PRECISIONS = ("float32", "int8")


def write_onnx(
    traced: TracedModel,
    path: Path,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    *,
    opset: int = 17,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write an ONNX file with an open batch axis named `batch`.

    Args:
        precision: one of PRECISIONS; `int8` is int8 inside with float32 input and output.
        calibration: float32 [n, H, W, C], preprocessed like the network's input; needed for `int8`.
        opset: version of the standard operator set. 18 is valid but slower in places: tf2onnx then writes the global
            average pooling as ReduceMean between two transposes.
        metadata: written to the file's `metadata_props`.

    Raises:
        RequestError: an opset tf2onnx does not write, an unknown precision, or calibration images missing or of
            another shape.
        ExportError: the network has an operation that ONNX does not have, or the file would exceed 2 GiB.
    """
    import onnx

    if precision not in PRECISIONS:
        raise RequestError(f"ONNX precision {precision!r} is unknown; choose from {', '.join(PRECISIONS)}.")
    check_opset(opset, precision)
    frozen = traced.frozen
    if precision == "int8":
        calibration = check_calibration(traced, calibration, "ONNX int8")
        frozen = prepare(traced, calibration, activations=True)  # on TFLite's int8 steps, which are ONNX Runtime's too
    model = _convert(traced, frozen, opset)
    _refuse_foreign_operations(model, traced.model.name)
    _name_batch_axis(model.graph)
    try:
        onnx.checker.check_model(model)  # before the kernels, which it would copy
    except onnx.checker.ValidationError as error:
        raise ExportError(f"The ONNX file of {traced.model.name!r} would not be valid: {error}") from error
    _store_kernels(model.graph, frozen.kernels)
    if precision == "int8" and calibration is not None:
        with _without_logs():
            model = onnx_int8.quantize(model, calibration)
        _refuse_foreign_operations(model, traced.model.name)
        # ONNX Runtime declares all domains that it knows of; other tools refuse those that they do not.
        standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
        del model.graph.value_info[:], model.opset_import[:]
        model.opset_import.extend(standard)
        onnx.checker.check_model(model)
    onnx.helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())


def check_opset(opset: int, precision: str) -> None:
    """Refuse an opset that tf2onnx does not write, or that int8 cannot be said in.

    Raises:
        RequestError: it is one of these.
    """
    if opset not in OPSETS:
        raise RequestError(
            f"ONNX opset {opset} cannot be written; choose {OPSETS.start} to {OPSETS.stop - 1}. Default: 17."
        )
    if precision == "int8" and opset < onnx_int8.LEAST_OPSET:
        raise RequestError(f"ONNX int8 needs opset {onnx_int8.LEAST_OPSET} or later; {opset} was asked for.")


def _convert(traced: TracedModel, frozen: FrozenGraph, opset: int) -> Any:
    """The ONNX model with the kernels as further inputs."""
    import tensorflow as tf
    from onnx import helper
    from tf2onnx import optimizer, tfonnx

    names = {f"{name}:0": name for name in (traced.input_name, *frozen.kernels, traced.output_name)}
    # What tf2onnx.convert.from_function calls, without its own freeze and without a copy of the graph for every pass.
    with tf.Graph().as_default() as graph, _without_logs():
        tf.import_graph_def(frozen.graph_def, name="")
        try:
            converted = tfonnx.process_tf_graph(
                graph,
                opset=opset,
                input_names=list(names)[:-1],
                output_names=list(names)[-1:],
                tensors_to_rename=names,
            )
            converted = optimizer.optimize_graph(converted, catch_errors=False)
        except Exception as error:
            raise ExportError(f"tf2onnx could not convert {traced.model.name!r}: {error}") from error
        return converted.make_model(
            "", graph_name=traced.model.name, opset_imports=[helper.make_opsetid("", opset)], producer_name="tf2onnx"
        )


def _refuse_foreign_operations(model: Any, name: str) -> None:
    """tf2onnx leaves operations it does not know in the graph and calls that success."""
    import onnx

    foreign = {
        node.op_type
        for node in model.graph.node
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type)
    }
    if foreign:
        raise ExportError(
            f"Model {name!r} uses operations that ONNX does not have: {', '.join(sorted(foreign))}. "
            "Replace the layers that make them, or export to another format."
        )


def _store_kernels(graph: Any, kernels: dict[str, np.ndarray]) -> None:
    """Store the kernels as initialisers, in the layout in which the nodes take them."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    values = dict(kernels)
    kept = []
    for node in graph.node:
        source = values.get(node.input[0]) if node.input else None
        if source is not None and node.op_type == "Transpose":
            values[node.output[0]] = source.transpose(helper.get_node_attr_value(node, "perm"))
        elif source is not None and node.op_type == "Reshape" and node.input[1] in constants:
            values[node.output[0]] = source.reshape(numpy_helper.to_array(constants[node.input[1]]))
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    inputs = [value for value in graph.input if value.name not in kernels]
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.input[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.input.extend(inputs)
    graph.initializer.extend(initializers)
    for name in sorted(used & values.keys()):
        value = values[name]
        # Filled in place: numpy_helper.from_array and append would copy the bytes two more times.
        data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.initializer.add(name=name, data_type=data_type, dims=value.shape, raw_data=value.tobytes())


def _name_batch_axis(graph: Any) -> None:
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # optional, and written with tf2onnx's own names for the batch


@contextmanager
def _without_logs() -> Iterator[None]:
    """tf2onnx logs, through loggers of many names, errors that are raised, or found, here anyway."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
