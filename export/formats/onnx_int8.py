"""Int8 for ONNX: QuantizeLinear and DequantizeLinear around every operation, as ONNX Runtime and TensorRT read them.

Weights have a symmetric int8 step for each output channel, activations one unsigned 8-bit step a tensor. On CPUs ONNX
Runtime computes unsigned activations with signed weights more than twice as fast as signed with signed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

LEAST_OPSET = 13  # the first whose DequantizeLinear takes a step for each channel


def quantize(model: Any, calibration: np.ndarray) -> Any:
    """The float32 ONNX `model` with int8 inside; input, output, and the softmax with what follows it stay float32.

    Args:
        model: onnx.ModelProto of at least LEAST_OPSET.
        calibration: float32 [n, H, W, C], from whose smallest and largest values the ranges come.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="kerascnn-") as folder:
        floats, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("floats", "prepared", "quantized"))
        onnx.save(model, floats)
        quant_pre_process(floats, prepared, skip_symbolic_shape=True)  # the symbolic step needs sympy, and adds nothing
        ready = onnx.load(prepared)
        quantize_static(
            ready,
            quantized,
            _Images(model.graph.input[0].name, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_from_softmax(ready.graph),
        )
        return onnx.load(quantized)


class _Images:
    """ONNX Runtime's CalibrationDataReader: one image at a time, then None."""

    def __init__(self, name: str, images: np.ndarray):
        self._next: Iterator[dict[str, np.ndarray]] = (
            {name: images[index : index + 1]} for index in range(len(images))
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._next, None)


def _from_softmax(graph: Any) -> list[str]:
    """Names of each softmax and of all nodes after it: 8 bits are too few for 1,000 probabilities that sum to one."""
    tensors: set[str] = set()
    found = []
    for node in graph.node:  # in the order of computation
        if node.op_type == "Softmax" or tensors & set(node.input):
            tensors |= set(node.output)
            found.append(node.name)
    return found
