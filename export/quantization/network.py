"""A frozen graph whose kernels and biases can be replaced from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from export.quantization.observation import layers_of
from export.tracing.freezing import copy_of

if TYPE_CHECKING:
    from export.tracing.freezing import FrozenGraph


class Network:
    """A frozen graph whose kernels and biases can be replaced from run to run.

    Attributes:
        frozen: The graph.
        layers: The operation of each kernel that can be quantized, by kernel, in the order of computation.
        biases: The name of the constant that is added to what a kernel gives, by kernel.
        logits: The node whose output the probabilities are made of.
    """

    def __init__(self, frozen: FrozenGraph, input_name: str):
        import tensorflow as tf

        self.frozen, self.input_name = frozen, input_name
        order = {node.name: place for place, node in enumerate(frozen.graph_def.node)}
        self.layers = dict(sorted(layers_of(frozen).items(), key=lambda item: order[item[1].name]))
        constants = {node.name: node for node in frozen.graph_def.node if node.op == "Const"}
        self.biases = {
            kernel: reader.input[1]
            for kernel, node in self.layers.items()
            for reader, place in frozen.readers.get(node.name, ())
            if reader.op in ("BiasAdd", "AddV2") and place == 0 and reader.input[1] in constants
        }
        self.values = dict(frozen.kernels) | {
            name: tf.make_ndarray(constants[name].attr["value"].tensor) for name in self.biases.values()
        }
        softmax = [node.input[0] for node in frozen.graph_def.node if node.op == "Softmax"]
        self.logits = softmax[-1] if softmax else frozen.graph_def.node[-1].name
        self._functions: dict[str, Any] = {}

    def run(self, images: np.ndarray, node: str, changed: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the output of a node, with some kernels and biases replaced."""
        import tensorflow as tf

        if node == self.input_name:
            return images
        if node not in self._functions:

            def call(images: Any, values: dict[str, Any]) -> Any:
                fed = {f"{name}:0": value for name, value in values.items()} | {f"{self.input_name}:0": images}
                return tf.import_graph_def(self.frozen.graph_def, fed, [f"{node}:0"], name="")[0]

            self._functions[node] = tf.function(call, autograph=False, reduce_retracing=True)
        values = {name: tf.constant(value) for name, value in (self.values | dict(changed)).items()}
        return np.asarray(self._functions[node](tf.constant(images), values))

    def with_values(self, changed: Mapping[str, np.ndarray]) -> FrozenGraph:
        """Return the graph with some kernels and biases replaced."""
        import tensorflow as tf

        graph_def = copy_of(self.frozen.graph_def)
        for node in graph_def.node:
            if node.op == "Const" and node.name in changed:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(changed[node.name]))
        kernels = {name: changed.get(name, kernel) for name, kernel in self.frozen.kernels.items()}
        return replace(self.frozen, graph_def=graph_def, kernels=kernels)
