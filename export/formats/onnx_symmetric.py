"""Symmetric int8 for ONNX: what TensorRT and many NPUs demand of QuantizeLinear and DequantizeLinear.

All zero points are 0, activations are signed, kernels have a step for each output channel, and biases stay in float.
Only what a convolution or a dense layer reads is quantized: what follows it up to the next one is fused by such
compilers, and rounding it as well would cost accuracy. After a rectifier half of a signed range stays empty, so that 7
bits are left of the 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export.formats.onnx_int8 import by_name, from_softmax, prepared, with_steps
from export.formats.onnx_runtime import Sample, float_tensors, logits_of, runner, samples_of
from export.quantization.steps import INT8

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
LEAST_SHARE = 0.7  # of the largest value, below which no range is cut: few photos say little of the values above
_KEPT = 20_000  # values of a tensor and an image that its range is chosen by


def quantize(model: onnx.ModelProto, calibration: np.ndarray | Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Return a float32 model with symmetric int8 inside; input, output, and the softmax with what follows stay float32.

    Ranges end at the largest values, or where the squared error is least. Every fourth sample is held back from both:
    the ranges that leave less noise on these are taken.

    Args:
        model: A model of at least opset 13.
        calibration: float32 [n, height, width, channels]; or arrays by the names of the inputs.
    """
    ready = prepared(model)
    samples = list(samples_of(by_name(model, calibration)))
    held_back = samples[3::4] or samples
    seen = [sample for index, sample in enumerate(samples) if index % 4 != 3]
    excluded = from_softmax(ready.graph)
    expected = _answers(ready, held_back)

    def noise(candidate: onnx.ModelProto) -> float:
        pairs = zip(_answers(candidate, held_back), expected, strict=True)
        return sum(float(np.square(answer - wanted).sum(dtype=np.float64)) for answer, wanted in pairs)

    ranges = _ranges(ready, _quantized_tensors(ready.graph, excluded), seen)
    return min((_quantized(ready, steps, excluded) for steps in ranges), key=noise)


def _quantized_tensors(graph: onnx.GraphProto, excluded: Sequence[str]) -> list[str]:
    """Name the activations that layers with weights read."""
    constants = {tensor.name for tensor in graph.initializer}
    names = (
        name
        for node in graph.node
        if node.op_type in WEIGHTED and node.name not in excluded
        for name in node.input[:2]
        if name not in constants
    )
    return list(dict.fromkeys(names))


def _ranges(
    model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Sample]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the step of each tensor by its largest value, and by the least squared error."""
    inputs = {value.name for value in model.graph.input}
    computed = [name for name in tensors if name not in inputs]
    run = runner(model, computed)
    top = dict.fromkeys(tensors, 0.0)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
    for sample in samples:
        values = sample | run(sample)
        for name in tensors:
            sizes = np.abs(values[name]).ravel()
            top[name] = max(top[name], float(sizes.max()))
            kept[name].append(sizes[:: -(-sizes.size // _KEPT)])
    largest = {name: (value or 1.0) / INT8 for name, value in top.items()}
    return largest, {name: _least_error(np.concatenate(kept[name]), step) for name, step in largest.items()}


def _least_error(values: np.ndarray, largest: float) -> float:
    """Return the step at which values lose least, from LEAST_SHARE times `largest` to `largest`."""
    steps = largest * np.linspace(LEAST_SHARE, 1, 16)
    losses = [float(np.square(np.minimum(np.round(values / step), INT8) * step - values).sum()) for step in steps]
    return float(steps[int(np.argmin(losses))])


def _quantized(model: onnx.ModelProto, steps: Mapping[str, float], excluded: Sequence[str]) -> onnx.ModelProto:
    """Put QuantizeLinear and DequantizeLinear with these steps before the layers with weights."""
    zero = np.array(0, np.int8)
    copy = type(model)()
    copy.CopyFrom(model)
    options: dict[str, Any] = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
        "TensorQuantOverrides": {
            name: [{"scale": np.array(step, np.float32), "zero_point": zero}] for name, step in steps.items()
        },
    }
    return with_steps(
        copy,
        dict.fromkeys(float_tensors(model.graph), (0.0, 1.0)),  # not used: the steps are given
        activation="QInt8",
        op_types_to_quantize=list(WEIGHTED),
        nodes_to_exclude=list(excluded),
        extra_options=options,
    )


def _answers(model: onnx.ModelProto, samples: Sequence[Sample]) -> list[np.ndarray]:
    """Answer each sample with what a final softmax receives, or with the outputs where there is none."""
    outputs = [value.name for value in model.graph.output]
    run = runner(model, [logits_of(model.graph, name)[0] or name for name in outputs])
    return [np.concatenate([value.ravel() for value in run(sample).values()]) for sample in samples]
