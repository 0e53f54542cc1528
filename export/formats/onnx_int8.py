"""Int8 for ONNX: QuantizeLinear and DequantizeLinear around every operation, as ONNX Runtime and TensorRT read them.

Weights have a symmetric int8 step for each output channel, activations one unsigned 8-bit step a tensor. On CPUs ONNX
Runtime computes unsigned activations with signed weights more than twice as fast as signed with signed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import onnx

LEAST_OPSET = 13  # the first whose DequantizeLinear takes a step for each channel


def quantize(model: onnx.ModelProto, calibration: np.ndarray | Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return a float32 model with int8 inside; input, output, and the softmax with what follows it stay float32.

    Args:
        model: A model of at least LEAST_OPSET.
        calibration: float32 [n, height, width, channels], from whose smallest and largest values the ranges come; or
            such arrays by the names of the inputs.
    """
    ready = prepared(model)
    return with_steps(
        ready, Samples(by_name(model, calibration)), activation="QUInt8", nodes_to_exclude=from_softmax(ready.graph)
    )


def with_steps(model: onnx.ModelProto, samples: Samples, *, activation: str, **options: Any) -> onnx.ModelProto:
    """Put QuantizeLinear and DequantizeLinear into a prepared model, which is changed.

    Args:
        model: The model.
        samples: Inputs that ranges come from.
        activation: ONNX Runtime's name for the type of activations.
        **options: Of ONNX Runtime's `quantize_static`.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="kerascnn-") as folder:
        quantize_static(
            model,
            Path(folder) / "quantized",
            samples,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType[activation],
            weight_type=QuantType.QInt8,
            **options,
        )
        return onnx.load(Path(folder) / "quantized")


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model with its shapes known and each kernel read once, as the quantization needs it."""
    import onnx

    keep_transformers_importable()
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="kerascnn-") as folder:
        floats, ready = Path(folder) / "floats", Path(folder) / "prepared"
        onnx.save(model, floats)
        quant_pre_process(floats, ready, skip_symbolic_shape=True)  # the symbolic step needs sympy, and adds nothing
        loaded = onnx.load(ready)
    _separate_kernels(loaded.graph)
    return loaded


def by_name(model: onnx.ModelProto, calibration: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return calibration arrays by the names of the inputs."""
    return calibration if isinstance(calibration, Mapping) else {model.graph.input[0].name: calibration}


def _separate_kernels(graph: onnx.GraphProto) -> None:
    """Give each operation of a shared layer a kernel of its own.

    ONNX Runtime cannot start with `session.x64quantprecision` where two operations read one kernel: it replaces the
    kernel for the first, and finds it replaced for the second.
    """
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in initializers:
            name = node.input[1]
            if name in taken:
                copy = graph.initializer.add()
                copy.CopyFrom(initializers[name])
                copy.name = node.input[1] = f"{name}_of_{node.name}"
            taken.add(name)


def keep_transformers_importable() -> None:
    """Put the folder of ONNX Runtime's tools on the path again, where somebody has taken it off.

    They import one another by bare names, from a folder that they append to the path when they are first imported.
    """
    import onnxruntime.transformers

    folder = str(Path(onnxruntime.transformers.__file__).parent)
    if folder not in sys.path:
        sys.path.append(folder)


class Samples:
    """ONNX Runtime's CalibrationDataReader: one sample after another, then None."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        count = len(next(iter(arrays.values())))
        self._next: Iterator[dict[str, np.ndarray]] = (
            {name: values[i : i + 1] for name, values in arrays.items()} for i in range(count)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next sample by the names of the inputs."""
        return next(self._next, None)


def from_softmax(graph: onnx.GraphProto) -> list[str]:
    """Name each softmax and all nodes after it: 8 bits are too few for 1,000 probabilities that sum to one."""
    tensors: set[str] = set()
    names = []
    for node in graph.node:  # in the order of computation
        if node.op_type == "Softmax" or tensors & set(node.input):
            tensors |= set(node.output)
            names.append(node.name)
    return names
