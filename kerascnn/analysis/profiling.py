"""What each layer of a network costs: shapes, weights, work, memory, and what it sees of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import keras

from kerascnn.analysis.calls import Call, Graph, Shape, read_calls
from kerascnn.analysis.costs import BYTES, call_macs, check_shapes, is_view, pooling_operations, weight_counts
from kerascnn.analysis.fields import Field, receptive_fields
from kerascnn.analysis.memory import Peak, kept_for_training, peak_memory

Counting = Literal["macs", "2x", "lecture"]


@dataclass(frozen=True)
class LayerProfile:
    """One call of a layer, for one image.

    name: the layer's; where models are nested, a path such as `trunk/conv1`. kind: its class.
    output: shape without the batch. elements: how many numbers that is; memory_kib: their size.
    parameters: trained weights, whether frozen at the moment or not; untrained: moving statistics, and codes that
        nothing changes. A layer that is called twice has them the first time.
    macs: multiply-accumulates; None where the layer is not known, or is not counted because its call is unknown.
    pooling: the lectures' operations of a pooling layer. share: of the model's known macs, 0 to 1.
    field: what an output sees of the image; None where that is not known.
    """

    name: str
    kind: str
    output: Shape
    elements: int
    memory_kib: float
    parameters: int
    untrained: int
    macs: int | None
    pooling: int
    share: float
    field: Field | None

    @property
    def operations(self) -> int | None:
        """The lectures' "FLOPs": multiply-accumulates, and the windows of pooling."""
        return None if self.macs is None else self.macs + self.pooling


@dataclass(frozen=True)
class Profile:
    """What a model costs for one image; its memory at `dtype`."""

    name: str
    dtype: str
    layers: tuple[LayerProfile, ...]
    graph: Graph

    @property
    def parameters(self) -> int:
        """Weights that training changes, frozen at the moment or not."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def untrained(self) -> int:
        """Weights that no gradient reaches: moving means and variances, fixed codes."""
        return sum(layer.untrained for layer in self.layers)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the layers whose work is not known, and which the totals therefore lack."""
        return tuple(layer.name for layer in self.layers if layer.macs is None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers; those of the layers in `unknown` are missing."""
        return sum(layer.macs or 0 for layer in self.layers)

    def flops(self, counting: Counting = "2x") -> int:
        """The same work as others count it.

        Args:
            counting: "2x", a product and a sum each; "macs", as the papers do; "lecture", as the CS231n and EECS 498
                lectures do: multiply-accumulates, and the size of the window for each output of a pooling layer.

        Raises:
            ValueError: another counting.
        """
        ways = {"2x": 2 * self.macs, "macs": self.macs, "lecture": self.macs + sum(row.pooling for row in self.layers)}
        if counting not in ways:
            raise ValueError(f'counting is "2x", "macs" or "lecture"; it is {counting!r}.')
        return ways[counting]

    @property
    def weights_kib(self) -> float:
        """All weights at `dtype`."""
        return self._kib(self.parameters + self.untrained)

    @cached_property
    def forward_kib(self) -> float:
        """The outputs of all layers, as the lectures add them up: no output is freed or written over another.

        Reshapes and dropout, whose output is their input, are left out, and so is the image.
        """
        calls = zip(self.graph.calls, self.layers, strict=True)
        return self._kib(sum(row.elements for call, row in calls if call.inputs and not is_view(call.operation)))

    @cached_property
    def training_kib(self) -> float:
        """What the gradients of one image need again, see `kerascnn.analysis.memory.kept_for_training`."""
        return self._kib(kept_for_training(self.graph))

    @cached_property
    def peak(self) -> Peak:
        """The worst moment of a forward pass in the order that needs least, see `peak_memory`."""
        return peak_memory(self.graph)

    @property
    def peak_kib(self) -> float:
        """Memory of the image and the activations at that moment; weights are not in it."""
        return self._kib(self.peak.elements)

    def __getitem__(self, name: str) -> LayerProfile:
        """The first call of that layer."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"{self.name} has no layer {name!r}")

    def totals(self) -> dict[str, Any]:
        """The totals as plain values, for JSON."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "parameters": self.parameters,
            "untrained": self.untrained,
            "macs": self.macs,
            "flops_2x": self.flops("2x"),
            "flops_lecture": self.flops("lecture"),
            "unknown": list(self.unknown),
            "weights_kib": self.weights_kib,
            "forward_kib": self.forward_kib,
            "training_kib": self.training_kib,
            "peak_kib": self.peak_kib,
            "peak_at": self.peak.at,
            "peak_optimal": self.peak.optimal,
        }

    def rows(self) -> list[dict[str, Any]]:
        """The layers as plain values, for JSON and CSV."""
        return [_row(layer) for layer in self.layers]

    def _kib(self, elements: int) -> float:
        return elements * BYTES[self.dtype] / 1024


def profile(model: keras.Model, *, dtype: str = "float32", input_shape: Sequence[int] | None = None) -> Profile:
    """Read the costs of any functional model from its graph; nothing is run. Nested models are opened.

    A layer that is not known is named in `unknown` and has None multiply-accumulates. A model with auxiliary
    classifiers is read as it is in training; `kerascnn.inference_model` is what remains of it.

    Args:
        dtype: of activations and weights in memory: float64, float32, float16, bfloat16, int8 or uint8.
        input_shape: (height, width, channels) for a model of any size.

    Raises:
        TypeError: it is not a Keras model.
        ValueError: it has no graph, such as a subclassed model; the dtype is not known; the input has sides of None.
    """
    if dtype not in BYTES:
        raise ValueError(f"dtype is one of {', '.join(BYTES)}; it is {dtype!r}.")
    graph = read_calls(model, input_shape)
    check_shapes(graph)
    fields = receptive_fields(graph)
    macs = [call_macs(call, graph) for call in graph.calls]
    total = sum(count or 0 for count in macs) or 1
    weights = _weights(graph.calls)
    rows = []
    for i, call in enumerate(graph.calls):
        elements = sum(math.prod(side or 0 for side in graph.shapes[output]) for output in call.outputs)
        rows.append(
            LayerProfile(
                name=call.name,
                kind=type(call.operation).__name__,
                output=graph.shapes[call.outputs[0]],
                elements=elements,
                memory_kib=elements * BYTES[dtype] / 1024,
                parameters=weights[i][0],
                untrained=weights[i][1],
                macs=macs[i],
                pooling=pooling_operations(call, graph),
                share=(macs[i] or 0) / total,
                field=fields[call.outputs[0]],
            )
        )
    return Profile(model.name, dtype, tuple(rows), graph)


def _weights(calls: Sequence[Call]) -> list[tuple[int, int]]:
    """Of each call, those of its layer; a layer's weights count where it is first called."""
    seen: set[int] = set()
    counts = []
    for call in calls:
        first = id(call.operation) not in seen
        seen.add(id(call.operation))
        counts.append(weight_counts(call.operation) if first else (0, 0))
    return counts


def _row(layer: LayerProfile) -> dict[str, Any]:
    row: dict[str, Any] = {key: value for key, value in vars(layer).items() if key != "field"}
    row["output"] = list(layer.output)
    field: Mapping[str, Any] = {"receptive_field": None, "stride": None, "start": None, "sees_all": None}
    if layer.field is not None:
        sides = (layer.field.height, layer.field.width)
        field = {
            "receptive_field": list(layer.field.size),
            "stride": [float(side.jump) for side in sides],
            "start": [float(side.start) for side in sides],
            "sees_all": layer.field.whole,
        }
    return {**row, **field}
