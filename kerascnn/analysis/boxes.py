"""A model's graph as boxes: a convolution with the normalization and activation around it is one box."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from kerascnn.analysis.calls import Shape
from kerascnn.analysis.costs import counted_macs
from kerascnn.analysis.counting import count_macs
from kerascnn.keras_graph import node_of, nodes_before

_ACTIVATIONS: Mapping[str, str] = {"relu": "ReLU", "elu": "ELU", "selu": "SELU", "gelu": "GELU", "silu": "SiLU"}
_NAMES: Mapping[str, str] = {
    "BatchNormalization": "BN",
    "LocalResponseNormalization": "LRN",
    "ReLU": "ReLU",
    "Relu": "ReLU",
    "Concatenate": "concat",
    "Add": "+",
    "Multiply": "×",
    "Average": "mean",
    "Maximum": "max",
    "FractalJoin": "mean",
    "WeightedMean": "mean",
    "StochasticDepth": "+",
    "SeparableConv2D": "separable conv",
    "DepthwiseConv2D": "depthwise conv",
    "Conv2DTranspose": "transposed conv",
    "GlobalAveragePooling2D": "global average pool",
    "GlobalMaxPooling2D": "global max pool",
    "MaxPooling2D": "max pool",
    "AveragePooling2D": "average pool",
    "Conv2D": "conv",
}

_TRAINING_ONLY = {"GlobalDropPath"}  # it only says which parts a training step leaves out


@dataclass(frozen=True)
class Node:
    """One call of a layer or operation.

    Attributes:
        operation: The layer or operation; None for the node that stands for the one input.
        sources: Positions of the nodes that it reads.
        outputs: Shape of what it makes, without the batch.
        macs: Multiply-accumulates for one image; None if a side is open.
    """

    operation: Any
    sources: list[int]
    outputs: Shape
    macs: int | None = 0


@dataclass(frozen=True)
class Box:
    """What is drawn as one. Boxes are equal if they say the same.

    Attributes:
        kind: conv, pool, dense, join, model, small (no weights to speak of), input or other.
        title: What it says.
        before: Words for the small layers in front of it.
        notes: Words for the small layers after it.
        sources: Positions of the boxes that it reads.
        outputs: Shape of what it makes, without the batch.
        layers: The layers and operations that it stands for.
        macs: Their multiply-accumulates; None if a side is open.
    """

    kind: str
    title: str
    before: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[int, ...] = field(default=(), compare=False)
    outputs: Shape = field(default=(), compare=False)
    layers: tuple[Any, ...] = field(default=(), compare=False, repr=False)
    macs: int | None = field(default=0, compare=False)


def read_graph(model: keras.Model) -> tuple[list[Node], tuple[str, ...]]:
    """Read the calls on the way to the model's largest output. A nested model is one call.

    Returns:
        The calls in topological order, from one common beginning; and the names of the outputs that are left out.
    """
    orders = [list(nodes_before([tensor])) for tensor in model.outputs]
    chosen = max(range(len(orders)), key=lambda i: len(orders[i]))
    nodes = [Node(None, [], tuple(model.inputs[0].shape[1:]))]
    starts = {id(node_of(tensor)) for tensor in model.inputs}
    positions: dict[int, int] = {}
    for call in orders[chosen]:
        if starts == {id(call)}:
            positions[id(call)] = 0
        elif type(call.operation).__name__ not in _TRAINING_ONLY:
            before = [id(node_of(tensor)) for tensor in call.input_tensors]
            sources = [positions[key] for key in before if key in positions] or [0]
            positions[id(call)] = len(nodes)
            shapes = [tuple(tensors[0].shape[1:]) for tensors in (call.input_tensors, call.output_tensors) if tensors]
            nodes.append(Node(call.operation, sources, shapes[-1], _macs(call.operation, shapes[0], shapes[-1])))
    names = list(model.output_names) if hasattr(model, "output_names") else []
    others = [name for i, name in enumerate(names) if i != chosen] if len(names) == len(orders) else []
    return nodes, tuple(others)


def _macs(operation: Any, before: Shape, after: Shape) -> int | None:
    if not isinstance(operation, keras.Model):
        return None if None in after else counted_macs(operation, before, after)
    try:
        return count_macs(operation)
    except ValueError:  # a side is open, or it has no graph
        return None


def boxes(nodes: Sequence[Node]) -> list[Box]:
    """Gather nodes into boxes, in topological order; the first stands for the input."""
    readers: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for source in node.sources:
            readers[source].append(i)
    drawn = [Box("input", "input", outputs=nodes[0].outputs)]
    box_of = {0: 0}
    for i in range(1, len(nodes)):
        if i in box_of:
            continue
        chain = [i]
        while len(readers[chain[-1]]) == 1 and len(nodes[readers[chain[-1]][0]].sources) == 1:
            chain.append(readers[chain[-1]][0])
        for group in _groups([nodes[k] for k in chain]):
            members = [chain[k] for k in group]
            sources = tuple(box_of[source] for source in nodes[members[0]].sources)
            drawn.append(_box([nodes[k] for k in members], sources))
            box_of.update(dict.fromkeys(members, len(drawn) - 1))
    return drawn


def total(counts: Iterable[int | None]) -> int | None:
    """Add up counts; None if one of them is not known."""
    counts = list(counts)
    known = [number for number in counts if number is not None]
    return sum(known) if len(known) == len(counts) else None


def _groups(chain: Sequence[Node]) -> list[list[int]]:
    """Divide a chain of calls into boxes: a layer with weights or a pool, and the small ones around it.

    Small ones belong to the layer before them, as activations do; if the chain begins with them (pre-activation), they
    belong to the layer after them.
    """
    roles = [_role(node) for node in chain]
    groups: list[list[int]] = []
    begin = 0
    if roles[0] == "join":
        begin = 2 if len(chain) > 1 and isinstance(chain[1].operation, layers.Activation | layers.ReLU) else 1
        groups.append(list(range(begin)))
    rest = range(begin, len(chain))
    mains = [k for k in rest if roles[k] == "main"]
    if not mains:
        return [*groups, list(rest)] if rest else groups
    leading = next((roles[k] for k in rest if roles[k] in ("main", "small")), "") == "small"
    own: dict[int, list[int]] = {k: [k] for k in mains}
    for k in rest:
        if roles[k] == "main":
            continue
        later = next((main for main in mains if main > k), None)
        earlier = next((main for main in reversed(mains) if main < k), None)
        target = later if (leading or roles[k] == "before" or earlier is None) and later is not None else earlier
        own[target if target is not None else mains[0]].append(k)
    return [*groups, *(sorted(own[k]) for k in mains)]


def _role(node: Node) -> str:
    """Return join, main (it gets a box of its own), small (a note on a box), or before (a note on the next box)."""
    operation = node.operation
    if len(node.sources) > 1:
        return "join"
    if isinstance(operation, layers.ZeroPadding2D | layers.Flatten):
        return "before"
    if isinstance(operation, layers.BatchNormalization | layers.Activation | layers.Dropout):
        return "small"
    weighted = isinstance(operation, layers.Layer) and operation.weights
    pooling = _window(operation) or "pool" in _words(operation) or len(node.outputs) == 1
    return "main" if weighted or pooling or isinstance(operation, layers.InputLayer | keras.Model) else "small"


def _box(nodes: Sequence[Node], sources: tuple[int, ...]) -> Box:
    roles = [_role(node) for node in nodes]
    main = next((k for k, role in enumerate(roles) if role in ("main", "join")), None)
    hidden = (layers.ZeroPadding2D, layers.Flatten)
    notes = ["" if k == main or isinstance(node.operation, hidden) else _note(node) for k, node in enumerate(nodes)]
    if main is None:
        kind, title, before, after = "small", " · ".join(filter(None, notes)) or _words(nodes[0].operation), [], []
    else:
        kind, title, own = _describe(nodes[main])
        before, after = notes[:main], [*own, *notes[main + 1 :]]
    return Box(
        kind,
        title,
        tuple(filter(None, before)),
        tuple(filter(None, after)),
        sources,
        nodes[-1].outputs,
        tuple(node.operation for node in nodes),
        total(node.macs for node in nodes),
    )


def _describe(node: Node) -> tuple[str, str, list[str]]:
    """Return kind, title and notes of the layer that a box is named after."""
    operation = node.operation
    words = _words(operation)
    if isinstance(operation, layers.InputLayer):
        return "input", "input " + " × ".join(map(str, node.outputs)), []
    if isinstance(operation, keras.Model):
        return "model", operation.name, []
    if len(node.sources) > 1:
        return "join", words, ["stochastic depth"] if type(operation).__name__ == "StochasticDepth" else []
    notes = [f"{operation.groups} groups"] if getattr(operation, "groups", 1) > 1 else []
    notes += _activation(operation)
    if isinstance(operation, layers.Dense):
        return "dense", f"dense {operation.units}", notes
    parts = [_window(operation), words]
    filters = getattr(operation, "filters", None)
    if filters is not None or (node.outputs and getattr(operation, "weights", None)):
        parts.append(str(filters if filters is not None else node.outputs[-1]))
    strides = _pair(getattr(operation, "strides", 1))
    if strides != (1, 1):
        parts.append("/" + (str(strides[0]) if strides[0] == strides[-1] else "×".join(map(str, strides))))
    kind = "pool" if "pool" in words else "conv" if "conv" in words else "other"
    return kind, " ".join(filter(None, parts)), notes


def _note(node: Node) -> str:
    operation = node.operation
    if isinstance(operation, layers.Activation):
        return (_activation(operation) or ["linear"])[0]
    if isinstance(operation, layers.Dropout):
        return f"dropout {operation.rate:g}"
    if isinstance(operation, layers.Rescaling) and isinstance(operation.scale, int | float):
        return f"× {operation.scale:g}"
    return _words(operation)


def _activation(operation: Any) -> list[str]:
    name = getattr(getattr(operation, "activation", None), "__name__", "linear")
    return [] if name == "linear" else [_ACTIVATIONS.get(name, name.replace("_", " "))]


def _window(operation: Any) -> str:
    size = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    size = size or getattr(operation, "output_size", None)
    return "×".join(map(str, _pair(size))) if size else ""


def _pair(sides: Any) -> tuple[int, ...]:
    return (sides, sides) if isinstance(sides, int) else tuple(sides)


def _words(operation: Any) -> str:
    """Return a class's name in words: `StochasticDepth` is "stochastic depth"."""
    name = type(operation).__name__
    if name in _NAMES:
        return _NAMES[name]
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", re.sub(r"[12]D$", "", name))
    words = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words.split())
    return words.replace("convolution", "conv").replace("conv2d", "conv").replace("pooling", "pool")
