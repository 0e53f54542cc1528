"""The bridge to tensorflow-model-optimization: pruning, clustering and quantization-aware training on arrays.

It knows only the older Keras of tf_keras, and importing it turns `tf.keras` into that for the whole process. So a
Keras 3 model is described as plain data, rebuilt layer by layer in a process of its own, trained there, and its weights
come back by name. Both directions are checked: the rebuilt model has to answer like the first one, and the first one,
with the weights that come back, like the trained one.

What it keeps is not what one may expect: its quantization-aware training that preserves sparsity or clusters forgets
them for layers that feed a Concatenate, which are all expand layers of a SqueezeNet, and says nothing. `pruning`,
`clustering` and `structure` work on Keras 3 and keep zeros and shared values.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError, RequestError
from kerascnn.keras_graph import nodes_before

if TYPE_CHECKING:
    import keras

# operation: its options, and those that it needs
OPERATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "prune": (("sparsity", "start", "end"), ("sparsity",)),
    "cluster": (("clusters", "keep_zeros"), ("clusters",)),
    "quantize": (("preserve_sparsity", "preserve_clusters"), ()),
}
TOLERANCE = 1e-6  # of the largest output
PROBES = 4

# Keras 3 layer class: arguments that tf_keras takes under the same name. `name` and `trainable` come on top.
_CONV = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "activation")
_POOL = ("pool_size", "strides", "padding", "data_format")
LAYERS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "Average": (),
    "AveragePooling2D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": (*_CONV, "use_bias"),
    "Dense": ("units", "activation", "use_bias"),
    "DepthwiseConv2D": (
        *("kernel_size", "strides", "padding", "depth_multiplier", "data_format"),
        *("dilation_rate", "activation", "use_bias"),
    ),
    "Dropout": ("rate",),
    "Flatten": ("data_format",),
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GlobalMaxPooling2D": ("data_format", "keepdims"),
    "MaxPooling2D": _POOL,
    "Multiply": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "SeparableConv2D": (*_CONV[:6], "depth_multiplier", "activation", "use_bias"),
    "Softmax": ("axis",),
    "ZeroPadding2D": ("padding", "data_format"),
}
ACTIVATIONS = ("linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "elu", "selu", "softplus", "silu", "gelu")
# tensorflow-model-optimization has no quantized form of them.
UNQUANTIZED = ("Average", "Multiply", "Rescaling", "SeparableConv2D")
_DROPPED = ("seed_generator_state",)  # variables that tf_keras has not, and that say nothing of the network


def run(
    model: keras.Model,
    operation: str,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    *,
    options: dict[str, Any] | None = None,
    epochs: int = 1,
    batch: int = 32,
    learning_rate: float = 1e-3,
    timeout: float | None = None,
) -> dict[str, np.ndarray]:
    """Train a rebuilt copy of `model` with tensorflow-model-optimization; `model` stays as it is.

    Args:
        model: the network.
        operation: "prune", "cluster", "quantize" (quantization-aware training), or "none" (there and back only).
        images: float32 [n, H, W, C], as the model takes them.
        labels: n class indices.
        options: prune: `sparsity`, `start` (0: at once), and `end`, the step at which a polynomial schedule reaches it
            (without: constant). cluster: `clusters`, `keep_zeros`. quantize: `preserve_sparsity`,
            `preserve_clusters`.
        epochs: how often the images are passed.
        batch: images a step.
        learning_rate: Adam's.
        timeout: seconds after which the process is ended.

    Returns:
        The weights by "layer/variable"; `load` puts them into a model of the same layers.

    Raises:
        RequestError: the model holds something that cannot be carried, or the arguments do not fit.
        ExportError: the process failed, or one of the directions is not exact.
    """
    _check_options(operation, options or {})
    missing = [name for name in ("tensorflow_model_optimization", "tf_keras") if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(f"{', '.join(missing)} is not installed: pip install 'kerascnn[compression]'.")
    if operation != "none" and (images is None or labels is None or len(images) != len(labels) or not len(images)):
        raise RequestError(f"To {operation}, training images are needed, and one label for each.")
    described = describe(model)
    if operation == "quantize":
        _check_quantized(described)
    probes = _probes(model)
    task = {
        "model": described,
        "operation": operation,
        "options": options or {},
        "training": {"epochs": epochs, "batch": batch, "learning_rate": learning_rate},
    }
    arrays = {f"weight:{name}": value for name, value in weights_of(model).items()}
    arrays |= {"probes": probes}
    if images is not None and labels is not None:
        arrays |= {"images": np.asarray(images, np.float32), "labels": np.asarray(labels)}
    answers = _in_process(task, arrays, timeout)
    _check_equal(_answer(model, probes), answers["before"], "rebuilt in tf_keras")
    weights = {name.removeprefix("weight:"): value for name, value in answers.items() if name.startswith("weight:")}
    _check_equal(_answer(_with_weights(model, weights), probes), answers["after"], "with the weights that came back")
    return weights


def _probes(model: keras.Model) -> np.ndarray:
    """Return inputs on which the model and its copy are compared."""
    size = (PROBES, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).normal(size=size).astype(np.float32)


def _with_weights(model: keras.Model, weights: dict[str, np.ndarray]) -> keras.Model:
    import keras

    back = keras.models.clone_model(model)
    load(back, weights)
    return back


def _check_options(operation: str, options: dict[str, Any]) -> None:
    if operation not in OPERATIONS:
        raise RequestError(f"There is no operation {operation!r}; choose from {', '.join(OPERATIONS)}.")
    known, needed = OPERATIONS[operation]
    for name in options:
        if name not in known:
            raise RequestError(f"{operation} has no option {name!r}; it has {', '.join(known) or 'none'}.")
    for name in needed:
        if name not in options:
            raise RequestError(f"To {operation}, {name} is needed: options={{{name!r}: ...}}.")
    if operation == "prune":
        sparsity, start, end = options["sparsity"], options.get("start", 0), options.get("end")
        if not 0 <= sparsity < 1:
            raise RequestError(f"A sparsity is 0 to less than 1, the share of zeros; it is {sparsity}.")
        if start < 0 or (end is not None and end <= start):
            raise RequestError(f"Pruning goes from step {start} to step {end}: start is 0 or more, and end after it.")
    elif operation == "cluster" and not 2 <= options["clusters"] <= 256:
        raise RequestError(f"Layers share 2 to 256 values; {options['clusters']} clusters were asked for.")


def _check_quantized(described: dict[str, Any]) -> None:
    for step in described["steps"]:
        if step["class"] in UNQUANTIZED:
            raise RequestError(
                f"The layer {step['layer']!r} is a {step['class']}, for which tensorflow-model-optimization has no "
                "quantization-aware training."
            )


def describe(model: keras.Model) -> dict[str, Any]:
    """A functional model as plain data: layers in order, their arguments, and the tensors that they take.

    Raises:
        RequestError: it holds something that tf_keras cannot be trusted to compute the same way; the message names it.
    """
    import keras

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise RequestError(f"Model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs.")
    names: dict[int, str] = {}
    steps: list[dict[str, Any]] = []
    for node in nodes_before(model.outputs):
        layer = node.operation
        if isinstance(layer, keras.layers.InputLayer):
            names[id(node.output_tensors[0])] = "input"
            continue
        config = _checked_config(layer, node)
        named = f"tensor{len(steps)}"
        steps.append(
            {
                "class": type(layer).__name__,
                "layer": layer.name,
                "config": config,
                "inputs": [names[id(tensor)] for tensor in node.input_tensors],
                "many": isinstance(node.arguments.args[0], list | tuple),
                "output": named,
            }
        )
        names[id(node.output_tensors[0])] = named
    return {"shape": list(model.inputs[0].shape[1:]), "steps": steps, "output": names[id(model.outputs[0])]}


def _checked_config(layer: Any, node: Any) -> dict[str, Any]:
    import keras

    kind, name = type(layer).__name__, getattr(layer, "name", "?")
    if isinstance(layer, keras.Model):
        raise RequestError(f"{name!r} is a model within the model, which cannot be carried to tf_keras.")
    if not isinstance(layer, keras.layers.Layer):
        raise RequestError(f"The operation {kind} ({name!r}) is not a layer, and cannot be carried to tf_keras.")
    if kind not in LAYERS or type(layer) is not getattr(keras.layers, kind):
        raise RequestError(f"The layer {name!r} is a {kind}, which cannot be carried to tf_keras.")
    if layer.dtype_policy.name != "float32":
        raise RequestError(f"The layer {name!r} is in {layer.dtype_policy.name}; only float32 can be carried.")
    arguments = node.arguments
    called = {key: value for key, value in arguments.kwargs.items() if value is not None}
    if kind == "Dropout" and called.get("training") is False:  # its own default
        del called["training"]
    if len(arguments.args) != 1 or called:
        raise RequestError(f"The layer {name!r} is called with more than a tensor, which cannot be carried.")
    given = layer.get_config()
    config = {key: given[key] for key in LAYERS[kind]} | {"name": name, "trainable": layer.trainable}
    activation = config.get("activation")
    if activation is not None and activation not in ACTIVATIONS:
        raise RequestError(f"The layer {name!r} has the activation {activation!r}, which tf_keras may not have.")
    return config


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model by "layer/variable"."""
    weights = {}
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name not in _DROPPED:
                weights[f"{layer.name}/{variable.name}"] = np.asarray(variable)
    return weights


