"""Compute what the layers of a frozen graph see when it runs on calibration images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.tracing.grappler import without_fusion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import tensorflow as tf

    from export.tracing.freezing import FrozenGraph

    Runner = Callable[[np.ndarray], dict[str, np.ndarray]]

BATCH = 4  # the activations of a VGG take 60 MB an image


def runner(frozen: FrozenGraph, input_name: str, names: Sequence[str], largest: Sequence[str] = ()) -> Runner:
    """Return a function from float32 images [n, H, W, C] to what nodes of a graph make of them.

    Args:
        frozen: The graph.
        input_name: Its input.
        names: Nodes whose outputs are wanted, by name.
        largest: Nodes whose largest value [n, channels] of each image and channel is wanted, by `largest_of(name)`.
    """
    import tensorflow as tf

    def call(images: tf.Tensor) -> list[tf.Tensor]:
        fed = {f"{name}:0": tf.constant(value) for name, value in frozen.kernels.items()} | {f"{input_name}:0": images}
        wanted = [f"{name}:0" for name in (*names, *largest)]
        values = tf.import_graph_def(frozen.graph_def, fed, wanted, name="")
        tops = [tf.reduce_max(value, axis=range(1, len(value.shape) - 1)) for value in values[len(names) :]]
        return [*values[: len(names)], *tops]

    keys = [*names, *map(largest_of, largest)]
    function = tf.function(call, autograph=False, input_signature=[tf.TensorSpec(None, tf.float32)])

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            values = function(tf.constant(images))
        except tf.errors.UnimplementedError:  # a grouped convolution that was fused with its bias
            with without_fusion():
                values = function(tf.constant(images))
        # Views of what TensorFlow holds: a copy of every activation would take a tenth of the time.
        return {name: np.asarray(memoryview(value)) for name, value in zip(keys, values, strict=True)}

    return run


def largest_of(name: str) -> str:
    """Return the name under which a runner gives the largest values of a node."""
    return f"{name}/largest"


def batches(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield `images` in batches whose activations fit in memory."""
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def transposes(node: tf.compat.v1.NodeDef) -> bool:
    """Say whether a layer reads its inputs in another order: a transposed matrix, or channels before rows."""
    if node.op == "MatMul":
        return bool(node.attr["transpose_a"].b or node.attr["transpose_b"].b)
    return bool(node.attr["data_format"].s == b"NCHW")
