"""What each layer of a network costs: shapes, weights, work, memory, and what it sees of the image."""

from __future__ import annotations

from collections.abc import Sequence
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

    Attributes:
        name: The layer's; in nested models a path such as `trunk/conv1`.
        kind: Its class.
        output: Shape of its output, without the batch.
        elements: How many numbers its outputs have.
        memory_kib: Their size.
        parameters: Trained weights, frozen at the moment or not. Those of a layer that is called twice count once.
        untrained: Moving statistics, and codes that nothing changes.
        macs: Multiply-accumulates; None if the layer is not known.
        pooling: The lectures' operations of a pooling layer.
        share: The share of the model's known multiply-accumulates, 0 to 1.
        field: What an output sees of the image; None if that is not known.
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
        """The lectures' "FLOPs": multiply-accumulates and the windows of pooling."""
        return None if self.macs is None else self.macs + self.pooling


@dataclass(frozen=True)
class Profile:
    """What a model costs for one image.

    Attributes:
        name: The model's.
        dtype: The type of the numbers in memory.
        layers: One profile for each call.
        graph: The calls.
    """

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
        """Names of the layers whose work is not known, so that the totals lack it."""
        return tuple(layer.name for layer in self.layers if layer.macs is None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers, without those of the layers in `unknown`."""
        return sum(layer.macs or 0 for layer in self.layers)

    def flops(self, counting: Counting = "2x") -> int:
        """Count the same work as others do.

        Args:
            counting: "2x": a product and a sum each; "macs": as the papers; "lecture": as the CS231n and EECS 498
                lectures, that is multiply-accumulates, and the size of the window for each output of a pooling layer.

        Raises:
            ValueError: The counting is not one of these.
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
        """The outputs of all layers as the lectures add them up: none is freed or written over another.

        The image is left out, and so are reshapes and dropout, whose output is their input.
        """
        calls = zip(self.graph.calls, self.layers, strict=True)
        return self._kib(sum(row.elements for call, row in calls if call.inputs and not is_view(call.operation)))

    @cached_property
    def training_kib(self) -> float:
        """What the gradients of one image read again, see `kerascnn.analysis.memory.kept_for_training`."""
        return self._kib(kept_for_training(self.graph))

    @cached_property
    def peak(self) -> Peak:
        """The worst moment of a forward pass in the order that needs least, see `peak_memory`."""
        return peak_memory(self.graph)

    @property
    def peak_kib(self) -> float:
        """Memory of the image and the activations at that moment, without weights."""
        return self._kib(self.peak.elements)

    def __getitem__(self, name: str) -> LayerProfile:
        costs = next((layer for layer in self.layers if layer.name == name), None)
        if costs is None:
            raise KeyError(f"{self.name} has no layer {name!r}")
        return costs

    def totals(self) -> dict[str, Any]:
        """Return the totals as plain values, for JSON."""
        return {
            **{name: getattr(self, name) for name in ("name", "dtype", "parameters", "untrained", "macs")},
            **{f"flops_{counting}": self.flops(counting) for counting in ("2x", "lecture")},
            "unknown": list(self.unknown),
            **{f"{kind}_kib": getattr(self, f"{kind}_kib") for kind in ("weights", "forward", "training", "peak")},
            "peak_at": self.peak.at,
            "peak_optimal": self.peak.optimal,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the layers as plain values, for JSON and CSV."""
        return [_row(layer) for layer in self.layers]

    def _kib(self, elements: int) -> float:
        return elements * BYTES[self.dtype] / 1024


def profile(model: keras.Model, *, dtype: str = "float32", input_shape: Sequence[int] | None = None) -> Profile:
    """Read the costs of any functional model from its graph; nothing is run. Models within it are read too.

    A layer that is not known is named in `unknown` and has None multiply-accumulates. A model with auxiliary
    classifiers is read as it is trained; `kerascnn.inference_model` gives what is used afterwards.

    Args:
        model: The model.
        dtype: The type of activations and weights in memory: float64, float32, float16, bfloat16, int8 or uint8.
        input_shape: (height, width, channels) for a model of any size.

    Returns:
        The profile.

    Raises:
        TypeError: It is not a Keras model.
        ValueError: It has no graph, such as a subclassed model; the dtype is not known; a side of the input is open.
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
        elements = sum(map(graph.elements, call.outputs))
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
    """Count the weights of each call; a layer's weights count where it is first called."""
    seen: set[int] = set()
    counts = []
    for call in calls:
        first = id(call.operation) not in seen
        seen.add(id(call.operation))
        counts.append(weight_counts(call.operation) if first else (0, 0))
    return counts


def _row(layer: LayerProfile) -> dict[str, Any]:
    field = layer.field
    sides = (field.height, field.width) if field else ()
    return {
        **{key: value for key, value in vars(layer).items() if key != "field"},
        "output": list(layer.output),
        "receptive_field": list(field.size) if field else None,
        "stride": [float(side.jump) for side in sides] or None,
        "start": [float(side.start) for side in sides] or None,
        "sees_all": field.whole if field else None,
    }
