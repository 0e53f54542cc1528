"""How much memory a version takes: its weights once, and the activations of the largest batch.

An estimate from the shapes in the graph: every tensor lives, in float32, from the operator that makes it to the last
one that reads it. A server takes more, which no graph tells: workspaces of the convolution kernels, and on a GPU a few
hundred MB for the driver's context. While one version replaces another, both are loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """Bytes of the weights, and of the activations of one image at the widest point of the network."""

    weights: int
    activations: int

    def total(self, batch: int) -> int:
        """Return the bytes with `batch` images in the network at once."""
        return self.weights + batch * self.activations


def estimate_memory(folder: Path, graphs: Iterable[GraphDef]) -> Memory:
    """Estimate the memory of the SavedModel in `folder`, which holds `graphs`."""
    weights = sum(file.stat().st_size for file in folder.glob("variables/variables.data-*"))
    peaks = [_peak(function) for graph in graphs for function in graph.library.function]
    return Memory(weights, max(peaks, default=0))


def _peak(function: FunctionDef) -> int:
    """Return the most bytes an image that are alive at once in a function, whose nodes come in the order they run."""
    sizes = {node.name: _size(node) for node in function.node_def}
    last_reader = {name: number for number, node in enumerate(function.node_def) for name in _inputs(node)}
    alive = peak = 0
    for number, node in enumerate(function.node_def):
        alive += sizes[node.name]
        peak = max(peak, alive)
        alive -= sum(sizes.get(name, 0) for name in _inputs(node) if last_reader[name] == number)
    return peak


def _inputs(node: NodeDef) -> set[str]:
    return {name.partition(":")[0] for name in node.input if not name.startswith("^")}


def _size(node: NodeDef) -> int:
    """Return the bytes an image of a node's outputs. Only tensors whose first dimension is the open batch count."""
    total = 0
    for shape in node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ():
        sides = [dim.size for dim in shape.dim]
        if len(sides) > 1 and sides[0] == -1 and min(sides[1:]) > 0 and node.op != "Identity":
            total += _BYTES * math.prod(sides[1:])
    return total
