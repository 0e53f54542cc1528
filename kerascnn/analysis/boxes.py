"""A model's graph as boxes: a convolution with the normalisation and activation around it is one box."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

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

_TRAINING_ONLY = {"GlobalDropPath"}  # what only says which parts a training step leaves out


@dataclass
class Node:
    """One call of a layer or operation: positions of the calls it reads, and the shape it gives, without the batch."""

    operation: Any
    sources: list[int]
    outputs: tuple[int | None, ...]


@dataclass(frozen=True)
class Box:
    """What is drawn as one: `kind` is conv, pool, dense, join, model, small (no weights to speak of), input or other.

    before, notes: the small layers in front of it, and after it. sources: positions of the boxes it reads. layers: what
    it stands for. Boxes are equal where they say the same.
    """

    kind: str
    title: str
    before: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[int, ...] = field(compare=False)
    outputs: tuple[int | None, ...] = field(compare=False)
    layers: tuple[Any, ...] = field(compare=False, repr=False)


def read_graph(model: keras.Model) -> tuple[list[Node], tuple[str, ...]]:
    """The calls on the way to the model's largest output, in topological order, from one common beginning.

    Also the names of the outputs that are left out. Nested models are one call each.
    """
    orders = [list(nodes_before([tensor])) for tensor in model.outputs]
    chosen = max(range(len(orders)), key=lambda i: len(orders[i]))
    nodes = [Node(None, [], tuple(model.inputs[0].shape[1:]))]
    starts = {id(node_of(tensor)) for tensor in model.inputs}
    single = len(starts) == 1
    positions: dict[int, int] = {}
    for call in orders[chosen]:
        if id(call) in starts and single:
            positions[id(call)] = 0
            continue
        if type(call.operation).__name__ in _TRAINING_ONLY:
            continue
        before = [id(node_of(tensor)) for tensor in call.input_tensors]
        sources = [positions[key] for key in before if key in positions] or [0]
        positions[id(call)] = len(nodes)
        nodes.append(Node(call.operation, sources, tuple(call.output_tensors[0].shape[1:])))
    names = list(model.output_names) if hasattr(model, "output_names") else []
    others = [name for i, name in enumerate(names) if i != chosen] if len(names) == len(orders) else []
    return nodes, tuple(others)


def boxes(nodes: Sequence[Node]) -> list[Box]:
    """The nodes as boxes, in topological order; the first stands for the input."""
    readers: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for source in node.sources:
            readers[source].append(i)
    drawn = [Box("input", "input", (), (), (), nodes[0].outputs, ())]
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


def _groups(chain: Sequence[Node]) -> list[list[int]]:
    """Parts of a chain of calls, each one box: a layer with weights or a pool, and the small ones around it.

    Small ones follow theirs, as activations do; where the chain begins with them (pre-activation) they precede it.
    """
    roles = [_role(node) for node in chain]
    groups: list[list[int]] = []
    begin = 0
    if roles[0] == "join":
        begin = 2 if len(chain) > 1 and isinstance(chain[1].operation, layers.Activation | layers.ReLU) else 1
        groups.append(list(range(begin)))
    mains = [k for k in range(begin, len(chain)) if roles[k] == "main"]
    rest = range(begin, len(chain))
    if not mains:
        return [*groups, list(rest)] if rest else groups
    first_small = next((k for k in rest if roles[k] in ("main", "small")), begin)
    leading = roles[first_small] == "small"
    own: dict[int, list[int]] = {k: [k] for k in mains}
    for k in rest:
        if roles[k] == "main":
            continue
        later = next((m for m in mains if m > k), None)
        earlier = next((m for m in reversed(mains) if m < k), None)
        target = later if (leading or roles[k] == "before" or earlier is None) and later is not None else earlier
        own[target if target is not None else mains[0]].append(k)
    return [*groups, *(sorted(own[k]) for k in mains)]


def _role(node: Node) -> str:
    """join, main (gets its own box), small (a note on a box), or before (a note on the box that follows)."""
    operation = node.operation
    if len(node.sources) > 1:
        return "join"
    if isinstance(operation, layers.ZeroPadding2D | layers.Flatten):
        return "before"
    if isinstance(operation, layers.BatchNormalization | layers.Activation | layers.Dropout):
        return "small"
    if isinstance(operation, layers.Layer) and operation.weights:
        return "main"
    if _window(operation) or "pool" in _words(operation) or len(node.outputs) == 1:
        return "main"
    if isinstance(operation, layers.InputLayer | keras.Model):
        return "main"
    return "small"
    if isinstance(operation, layers.Layer) and operation.weights:
        return "main"
    if (
        _window(operation)
        or "pool" in _words(operation)
        or len(node.outputs) == 1
        or isinstance(operation, layers.InputLayer | keras.Model)
    ):
        return "main"
    return "small"


def _box(nodes: Sequence[Node], sources: tuple[int, ...]) -> Box:
    roles = [_role(node) for node in nodes]
    main = next((k for k, role in enumerate(roles) if role in ("main", "join")), None)
    hidden = (layers.ZeroPadding2D, layers.Flatten)
    notes = ["" if k == main or isinstance(node.operation, hidden) else _note(node) for k, node in enumerate(nodes)]
    operations = tuple(node.operation for node in nodes)
    outputs = nodes[-1].outputs
    if main is None:
        title = " · ".join(filter(None, notes)) or _words(nodes[0].operation)
        return Box("small", title, (), (), sources, outputs, operations)
    kind, title, own = _describe(nodes[main])
    before, after = (tuple(filter(None, part)) for part in (notes[:main], notes[main + 1 :]))
    return Box(kind, title, before, (*own, *after), sources, outputs, operations)


def _describe(node: Node) -> tuple[str, str, list[str]]:
    """Kind, title and notes of the layer that a box is named after."""
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
    return kind, " ".join(part for part in parts if part), notes


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
    """A class's name in words: `StochasticDepth` is "stochastic depth"."""
    name = type(operation).__name__
    if name in _NAMES:
        return _NAMES[name]
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", re.sub(r"[12]D$", "", name))
    words = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words.split())
    return words.replace("convolution", "conv").replace("conv2d", "conv").replace("pooling", "pool")
