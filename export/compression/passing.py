"""Pass photos through a network piece by piece, while the weights of what follows may still change.

What the network has made of the photos up to one place is kept, so that the next piece starts there and not at the
network's input. Where that would take too much memory, the next piece starts at the last place that was kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kerascnn.keras_graph import nodes_before, run_from

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

KEPT_BYTES = 1 << 30  # of the photos at one place, in all networks together


class Passage:
    """The same photos on their way through networks of the same layers.

    Args:
        models: functional models.
        images: float32 [n, height, width, channels], as the models take them.
    """

    def __init__(self, models: tuple[keras.Model, ...], images: np.ndarray):
        self._nodes = [list(nodes_before(model.outputs)) for model in models]
        self._images = images
        self._places = [list(model.inputs) for model in models]
        self._kept: list[list[list[Any]]] = []  # by photo, model and tensor; empty: the images
        names = [node.operation.name for node in self._nodes[0]]
        self._positions = {name: number for number, name in reversed(list(enumerate(names)))}

    def position(self, layer: keras.Layer) -> int:
        """Return where a layer comes for the first time: `inputs` takes layers in this order."""
        return self._positions[layer.name]

    def inputs(self, layer: keras.Layer) -> Iterator[list[np.ndarray]]:
        """Yield, for each photo, what a layer receives in each network, with the weights as they are now.

        Args:
            layer: of the first network. The weights of those before it must not change any more.
        """
        import tensorflow as tf

        start = self.position(layer)
        places = [_crossing(nodes, start) for nodes in self._nodes]
        wanted = [id(nodes[start].input_tensors[0]) for nodes in self._nodes]
        sources = [[id(tensor) for tensor in tensors] for tensors in self._places]

        @tf.function(autograph=False)
        def run(values: list[list[tf.Tensor]]) -> list[list[tf.Tensor]]:
            known = (dict(zip(ids, of, strict=True)) for ids, of in zip(sources, values, strict=True))
            return [run_from(*pair) for pair in zip(known, places, strict=True)]

        fits = True
        for number, image in enumerate(self._images):
            begun = number < len(self._kept)
            found = run(self._kept[number] if begun else [[tf.constant(image[None])] for _ in places])
            if not number:
                each = sum(value.dtype.size * int(np.prod(value.shape)) for values in found for value in values)
                fits = each * len(self._images) <= KEPT_BYTES
            if fits:
                self._kept[number : number + 1] = [found]  # at once: memory for one place, not for two
            yield [
                values[[id(tensor) for tensor in tensors].index(key)].numpy()
                for values, tensors, key in zip(found, places, wanted, strict=True)
            ]
        if fits:
            self._places = places


def _crossing(nodes: list[Any], start: int) -> list[KerasTensor]:
    """Return the tensors that the first `start` calls make and later ones read."""
    made = {id(tensor) for node in nodes[:start] for tensor in node.output_tensors}
    read = {id(tensor): tensor for node in nodes[start:] for tensor in node.input_tensors}
    return [tensor for key, tensor in read.items() if key in made]
