"""The structure of a functional model: layers gathered into boxes, boxes into units, units into stages.

Everything is read from the graph. A tensor that every path goes through cuts the network into units; equal units in a
row become one unit and a count; a unit that makes the map smaller begins a stage. Names of layers only label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import keras

from kerascnn.analysis.boxes import Box, Node, boxes, read_graph
from kerascnn.analysis.counting import layer_macs
from kerascnn.keras_graph import all_layers, trained_weights

Shape = tuple[int | None, ...]  # without the batch


@dataclass(frozen=True)
class Parallel:
    """Branches from one tensor to `join`, in its order, the empty ones (identity) last.

    `join` is None where the branches end apart, each at the join of the branches around these.
    """

    branches: tuple[Series, ...]
    join: Box | None


Series: TypeAlias = "tuple[Box | Parallel, ...]"


@dataclass(frozen=True)
class Unit:
    """What lies between two tensors that every path goes through. Units are equal where their boxes are."""

    items: Series
    outputs: Shape = field(compare=False)
    boxes: tuple[Box, ...] = field(compare=False)


@dataclass(frozen=True)
class Run:
    """`units` in a row, `count` times over; `outputs` are the shapes after each time."""

    units: tuple[Unit, ...]
    count: int
    outputs: tuple[Shape, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Stage:
    """Runs on maps of one size; `macs` is None where the input has no fixed size or a layer's work is not known."""

    runs: tuple[Run, ...]
    outputs: Shape
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class Outline:
    """A network from its input to its largest output; `others` names the outputs that are left out."""

    name: str
    inputs: tuple[Shape, ...]
    stages: tuple[Stage, ...]
    others: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Trained weights of all stages."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of all stages for one image."""
        known = [stage.macs for stage in self.stages if stage.macs is not None]
        return sum(known) if len(known) == len(self.stages) else None


def outline(model: keras.Model) -> Outline:
    """The structure of any functional model. A part that is not made of series and branches becomes one box.

    Raises:
        ValueError: the model has no graph, as a subclassed one.
    """
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ValueError(
            f"{getattr(model, 'name', model)!r} has no graph to draw: it is not a functional model. Build it with "
            "keras.Model(inputs, outputs)."
        )
    nodes, others = read_graph(model)
    drawn = boxes(nodes)
    stages = []
    for units in _split(list(_units(drawn)), _first_shape(nodes)):
        runs = tuple(_runs(units))
        parameters, macs = _costs(box for unit in units for box in unit.boxes)
        stages.append(Stage(runs, units[-1].outputs, parameters, macs))
    return Outline(model.name, tuple(tuple(tensor.shape[1:]) for tensor in model.inputs), tuple(stages), others)


def _first_shape(nodes: Sequence[Node]) -> Shape:
    return next(node.outputs for node in nodes if not node.sources)


def _units(drawn: Sequence[Box]) -> Iterator[Unit]:
    """Boxes are in topological order, each with `sources`, positions of boxes; the first is where all paths begin."""
    for start, end in _cuts(drawn, range(len(drawn))):
        inside = tuple(drawn[start + 1 : end + 1])
        yield Unit(_series(drawn, start, range(start + 1, end), end, joined=True), drawn[end].outputs, inside)


def _cuts(drawn: Sequence[Box], order: Sequence[int], direct: bool = True) -> list[tuple[int, int]]:
    """Neighbouring pairs of the boxes in `order` that every path goes through: no edge passes over them.

    `direct` also minds the edges from the first to the last.
    """
    last = {i: i for i in order}
    for i in order:
        for source in drawn[i].sources:
            if source in last and (direct or (source, i) != (order[0], order[-1])):
                last[source] = max(last[source], i)
    cuts, furthest = [], -1
    for i in order:
        if furthest <= i:
            cuts.append(i)
        furthest = max(furthest, last[i])
    return list(pairwise(cuts))


def _series(drawn: Sequence[Box], start: int, inside: Sequence[int], end: int, joined: bool) -> Series:
    """The boxes `inside` between `start` and `end`, and `end` itself where `joined`."""
    if not inside:
        return (drawn[end],) if joined else ()
    components = sorted(_components(drawn, inside), key=lambda c: _entry(drawn, c, end))
    if drawn[end].title != "concat":  # in sums and products the order says nothing, and the longest leads
        components.sort(key=len, reverse=True)
    branches = [_branch(drawn, start, component, end) for component in components]
    direct = drawn[end].sources.count(start)
    if len(branches) == 1 and not direct:
        # Neither a chain nor branches side by side, so one box stands for all of it.
        return (_summary(drawn, inside), drawn[end]) if joined else (_summary(drawn, inside),)
    return (Parallel((*branches, *[()] * direct), drawn[end] if joined else None),)