def load(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Put weights into a model by name.

    Raises:
        ExportError: names or shapes differ.
    """
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
        if variable.name not in _DROPPED
    }
    if variables.keys() != weights.keys():
        odd = sorted(variables.keys() ^ weights.keys())
        raise ExportError(f"The weights do not belong to {model.name!r}: {', '.join(odd[:5])}.")
    for name, variable in variables.items():
        if tuple(variable.shape) != weights[name].shape:
            raise ExportError(f"{name} has the shape {weights[name].shape}; {tuple(variable.shape)} was expected.")
        variable.assign(weights[name])


def _answer(model: keras.Model, images: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(model(images, training=False))


def _check_equal(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    error = float(np.abs(ours - theirs).max() / max(float(np.abs(ours).max()), 1e-30))
    if not error <= TOLERANCE:  # NaN too
        raise ExportError(
            f"The model {what} answers differently, by {error:.2g} of the largest output; {TOLERANCE:g} is allowed."
        )


def _in_process(task: dict[str, Any], arrays: dict[str, np.ndarray], timeout: float | None) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory(prefix="kerascnn-") as folder:
        given, answered = Path(folder) / "given.npz", Path(folder) / "answered.npz"
        np.savez(given, task=np.asarray(json.dumps(task)), **arrays)  # type: ignore[arg-type]
        command = [sys.executable, str(Path(__file__).with_name("keras2_worker.py")), str(given), str(answered)]
        # The worker imports nothing of ours; its own folder, first on its path, must not hide other modules.
        environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONSAFEPATH": "1"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"tensorflow-model-optimization did not end within {timeout:g} s.") from error
        if done.returncode or not answered.exists():
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ExportError(f"tensorflow-model-optimization could not {task['operation']} the model: {last[:500]}")
        with np.load(answered, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
