"""From a checkpoint's arrays to a Keras model's, layer by layer, exactly.

Kernels are transposed and reshaped; biases before a batch normalisation, other epsilons and missing scales are folded
into its statistics. `fit` changes nothing: it returns what to set, and every reason why it cannot be set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerascnn.keras_graph import consumers, inputs_of, walk_back
from kerascnn.weights.readers import Checkpoint

if TYPE_CHECKING:
    from keras.layers import Layer

Naming = Callable[[Iterable[str]], Mapping[str, str]]

TORCH_EPSILON = 1e-5
_FIELDS = {  # Keras's name of each array: torch's
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass
class Fit:
    """How a checkpoint fits a model: the arrays to set by layer name, and what speaks against it."""

    naming: str = ""
    arrays: dict[str, list[np.ndarray]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    adaptable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def namings(mapping: ModuleType | None, layout: str) -> dict[str, Naming]:
    """The functions of a family's mapping module for one layout of files, by name."""
    own = (
        {
            name: function
            for name, function in vars(mapping).items()
            if callable(function)
            and not name.startswith("_")
            and getattr(function, "__module__", "") == mapping.__name__
        }
        if mapping
        else {}
    )
    if layout == "torch":
        return {name: function for name, function in own.items() if not name.startswith("keras")}
    identity: dict[str, Naming] = {"own": lambda layers: {layer: layer for layer in layers}}
    return identity | {name: function for name, function in own.items() if name.startswith("keras")}


def best_naming(checkpoint: Checkpoint, layers: Sequence[str], candidates: Mapping[str, Naming]) -> str | None:
    """The naming under which the checkpoint has most of the layers; None where it has none of them under any."""
    scores = {
        name: sum(prefix in checkpoint.layers for prefix in naming(layers).values())
        for name, naming in candidates.items()
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] else None


def fit(
    model: keras.Model,
    layers: Sequence[Layer],
    checkpoint: Checkpoint,
    names: Mapping[str, str],
    *,
    epsilon: float | None,
    skip: Iterable[str] = (),
    may_be_left: Sequence[str] = (),
    adapt_stem: bool = False,
) -> Fit:
    """Bring a checkpoint's arrays into the form of the model's layers.

    Args:
        model: the model, whose graph says which normalisation follows which convolution.
        layers: its layers with weights that are to be set.
        checkpoint: the file's arrays.
        names: layer name -> name or key prefix in the checkpoint.
        epsilon: of the checkpoint's batch normalisations where the file does not say it; None for the model's own.
        skip: layers that keep what they have (a new head).
        may_be_left: key prefixes in the checkpoint that need not be used.
        adapt_stem: let a first convolution with other than three input channels take RGB kernels.
    """
    result = Fit()
    used: set[str] = set()
    skip = set(skip)
    shifts: dict[str, np.ndarray] = {}
    no_scale = not any({"gamma", "weight"} & set(fields) for fields in _normalizations(checkpoint))
    # convolutions first: their biases may have to go into the normalisation that follows
    for layer in sorted(layers, key=_is_normalization):
        prefix = names.get(layer.name)
        if layer.name in skip:
            used.add(prefix or "")
            continue
        fields = checkpoint.layers.get(prefix) if prefix is not None else None
        if prefix is None or fields is None:
            result.missing.append(f"{layer.name} ({prefix})" if prefix not in (None, layer.name) else layer.name)
            continue
        used.add(prefix)
        if _is_normalization(layer):
            given = checkpoint.epsilons.get(prefix, layer.epsilon if epsilon is None else epsilon)
            _fit_normalization(result, layer, prefix, fields, checkpoint, given, no_scale, shifts.get(layer.name))
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            shift = _fit_kernel(result, model, layer, prefix, fields, checkpoint, adapt_stem)
            if shift is not None:
                shifts[shift[0]] = shift[1]
        else:
            _fit_as_is(result, layer, prefix, list(fields.values()))
    for prefix, fields in checkpoint.layers.items():
        if prefix not in used and not f"{prefix}.".startswith(tuple(may_be_left) or ("\0",)):
            result.unexpected += [_key(checkpoint, prefix, name) for name in fields]
    return result


def _normalizations(checkpoint: Checkpoint) -> Iterable[Mapping[str, np.ndarray]]:
    for fields in checkpoint.layers.values():
        if {"running_mean", "moving_mean"} & set(fields):
            yield fields
        elif "2" in fields and all(array.ndim == 1 for array in fields.values()):
            yield _normalization_fields(fields)


