"""The structure of a functional model: layers gathered into boxes, boxes into units, units into stages.

Everything is read from the graph. A tensor that every path goes through cuts the network into units. Equal units in a
row become one unit and a count. A unit that makes the map smaller begins a stage. Names of layers are only labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import keras

from kerascnn.analysis.boxes import Box, boxes, read_graph, total
from kerascnn.analysis.calls import Shape
from kerascnn.keras_graph import has_graph, trained_weights


@dataclass(frozen=True)
class Parallel:
    """Branches from one tensor.

    Attributes:
        branches: In the order of `join`; the empty ones (identity) are last.
        join: Where they meet; None if each ends at the join of the branches around these.
    """

    branches: tuple[Series, ...]
    join: Box | None


Series: TypeAlias = "tuple[Box | Parallel, ...]"


@dataclass(frozen=True)
class Unit:
    """What is between two tensors that every path goes through. Units are equal if their boxes are."""

    items: Series
    outputs: Shape = field(compare=False)
    boxes: tuple[Box, ...] = field(compare=False)


@dataclass(frozen=True)
class Run:
    """Units that repeat.

    Attributes:
        units: The units in a row.
        count: How often they come.
        outputs: Shape after each time.
        boxes: The boxes of all times.
    """

    units: tuple[Unit, ...]
    count: int
    outputs: tuple[Shape, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Stage:
    """Runs on maps of one size. `macs` is None if a side is open."""

    runs: tuple[Run, ...]
    outputs: Shape
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class Outline:
    """A network from its input to its largest output. `others` are the names of the outputs that are left out."""

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
        return total(stage.macs for stage in self.stages)


def outline(model: keras.Model) -> Outline:
    """Find the structure of any functional model. A part that is not made of series and branches becomes one box.

    Raises:
        ValueError: The model has no graph, such as a subclassed one.
    """
    if not has_graph(model):
        raise ValueError(
            f"{getattr(model, 'name', model)!r} has no graph to draw: it is not a functional model. Build it with "
            "keras.Model(inputs, outputs)."
        )
    nodes, others = read_graph(model)
    drawn = boxes(nodes)
    stages = []
    for units in _split(list(_units(drawn)), nodes[0].outputs):
        runs = tuple(_runs(units))
        inside = [box for unit in units for box in unit.boxes]
        macs = total(box.macs for box in inside)
        stages.append(Stage(runs, units[-1].outputs, _parameters(inside), macs))
    return Outline(model.name, tuple(tuple(tensor.shape[1:]) for tensor in model.inputs), tuple(stages), others)


def _units(drawn: Sequence[Box]) -> Iterator[Unit]:
    """Cut boxes into units. They are in topological order, and all paths begin at the first."""
    for start, end in _cuts(drawn, range(len(drawn))):
        inside = tuple(drawn[start + 1 : end + 1])
        yield Unit(_series(drawn, start, range(start + 1, end), end, joined=True), drawn[end].outputs, inside)


def _cuts(drawn: Sequence[Box], order: Sequence[int], direct: bool = True) -> list[tuple[int, int]]:
    """Return neighboring pairs of the boxes in `order` that every path goes through: no edge passes over them.

    Without `direct`, edges from the first to the last do not count.
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
    """Arrange the boxes `inside` between `start` and `end`, and `end` itself if `joined`."""
    if not inside:
        return (drawn[end],) if joined else ()
    components = sorted(_components(drawn, inside), key=lambda c: _entry(drawn, c, end))
    if drawn[end].title != "concat":  # the order of a sum means nothing: the longest branch comes first
        components.sort(key=len, reverse=True)
    branches = [_branch(drawn, start, component, end) for component in components]
    direct = drawn[end].sources.count(start)
    if len(branches) == 1 and not direct:
        # It is neither a chain nor branches side by side, so one box stands for all of it.
        return (_summary(drawn, inside), drawn[end]) if joined else (_summary(drawn, inside),)
    return (Parallel((*branches, *[()] * direct), drawn[end] if joined else None),)


def _branch(drawn: Sequence[Box], start: int, component: Sequence[int], end: int) -> Series:
    """Arrange one branch: between each two of its own cuts there may be branches again."""
    # Positions are topological, so the ends go around the component whatever is between them.
    pairs = _cuts(drawn, [start, *component, end], direct=False)
    items: list[Box | Parallel] = []
    if len(pairs) == 1:
        return (_summary(drawn, component),)
    for i, j in pairs:
        between = [k for k in component if i < k < j]
        items += _series(drawn, i, between, j, joined=j != end)
    return tuple(items)


def _components(drawn: Sequence[Box], inside: Sequence[int]) -> list[list[int]]:
    """Divide `inside` into parts that no edge connects."""
    part = {i: i for i in inside}

    def root(i: int) -> int:
        while part[i] != i:
            i = part[i]
        return i

    for i in inside:
        for source in drawn[i].sources:
            if source in part:
                part[root(i)] = root(source)
    components: dict[int, list[int]] = {}
    for i in inside:
        components.setdefault(root(i), []).append(i)
    return list(components.values())


def _entry(drawn: Sequence[Box], component: Sequence[int], end: int) -> int:
    return min(position for position, source in enumerate(drawn[end].sources) if source in component)


def _summary(drawn: Sequence[Box], inside: Sequence[int]) -> Box:
    titles = [drawn[i].title for i in inside]
    counted = [f"{titles.count(title)} × {title}" for title in dict.fromkeys(titles)]
    layers = tuple(layer for i in inside for layer in drawn[i].layers)
    notes, outputs = (", ".join(counted),), drawn[inside[-1]].outputs
    macs = total(drawn[i].macs for i in inside)
    return Box("other", f"{len(layers)} layers", (), notes, (), outputs, layers, macs)


def _split(units: Sequence[Unit], inputs: Shape) -> list[list[Unit]]:
    """Divide units into stages. Each begins with a unit that makes the map smaller than an unpadded kernel does."""
    stages: list[list[Unit]] = [[]]
    before = inputs
    for unit in units:
        if stages[-1] and _smaller(before, unit.outputs):
            moved: list[Unit] = []
            while len(stages[-1]) > 1 and all(box.kind == "small" for box in stages[-1][-1].boxes):
                moved.insert(0, stages[-1].pop())  # a normalization belongs to what it prepares
            stages.append(moved)
        stages[-1].append(unit)
        before = unit.outputs
    return stages


def _smaller(before: Shape, after: Shape) -> bool:
    if len(before) != len(after):
        return len(before) > len(after)
    return any(a is not None and b is not None and 1.5 * b <= a for a, b in zip(before[:-1], after[:-1], strict=True))


def _runs(units: Sequence[Unit], longest: int = 6) -> Iterator[Run]:
    """Gather equal units in a row, and groups of up to `longest` units that repeat."""
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


def _parameters(drawn: Iterable[Box]) -> int:
    """Count the trained weights; those of a layer that is called twice count once."""
    layers = {id(layer): layer for box in drawn for layer in box.layers if isinstance(layer, keras.Layer)}
    weights = {id(weight): weight for layer in layers.values() for weight in trained_weights(layer)}
    return sum(math.prod(weight.shape) for weight in weights.values())
