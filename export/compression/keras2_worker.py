"""What `keras2` runs in a process of its own: rebuild the model in tf_keras, train it, write its weights.

python keras2_worker.py GIVEN.npz ANSWERED.npz
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

PREFIXES = ("prune_low_magnitude_", "cluster_", "quant_")
# Keras 3 calls it kernel.
KERNEL = {"DepthwiseConv2D": "depthwise_kernel"}


def rebuild(described: dict[str, Any]) -> Any:
    """The functional tf_keras model."""
    start = tf_keras.Input(described["shape"])
    tensors = {"input": start}
    layers: dict[str, Any] = {}
    for step in described["steps"]:
        if step["layer"] not in layers:
            layers[step["layer"]] = getattr(tf_keras.layers, step["class"])(**step["config"])
        inputs = [tensors[name] for name in step["inputs"]]
        tensors[step["output"]] = layers[step["layer"]](inputs if step["many"] else inputs[0])
    return tf_keras.Model(start, tensors[described["output"]])


def variables(model: Any) -> dict[str, Any]:
    """The variables by "layer/variable", as Keras 3 calls them."""
    variables_by_name = {}
    for layer in model.layers:
        for variable in layer.weights:
            own = variable.name.split("/")[-1].removesuffix(":0")
            if own == KERNEL.get(type(layer).__name__):
                own = "kernel"
            variables_by_name[f"{layer.name}/{own}"] = variable
    return variables_by_name


def prepared(model: Any, operation: str, options: dict[str, Any]) -> Any:
    """The model with the wrappers that train it for `operation`."""
    if operation == "prune":
        pruning = tfmot.sparsity.keras
        target, start, end = options["sparsity"], options.get("start", 0), options.get("end")
        schedule = (
            pruning.ConstantSparsity(target, begin_step=start, frequency=1)
            if end is None
            else pruning.PolynomialDecay(0.0, target, begin_step=start, end_step=end, frequency=1)
        )
        wrap: Callable[[Any], Any] = partial(pruning.prune_low_magnitude, pruning_schedule=schedule)
    elif operation == "cluster":
        clustering = tfmot.clustering.keras
        if options.get("keep_zeros"):
            from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster as experimental

            function, more = experimental.cluster_weights, {"preserve_sparsity": True}
        else:
            function, more = clustering.cluster_weights, {}
        first = clustering.CentroidInitialization.KMEANS_PLUS_PLUS
        wrap = partial(function, number_of_clusters=options["clusters"], cluster_centroids_init=first, **more)
    else:
        return quantized(model, options.get("preserve_sparsity", False), options.get("preserve_clusters", False))
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    return tf_keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            wrap(layer)
            if isinstance(layer, kinds) and not isinstance(layer, tf_keras.layers.DepthwiseConv2D)
            else layer
        ),
    )


def quantized(model: Any, zeros: bool, clusters: bool) -> Any:
    """Wrap a model for quantization-aware training that keeps its zeros or its shared values."""
    quantization = tfmot.quantization.keras
    if not zeros and not clusters:
        return quantization.quantize_model(model)
    options = "tensorflow_model_optimization.python.core.quantization.keras.collab_opts"
    if clusters:
        module = import_module(f"{options}.cluster_preserve.default_8bit_cluster_preserve_quantize_scheme")
        scheme = module.Default8BitClusterPreserveQuantizeScheme(zeros)
    else:
        module = import_module(f"{options}.prune_preserve.default_8bit_prune_preserve_quantize_scheme")
        scheme = module.Default8BitPrunePreserveQuantizeScheme()
    return quantization.quantize_apply(quantization.quantize_annotate_model(model), scheme)


def train(model: Any, given: Any, training: dict[str, Any], pruning: bool) -> None:
    """Train a wrapped model with Adam."""
    optimizer = tf_keras.optimizers.legacy.Adam(training["learning_rate"])
    last = getattr(model.layers[-1], "activation", None)
    ends_in_softmax = getattr(last, "__name__", "") == "softmax" or "Softmax" in type(model.layers[-1]).__name__
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax)
    model.compile(optimizer, loss)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()] if pruning else []
    options = {"batch_size": training["batch"], "epochs": training["epochs"], "verbose": 0, "callbacks": callbacks}
    model.fit(given["images"], given["labels"], **options)


def returned(trained: Any, model: Any, operation: str) -> Any:
    """`model` with the trained weights."""
    if operation == "prune":
        return tfmot.sparsity.keras.strip_pruning(trained)
    if operation == "cluster":
        return tfmot.clustering.keras.strip_clustering(trained)
    values = {}
    for layer in trained.layers:
        name = layer.name
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        for variable in layer.weights:
            own = variable.name.split("/")[-1].removesuffix(":0")
            values[f"{name}/{'kernel' if own == 'depthwise_kernel' else own}"] = variable
    for name, variable in variables(model).items():
        variable.assign(values[name])
    return model


def main(given_path: str, answered_path: str) -> None:
    """Read the task from one file, carry it out, and write the weights to the other."""
    given = np.load(given_path, allow_pickle=False)
    task = json.loads(str(given["task"]))
    model = rebuild(task["model"])
    weights = {name.removeprefix("weight:"): given[name] for name in given.files if name.startswith("weight:")}
    own = variables(model)
    if own.keys() != weights.keys():
        raise ValueError(f"the weights do not match: {sorted(own.keys() ^ weights.keys())[:5]}")
    for name, variable in own.items():
        variable.assign(weights[name])
    answers = {"before": model(given["probes"], training=False).numpy()}
    if task["operation"] != "none":
        trained = prepared(model, task["operation"], task["options"])
        train(trained, given, task["training"], pruning=task["operation"] == "prune")
        model = returned(trained, model, task["operation"])
    answers["after"] = model(given["probes"], training=False).numpy()
    answers |= {f"weight:{name}": variable.numpy() for name, variable in variables(model).items()}
    np.savez(answered_path, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