def _is_normalization(layer: Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _key(checkpoint: Checkpoint, prefix: str, name: str) -> str:
    return f"{prefix}{'.' if checkpoint.layout == 'torch' else '/'}{name}"


def _normalization_fields(fields: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Names for the numbered arrays of `.weights.h5`; with three of them the scale is the one left out."""
    if "0" not in fields:
        return fields
    order = ("gamma", "beta", "moving_mean", "moving_variance")[-len(fields) :]
    return dict(zip(order, fields.values(), strict=False))


def _fit_normalization(
    result: Fit,
    layer: Any,
    prefix: str,
    fields: Mapping[str, np.ndarray],
    checkpoint: Checkpoint,
    epsilon: float,
    no_scale: bool,
    shift: np.ndarray | None,
) -> None:
    fields = _normalization_fields(fields)
    channels = layer.moving_mean.shape[0]
    values: dict[str, np.ndarray] = {}
    for name, torch_name in _FIELDS.items():
        if name in ("kernel", "bias"):
            continue
        key = torch_name if checkpoint.layout == "torch" else name
        if key not in fields:
            if name == "gamma" and no_scale:
                values[name] = np.ones(channels)
            else:
                result.missing.append(_key(checkpoint, prefix, key))
        elif fields[key].squeeze().shape != (channels,):  # old files keep (1, channels)
            result.misshapen.append(
                f"{_key(checkpoint, prefix, key)} is {fields[key].shape}, {layer.name} needs {(channels,)}"
            )
        else:
            values[name] = fields[key].squeeze().astype(np.float64)
    known = {key for pair in _FIELDS.items() for key in pair}
    result.unexpected += [_key(checkpoint, prefix, name) for name in fields if name not in known]
    if len(values) < 4:
        return
    if shift is not None:  # (x + bias - mean) is (x - (mean - bias))
        values["moving_mean"] = values["moving_mean"] - shift
    if epsilon != layer.epsilon:
        # The same root from variance' + our epsilon; what would make a negative variance goes into the scale.
        root = values["moving_variance"] + epsilon
        values["moving_variance"] = np.maximum(root - layer.epsilon, 0.0)
        values["gamma"] = values["gamma"] * np.sqrt((values["moving_variance"] + layer.epsilon) / root)
    own = [name for name, has in (("gamma", layer.scale), ("beta", layer.center)) if has]
    for name, neutral in (("gamma", 1.0), ("beta", 0.0)):
        if name not in own and not np.allclose(values[name], neutral, rtol=1e-6):
            result.unexpected.append(f"{_key(checkpoint, prefix, name)} ({layer.name} has no {name})")
    result.arrays[layer.name] = [values[name] for name in (*own, "moving_mean", "moving_variance")]


def _fit_kernel(
    result: Fit,
    model: keras.Model,
    layer: Any,
    prefix: str,
    fields: Mapping[str, np.ndarray],
    checkpoint: Checkpoint,
    adapt_stem: bool,
) -> tuple[str, np.ndarray] | None:
    """Fit a convolution or dense layer; returns (normalisation, bias) where the bias has to move there."""
    if "0" in fields:
        fields = dict(zip(("kernel", "bias"), fields.values(), strict=False))
    weight = "weight" if checkpoint.layout == "torch" else "kernel"
    result.unexpected += [_key(checkpoint, prefix, name) for name in fields if name not in (weight, "bias")]
    wanted = tuple(layer.kernel.shape)
    if weight not in fields:
        result.missing.append(_key(checkpoint, prefix, weight))
        return None
    kernel = fields[weight]
    converted = _from_torch(kernel, wanted, layer) if checkpoint.layout == "torch" else _reshaped(kernel, wanted)
    if converted is None and _is_rgb_for_other_channels(kernel, wanted, checkpoint.layout):
        result.adaptable.append(layer.name)
        if adapt_stem:
            converted = adapt_channels(_hwio(kernel, checkpoint.layout), wanted[2])
    if converted is None:
        form = tuple(wanted[i] for i in ((3, 2, 0, 1) if len(wanted) == 4 else (1, 0)))
        form = form if checkpoint.layout == "torch" else wanted
        result.misshapen.append(f"{_key(checkpoint, prefix, weight)} is {kernel.shape}, {layer.name} needs {form}")
        return None
    bias = fields.get("bias")
    if bias is not None and bias.shape != (wanted[-1],):
        result.misshapen.append(
            f"{_key(checkpoint, prefix, 'bias')} is {bias.shape}, {layer.name} needs {(wanted[-1],)}"
        )
        return None
    if layer.use_bias:
        if bias is None:
            result.missing.append(_key(checkpoint, prefix, "bias"))
            return None
        result.arrays[layer.name] = [converted, bias]
        return None
    result.arrays[layer.name] = [converted]
    if bias is None:
        return None
    follower = following_normalization(model, layer)
    if follower is None:
        result.unexpected.append(f"{_key(checkpoint, prefix, 'bias')} ({layer.name} has no bias)")
        return None
    return follower, bias.astype(np.float64)


def _fit_as_is(result: Fit, layer: Layer, prefix: str, arrays: list[np.ndarray]) -> None:
    wanted = [tuple(weight.shape) for weight in layer.weights]
    if [array.shape for array in arrays] == wanted:
        result.arrays[layer.name] = arrays
    else:
        result.misshapen.append(f"{prefix} is {[a.shape for a in arrays]}, {layer.name} needs {wanted}")


def _hwio(kernel: np.ndarray, layout: str) -> np.ndarray:
    return kernel.transpose(2, 3, 1, 0) if layout == "torch" else kernel


def _reshaped(kernel: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray | None:
    """A Keras kernel; a dense one also for a 1x1 convolution, and the reverse."""
    if kernel.shape == wanted:
        return kernel
    if len(kernel.shape) != len(wanted) and kernel.shape[-2:] == wanted[-2:] and kernel.size == math.prod(wanted):
        return kernel.reshape(wanted)
    return None


def _from_torch(kernel: np.ndarray, wanted: tuple[int, ...], layer: Layer) -> np.ndarray | None:
    """A torch kernel in Keras's order, or None where it is of another size."""
    outputs, *rest = kernel.shape
    if outputs != wanted[-1] or math.prod(kernel.shape) != math.prod(wanted) or kernel.ndim not in (2, 4):
        return None
    if len(wanted) == 4:
        if kernel.ndim == 2:  # a linear layer over a map, flattened channel first
            kernel = kernel.reshape(outputs, wanted[2], *wanted[:2])
        kernel = kernel.transpose(2, 3, 1, 0)
        return kernel if kernel.shape == wanted else None
    if kernel.ndim == 2:
        if rest != [wanted[0]]:
            return None
        height, width, channels = flattened_shape(layer) or (1, 1, wanted[0])
        kernel = kernel.reshape(outputs, channels, height, width)
    # a dense layer after a flattened map: torch counts (channels, height, width), Keras (height, width, channels)
    return kernel.transpose(2, 3, 1, 0).reshape(wanted)


def _is_rgb_for_other_channels(kernel: np.ndarray, wanted: tuple[int, ...], layout: str) -> bool:
    if kernel.ndim != 4 or len(wanted) != 4:
        return False
    shape = _hwio(kernel, layout).shape
    return shape[2] == 3 != wanted[2] and (*shape[:2], shape[3]) == (*wanted[:2], wanted[3])


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """An RGB kernel (height, width, 3, outputs) for another number of input channels.

    One channel takes the sum over RGB: a gray image then gives what it gave as three equal channels. Channels beyond
    three start at zero: the network gives what it gave for RGB until it is trained on the rest.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    if channels < 3:
        raise ValueError(f"RGB weights can be adapted to one channel or to four and more, not to {channels}.")
    return np.pad(kernel, ((0, 0), (0, 0), (0, channels - 3), (0, 0)))


def following_normalization(model: keras.Model, layer: Layer) -> str | None:
    """The batch normalisation that alone reads a layer's output."""
    readers = consumers(layer, model)
    reader = readers[0] if len(readers) == 1 else None
    return reader.name if reader is not None and _is_normalization(reader) else None


def flattened_shape(layer: Layer) -> tuple[int, int, int] | None:
    """(height, width, channels) of the map that was flattened before a dense layer, or None."""
    for node in walk_back(inputs_of(layer)[0]):
        if isinstance(node.operation, keras.layers.Flatten):
            shape = tuple(node.input_tensors[0].shape[1:])
            return shape if len(shape) == 3 else None
        if len(node.output_tensors[0].shape) != 2 or getattr(node.operation, "weights", None):
            return None
    return None
