"""ONNX: ONNX Runtime, TensorRT, OpenVINO and most accelerators."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from export.checking.runtimes import Runtime
from export.errors import ExportError, RequestError
from export.formats import onnx_float16, onnx_int8, onnx_mixed, onnx_symmetric, onnx_trained
from export.formats.format import OPSET, Format, Source
from export.formats.onnx_operations import HANDLERS
from export.formats.onnx_runtime import open_onnx
from export.formats.precision import PRECISIONS, Precision
from export.proving.proof import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from export.tracing.freezing import FrozenGraph
    from export.tracing.graph import TracedModel

OPSETS = range(9, 24)  # 23 is the newest of ONNX Runtime 1.23
CONVERTED = 18  # the newest that tf2onnx writes; ONNX's own converter makes later ones of it
SYMMETRIC = 20  # from 21 on ONNX Runtime leaves the zero points out where it moves signed steps, and cannot start


class Onnx(Format):
    """A file of standard ONNX operators with an open batch."""

    name, title, help = "onnx", "ONNX", "Write an ONNX file."
    precisions = tuple(PRECISIONS[name] for name in ("float32", "float16", "int8", "int8-symmetric", "auto"))
    packages = ("tensorflow", "tf2onnx", "onnx", "onnxruntime")
    runtime = Place("ort", "ONNX Runtime", "onnxruntime")

    def check_opset(self, opset: int, precision: Precision) -> None:
        """Refuse an opset that is not written, or that int8 cannot be said in.

        Raises:
            RequestError: It is one of these.
        """
        if opset not in OPSETS:
            raise RequestError(
                f"ONNX opset {opset} cannot be written; choose {OPSETS.start} to {OPSETS.stop - 1}. Default: {OPSET}."
            )
        if precision.weights == "int8" and opset < onnx_int8.LEAST_OPSET:
            raise RequestError(
                f"ONNX {precision.name} needs opset {onnx_int8.LEAST_OPSET} or later; {opset} was asked for."
            )
        if precision.symmetric and opset > SYMMETRIC:
            raise RequestError(
                f"ONNX Runtime starts {precision.name} files up to opset {SYMMETRIC}; {opset} was asked for."
            )

    def write(self, source: Source, path: Path, precision: Precision) -> None:
        """Write a file that carries labels and preprocessing as its metadata."""
        path.write_bytes(_content(source, _on_steps(source, precision), precision))

    def open(self, path: Path, threads: int = 2) -> Runtime:
        """Load it into ONNX Runtime on the CPU."""
        return open_onnx(path, threads)


def write_onnx(
    traced: TracedModel,
    path: Path,
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    *,
    opset: int = OPSET,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an ONNX file with an open batch axis named `batch`.

    Args:
        traced: The network.
        path: The file to write.
        precision: `float32`; `float16`: half precision inside but for the softmax; `int8`: int8 inside;
            `int8-symmetric`: the same without zero points; `auto`: int4, int8 or float16 weights in each layer, as is
            expected to lose at most a point of top-1. Input and output are float32 in all of them.
        calibration: float32 [n, height, width, channels], as the network takes them; needed for int8, int8-symmetric
            and auto.
        opset: Version of the standard operator set. 18 and later are valid but slower in places: tf2onnx then writes
            the global average pooling as ReduceMean between two transposes.
        metadata: Written to the file's `metadata_props`.

    Raises:
        RequestError: The opset is not written, the precision is unknown, or calibration images are missing, too few or
            of another shape.
        ExportError: The network has an operation that ONNX does not have, or the file would exceed 2 GiB.
    """
    chosen = Onnx().precision(precision)
    Onnx().check_opset(opset, chosen)
    Onnx().write(Source(traced, calibration, opset=opset, metadata=metadata or {}), path, chosen)


def _on_steps(source: Source, precision: Precision) -> FrozenGraph:
    """Return the graph with kernels on the steps of the precision, chosen for the calibration images."""
    from export.quantization.calibration import check_calibration, prepare
    from export.quantization.network import Network
    from export.quantization.searching import search

    traced, title = source.traced, f"ONNX {precision.name}"
    if not precision.needs_photos or traced.frozen.has_ranges:
        return traced.frozen
    calibration = check_calibration(traced, source.calibration, title, rounds=precision.rounds_by_photos)
    if precision.has_ranges:
        return prepare(traced, calibration, activations=True)  # on TFLite's int8 steps, which are ONNX Runtime's too
    network = Network(traced.frozen, traced.input_name)
    return search(
        network, calibration, source.goal, onnx_mixed.cost, lambda frozen: len(_content(source, frozen, precision))
    )


