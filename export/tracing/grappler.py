"""Run Grappler, TensorFlow's graph optimizer, to which there is no public way; nothing else here uses TensorFlow's own.

TFLite's converter and tf2onnx each import the same modules for the same purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def optimize(graph_def: tf.compat.v1.GraphDef, ends: list[str], optimizer: str) -> tf.compat.v1.GraphDef:
    """Run one of Grappler's optimizers, keep what the tensors `ends` need, and drop the rest."""
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers[:] = [optimizer]
    options.meta_optimizer_iterations = options.ONE
    options.min_graph_nodes = -1  # small graphs too
    meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    meta_graph.collection_def["train_op"].node_list.value[:] = ends  # where Grappler looks for what must stay
    return tf_optimizer.OptimizeGraph(config, meta_graph)


@contextmanager
def without_fusion() -> Iterator[None]:
    """Keep Grappler from fusing convolutions with what follows them in the functions that run in the block.

    Without oneDNN, which is off on CPUs that have no AVX-512, TensorFlow cannot compute a fused grouped convolution.
    """
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})
