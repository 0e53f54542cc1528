"""Memory of activations: what a forward pass needs at its worst moment, and what training keeps for the gradients."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from keras import layers

from kerascnn.analysis.calls import Call, Graph
from kerascnn.analysis.costs import is_known, is_view, works_in_place

STATES = 60_000  # limit of the search for the best order; the widest network on record needs a tenth of it


@dataclass(frozen=True)
class Peak:
    """The most elements that are in memory at once during a forward pass for one image.

    Attributes:
        elements: The number of elements of activations, including the image.
        at: Name of the call during which it is reached.
        order: Names of the calls in the order in which they run.
        optimal: Whether no other order needs less.
    """

    elements: int
    at: str
    order: tuple[str, ...]
    optimal: bool


_Link: TypeAlias = "tuple[_Link, int] | None"  # calls that have run: those before, and the last one


@dataclass(frozen=True)
class _Buffers:
    """Pieces of memory for the tensors; a call that works in place shares its input's.

    Attributes:
        sizes: Elements of each buffer.
        born: Buffers that each call makes.
        reads: Buffers that each call uses.
        readers: Bits of the calls that use each buffer.
        after: Bits of the calls that must be done before each call.
    """

    sizes: Sequence[int]
    born: Sequence[tuple[int, ...]]
    reads: Sequence[frozenset[int]]
    readers: Sequence[int]
    after: Sequence[int]


def peak_memory(graph: Graph, *, best: bool = True, keep_inputs: bool = True) -> Peak:
    """Find the peak of an ideal runtime, which frees each tensor as soon as its last reader has run.

    Activations and batch normalization are written over their input if nothing else reads it, and reshapes and dropout
    cost nothing, because runtimes fuse them. The model's outputs stay. Scratch space of a convolution is not counted.
    Where TFLite fuses as much, its plan is equal to the byte.

    Args:
        graph: The calls.
        best: Whether to search all orders of the calls for the least peak (it matters which branch runs first);
            otherwise they run in the order of `graph`, branch by branch as the network was built.
        keep_inputs: Whether the image stays too, because it belongs to the caller; otherwise it is freed like a map.
    """
    buffers = _buffers(graph, graph.outputs + (graph.inputs if keep_inputs else ()))
    searched = _search(graph, buffers) if best else None
    order = searched if searched is not None else list(range(len(graph.calls)))
    elements, at = _replay(graph, buffers, order)
    return Peak(elements, graph.calls[at].name, tuple(graph.calls[i].name for i in order), searched is not None)


def _buffers(graph: Graph, kept: Sequence[int]) -> _Buffers:
    uses = [0] * len(graph.shapes)
    for call in graph.calls:
        for tensor in set(call.inputs):
            uses[tensor] += 1
    for tensor in kept:
        uses[tensor] += 1
    of, exclusive = [-1] * len(graph.shapes), [True] * len(graph.shapes)
    sizes: list[int] = []
    maker = [0] * len(graph.shapes)
    born, reads, after = [], [], []
    for i, call in enumerate(graph.calls):
        created = []
        source = call.inputs[0] if len(set(call.inputs)) == 1 else None
        alone = source is not None and uses[source] == 1 and exclusive[source]
        for output in call.outputs:
            maker[output] = i
            size = graph.elements(output)
            shared = is_view(call.operation) or (alone and works_in_place(call.operation))
            if source is not None and shared and sizes[of[source]] == size:
                of[output], exclusive[output] = of[source], alone
            else:
                of[output] = len(sizes)
                sizes.append(size)
                created.append(of[output])
        born.append(tuple(created))
        reads.append(frozenset(of[tensor] for tensor in (*call.inputs, *call.outputs)))
        after.append(sum({1 << maker[tensor] for tensor in call.inputs}))
    readers = [0] * len(sizes)
    for i, used in enumerate(reads):
        for buffer in used:
            readers[buffer] |= 1 << i
    for tensor in kept:
        readers[of[tensor]] |= 1 << len(graph.calls)  # a call that never runs
    return _Buffers(sizes, born, reads, readers, after)


def _replay(graph: Graph, buffers: _Buffers, order: Sequence[int]) -> tuple[int, int]:
    """Return the peak of one order, and the call during which it is reached."""
    live = done = peak = at = 0
    for i in order:
        live += sum(buffers.sizes[buffer] for buffer in buffers.born[i])
        if live > peak:
            peak, at = live, i
        done |= 1 << i
        live -= _freed(buffers, i, done)
    return peak, at


def _freed(buffers: _Buffers, call: int, done: int) -> int:
    return sum(buffers.sizes[buffer] for buffer in buffers.reads[call] if not buffers.readers[buffer] & ~done)


def _search(graph: Graph, buffers: _Buffers) -> list[int] | None:
    """Find the order with the least peak: a shortest path over the sets of calls that are done; its length is the peak.

    Returns:
        None if there are too many such sets.
    """
    total = len(graph.calls)
    children: list[list[int]] = [[] for _ in range(total)]
    for i, mask in enumerate(buffers.after):
        while mask:
            children[(mask & -mask).bit_length() - 1].append(i)
            mask &= mask - 1
    costs = [sum(buffers.sizes[buffer] for buffer in created) for created in buffers.born]
    start = tuple(i for i in range(total) if not buffers.after[i])
    tie = count()
    # (peak so far, calls left, tie, done, live, ready, (previous link, calls run))
    queue: list[tuple[int, int, int, int, int, tuple[int, ...], _Link]] = [(0, total, next(tie), 0, 0, start, None)]
    closed: set[int] = set()
    while queue:
        peak, left, _, done, live, ready, link = heapq.heappop(queue)
        if not left:
            return _unwind(link)
        if done in closed:
            continue
        closed.add(done)
        if len(closed) > STATES:
            return None
        steps = [(i, costs[i], _freed(buffers, i, done | 1 << i)) for i in ready]
        # It is best to run at once what frees as much as it takes and stays below the peak so far.
        steps = next(([step] for step in steps if step[1] <= step[2] and live + step[1] <= peak), steps)
        for i, cost, freed in steps:
            now = done | 1 << i
            if now not in closed:
                enabled = tuple(child for child in children[i] if not buffers.after[child] & ~now)
                later = (*(j for j in ready if j != i), *enabled)
                after = live + cost - freed
                heapq.heappush(queue, (max(peak, live + cost), left - 1, -next(tie), now, after, later, (link, i)))
    return None


def _unwind(link: _Link) -> list[int]:
    order = []
    while link is not None:
        link, i = link
        order.append(i)
    return order[::-1]


def kept_for_training(graph: Graph) -> int:
    """Count the elements that the backward pass of one image reads again: a lower bound that ideal runtimes reach.

    Layers with weights, normalization, products and max pooling need their input, activations and max pooling their
    output, dropout its mask; sums, padding and average pooling need nothing. Layers that are not known keep both.
    """
    shown = _views(graph)
    return sum(map(graph.elements, {shown[tensor] for call in graph.calls for tensor in _kept(call)}))


def _views(graph: Graph) -> list[int]:
    """Return for each tensor the one that it shows in another shape, or itself. In training dropout is not a view."""
    shown = list(range(len(graph.shapes)))
    for call in graph.calls:
        if is_view(call.operation) and "Dropout" not in type(call.operation).__name__:
            for output in call.outputs:
                shown[output] = shown[call.inputs[0]]
    return shown


def _kept(call: Call) -> set[int]:
    operation, name = call.operation, type(call.operation).__name__
    if not call.inputs or is_view(operation):
        return set(call.outputs) if "Dropout" in name else set()
    if not is_known(operation) or isinstance(operation, layers.MaxPooling2D | layers.GlobalMaxPooling2D):
        return {*call.inputs, *call.outputs}
    kept = set(call.inputs) if _reads_input(operation) else set()
    activation = getattr(getattr(operation, "activation", None), "__name__", "linear")
    if activation != "linear" or name in ("ReLU", "Relu", "Softmax", "Sigmoid", "Tanh", "ELU", "LeakyReLU"):
        kept |= set(call.outputs)
    return kept


def _reads_input(operation: object) -> bool:
    """Return whether the gradient of a known layer needs its input: it has weights, multiplies or normalizes."""
    if isinstance(operation, layers.Layer) and operation.weights:
        return True
    return type(operation).__name__ in ("Multiply", "Divide", "Power", "LocalResponseNormalization", "PhotoPreparation")