def _content(source: Source, frozen: FrozenGraph, precision: Precision) -> bytes:
    """Convert a graph whose kernels lie on the steps of the precision."""
    import onnx

    if precision.weights == "mixed":
        opset = max(source.opset, onnx_mixed.LEAST_OPSET)
        model = onnx_mixed.with_small_kernels(at_opset(_in_floats(source.traced, frozen, opset), opset))
    else:
        model = _in_floats(source.traced, frozen, source.opset)
        model = at_opset(in_precision(model, precision, source.calibration), source.opset)
    refuse_foreign_operations(model, source.traced.model.name)
    onnx.helper.set_model_props(model, dict(source.metadata))
    return bytes(model.SerializeToString())


def _in_floats(traced: TracedModel, frozen: FrozenGraph, opset: int) -> onnx.ModelProto:
    """Convert a frozen graph to a valid float32 model, of at most opset CONVERTED."""
    import onnx

    model = _convert(traced, frozen, min(opset, CONVERTED))
    refuse_foreign_operations(model, traced.model.name)
    _name_batch_axis(model.graph)
    try:
        onnx.checker.check_model(model)  # before the kernels, which it would copy
    except onnx.checker.ValidationError as error:
        raise ExportError(f"The ONNX file of {traced.model.name!r} would not be valid: {error}") from error
    _store_kernels(model.graph, frozen.kernels)
    return model


def in_precision(
    model: onnx.ModelProto, precision: Precision, calibration: np.ndarray | Mapping[str, np.ndarray] | None
) -> onnx.ModelProto:
    """Return a float32 model in another precision, or as it is.

    Args:
        model: The model.
        precision: The precision.
        calibration: Inputs, one array or by name, for precisions with ranges.
    """
    import onnx

    if precision.weights == "float32":
        return model
    with without_logs():
        if precision.weights == "float16":
            model = onnx_float16.to_half(model)
        elif onnx_trained.is_trained(model):
            model = onnx_trained.quantize(model)
        else:
            assert calibration is not None
            model = (onnx_symmetric if precision.symmetric else onnx_int8).quantize(model, calibration)
    standard_domains(model)
    onnx.checker.check_model(model)
    return model


def at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return a model in a later operator set than tf2onnx writes, or as it is.

    Raises:
        ExportError: ONNX cannot convert one of its operations.
    """
    import onnx
    from onnx import version_converter

    if opset <= CONVERTED:
        return model
    try:
        converted = version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"The network cannot be said in ONNX opset {opset}: {error}") from error
    return converted


def _convert(traced: TracedModel, frozen: FrozenGraph, opset: int) -> onnx.ModelProto:
    """Convert a frozen graph; its kernels become further inputs."""
    import tensorflow as tf
    from onnx import helper
    from tf2onnx import optimizer, tfonnx

    names = {f"{name}:0": name for name in (traced.input_name, *frozen.kernels, traced.output_name)}
    # What tf2onnx.convert.from_function calls, without its own freeze and without a copy of the graph for every pass.
    with tf.Graph().as_default() as graph, without_logs():
        tf.import_graph_def(frozen.graph_def, name="")
        try:
            converted = tfonnx.process_tf_graph(
                graph,
                opset=opset,
                input_names=list(names)[:-1],
                output_names=list(names)[-1:],
                tensors_to_rename=names,
                custom_op_handlers=HANDLERS,
            )
            converted = optimizer.optimize_graph(converted, catch_errors=False)
        except Exception as error:
            raise ExportError(f"tf2onnx could not convert {traced.model.name!r}: {error}") from error
        return converted.make_model(
            "", graph_name=traced.model.name, opset_imports=[helper.make_opsetid("", opset)], producer_name="tf2onnx"
        )


def refuse_foreign_operations(model: onnx.ModelProto, name: str) -> None:
    """Refuse operations that tf2onnx does not know: it leaves them in the graph and calls that success."""
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


def standard_domains(model: onnx.ModelProto) -> None:
    """Declare the standard operators alone: ONNX Runtime declares all domains that it knows of, which others refuse."""
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.graph.value_info[:], model.opset_import[:]
    model.opset_import.extend(standard)


def _store_kernels(graph: onnx.GraphProto, kernels: Mapping[str, np.ndarray]) -> None:
    """Store the kernels as initializers, in the layout in which the nodes take them."""
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


def _name_batch_axis(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # optional, and written with tf2onnx's own names for the batch


@contextmanager
def without_logs() -> Iterator[None]:
    """Silence tf2onnx, which logs through loggers of many names what is raised or found here anyway."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