def _branch(drawn: Sequence[Box], start: int, component: Sequence[int], end: int) -> Series:
    """One branch: its own cuts, between each two of them again branches."""
    # Positions are topological, so the ends can be put around the component whatever lies between them.
    pairs = _cuts(drawn, [start, *component, end], direct=False)
    items: list[Box | Parallel] = []
    if len(pairs) == 1:
        return (_summary(drawn, component),)
    for i, j in pairs:
        between = [k for k in component if i < k < j]
        items += _series(drawn, i, between, j, joined=j != end)
    return tuple(items)


def _components(drawn: Sequence[Box], inside: Sequence[int]) -> list[list[int]]:
    """Parts of `inside` that no edge connects."""
    part = {i: i for i in inside}

    def root(i: int) -> int:
        while part[i] != i:
            i = part[i]
        return i

    for i in inside:
        for source in drawn[i].sources:
            if source in part:
                part[root(i)] = root(source)
    found: dict[int, list[int]] = {}
    for i in inside:
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def _entry(drawn: Sequence[Box], component: Sequence[int], end: int) -> int:
    return min(position for position, source in enumerate(drawn[end].sources) if source in component)


def _summary(drawn: Sequence[Box], inside: Sequence[int]) -> Box:
    titles = [drawn[i].title for i in inside]
    counted = [f"{titles.count(title)} × {title}" for title in dict.fromkeys(titles)]
    layers = tuple(layer for i in inside for layer in drawn[i].layers)
    return Box("other", f"{len(layers)} layers", (), (", ".join(counted),), (), drawn[inside[-1]].outputs, layers)


def _split(units: Sequence[Unit], inputs: Shape) -> list[list[Unit]]:
    """Stages: each begins with the unit that makes the map smaller (by more than an unpadded kernel does)."""
    stages: list[list[Unit]] = [[]]
    before = inputs
    for unit in units:
        if stages[-1] and _smaller(before, unit.outputs):
            moved: list[Unit] = []
            while len(stages[-1]) > 1 and all(box.kind == "small" for box in stages[-1][-1].boxes):
                moved.insert(0, stages[-1].pop())  # a normalisation belongs to what it prepares
            stages.append(moved)
        stages[-1].append(unit)
        before = unit.outputs
    return stages


def _smaller(before: Shape, after: Shape) -> bool:
    if len(before) != len(after):
        return len(before) > len(after)
    return any(a is not None and b is not None and 1.5 * b <= a for a, b in zip(before[:-1], after[:-1], strict=True))


def _runs(units: Sequence[Unit], longest: int = 6) -> Iterator[Run]:
    """Equal units in a row as one, and so groups of up to `longest` units that repeat."""
    i = 0
    while i < len(units):
        size, count = max(
            ((size, _repeats(units, i, size)) for size in range(1, longest + 1)),
            key=lambda found: (found[0] * found[1] if found[1] > 1 else 1, -found[0]),
        )
        size = size if count > 1 else 1
        taken = units[i : i + size * count]
        shapes = tuple(unit.outputs for unit in taken[size - 1 :: size])
        yield Run(tuple(taken[:size]), count, shapes, tuple(box for unit in taken for box in unit.boxes))
        i += size * count


def _repeats(units: Sequence[Unit], start: int, size: int) -> int:
    pattern = units[start : start + size]
    count = 1
    while len(pattern) == size and units[start + size * count : start + size * (count + 1)] == pattern:
        count += 1
    return count


def _costs(drawn: Iterator[Box]) -> tuple[int, int | None]:
    """Trained parameters, and multiply-accumulates; a layer that is called twice has its weights once."""
    layers = {id(layer): layer for box in drawn for layer in box.layers if isinstance(layer, keras.Layer)}
    flat = [part for layer in layers.values() for part in all_layers(layer)]
    weights = {id(weight): weight for layer in layers.values() for weight in trained_weights(layer)}
    parameters = sum(math.prod(weight.shape) for weight in weights.values())
    try:
        return parameters, sum(layer_macs(layer) for layer in flat)
    except (ValueError, AttributeError):  # a side of None; a layer that is called twice has no one output
        return parameters, None
