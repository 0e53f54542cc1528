"""Pass images through a frozen graph piece by piece, while the kernels of what follows may still change.

What the graph makes of the images up to one place is kept, so that the next piece starts there and not at the input.
Where that would take too much memory, the next piece starts at the last place that was kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from export.tracing.activations import batches
from export.tracing.freezing import copy_of

if TYPE_CHECKING:
    from export.quantization.network import Network

KEPT_BYTES = 1 << 30  # of all images at one place: ResNet-50's from the second stage on


class Passage:
    """Images on their way through a network.

    Args:
        network: The network.
        images: float32 [n, height, width, channels], as it takes them.
        changed: Kernels and biases that replace its own, by name. More may come in, of layers not passed yet.
    """

    def __init__(self, network: Network, images: np.ndarray, changed: Mapping[str, np.ndarray]):
        self._network, self._changed = network, changed
        self._graph_def = copy_of(network.frozen.graph_def)
        for node in self._graph_def.node:  # constant folding leaves control inputs, which would run what was passed
            node.input[:] = [name for name in node.input if not name.startswith("^")]
        self._nodes = {node.name: node for node in self._graph_def.node}
        self._images, self.count = images, len(images)
        self._passed = {network.input_name}
        self._places = [network.input_name]
        self._kept: list[list[Any]] = []  # by batch and place; empty: the images

    def inputs(self, source: str) -> Iterator[np.ndarray]:
        """Yield the values of a tensor for each batch of the images, computed with the kernels as they are now.

        Args:
            source: Its name. The kernels of layers before it must not change any more.
        """
        import tensorflow as tf

        piece = self._before(source)
        passed = self._passed | piece
        places = list(dict.fromkeys([source, *self._read_after(passed)]))
        run = self._runner(piece, places)
        fits = True
        for number, batch in enumerate(batches(self._images)):
            found = run(self._kept[number] if number < len(self._kept) else [tf.constant(batch)])
            if not number:
                each = sum(value.dtype.size * int(np.prod(value.shape)) for value in found)
                fits = each * len(self._images) <= KEPT_BYTES * len(batch)
            if fits:
                self._kept[number : number + 1] = [found]  # at once: memory for one place, not for two
            yield np.asarray(memoryview(found[0]))
        if fits:
            self._passed, self._places = passed, places

    def _before(self, source: str) -> set[str]:
        """Return the nodes that were not passed yet and that a tensor is made by, constants among them."""
        found, waiting = set[str](), [_node(source)]
        while waiting:
            name = waiting.pop()
            if name not in found and name not in self._passed:
                found.add(name)
                waiting += map(_node, self._nodes[name].input)
        return found

    def _read_after(self, passed: set[str]) -> list[str]:
        """Return the tensors made of the images by `passed` nodes that later ones read."""
        moving = {self._network.input_name}  # the nodes are in the order of computation
        for name, node in self._nodes.items():
            if any(_node(read) in moving for read in node.input):
                moving.add(name)
        later = (node for name, node in self._nodes.items() if name not in passed)
        return [read for node in later for read in node.input if _node(read) in passed & moving]

    def _runner(self, piece: set[str], places: list[str]) -> Any:
        """Return a function from the tensors at the last place that was kept to those at `places`."""
        import tensorflow as tf

        known = self._network.values | dict(self._changed)
        values = {_tensor(name): value for name, value in known.items() if name in piece}
        before, wanted = [_tensor(name) for name in self._places], [_tensor(name) for name in places]

        @tf.function(autograph=False, reduce_retracing=True)
        def run(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
            fed = {name: tf.constant(value) for name, value in values.items()}
            found = tf.import_graph_def(self._graph_def, fed | dict(zip(before, tensors, strict=True)), wanted, name="")
            return [tf.identity(tensor) for tensor in found]

        return run


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"
