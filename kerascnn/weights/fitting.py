"""From a checkpoint's arrays to a Keras model's, layer by layer, exactly.

Kernels are transposed and reshaped; biases before a batch normalization, other epsilons and missing scales are folded
into its statistics. `fit` changes nothing: it returns what to set, and every reason why it cannot be set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerascnn.keras_graph import consumers, inputs_of, walk_back
from kerascnn.weights.reading import Checkpoint

if TYPE_CHECKING:
    from keras.layers import Layer

Fields = Mapping[str, np.ndarray]

_STATISTICS = {  # Keras's name of each array of a batch normalization: torch's
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_KNOWN = {"kernel", "bias", *_STATISTICS, *_STATISTICS.values()}


@dataclass(frozen=True)
class Matching:
    """How the layers of a model and of a checkpoint belong together.

    Attributes:
        names: Layer name -> name or key prefix in the checkpoint.
        epsilon: The epsilon of the checkpoint's batch normalizations, where the file does not say it; None for the
            model's own.
        kept: Layers that keep what they have (a new head).
        may_be_left: Key prefixes in the checkpoint that need not be used.
        adapt_stem: Let a first convolution with other than three input channels take RGB kernels.
    """

    names: Mapping[str, str]
    epsilon: float | None = None
    kept: Sequence[str] = ()
    may_be_left: Sequence[str] = ()
    adapt_stem: bool = False


@dataclass
class Fit:
    """How a checkpoint fits a model.

    Attributes:
        arrays: What to set, by layer name.
        missing: What the model has and the checkpoint lacks.
        unexpected: What the checkpoint has and the model lacks.
        misshapen: Arrays of another shape.
        adaptable: First convolutions with kernels for RGB, where the model's are for other channels.
    """

    arrays: dict[str, list[np.ndarray]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    adaptable: list[str] = field(default_factory=list)


def fit(model: keras.Model, layers: Sequence[Layer], checkpoint: Checkpoint, matching: Matching) -> Fit:
    """Bring a checkpoint's arrays into the form of the model's layers.

    Args:
        model: The model, whose graph says which normalization follows which convolution.
        layers: Its layers with weights that are to be set.
        checkpoint: The file's arrays.
        matching: Which layer is which.
    """
    return _Fitting(model, checkpoint, matching).run(layers)


class _Fitting:
    def __init__(self, model: keras.Model, checkpoint: Checkpoint, matching: Matching):
        self.model, self.checkpoint, self.matching = model, checkpoint, matching
        self.torch = checkpoint.layout == "torch"
        self.fit = Fit()
        self.shifts: dict[str, np.ndarray] = {}  # biases of convolutions, by the normalization that takes them
        self.no_scale = not any({"gamma", "weight"} & set(fields) for fields in _normalizations(checkpoint))

    def run(self, layers: Sequence[Layer]) -> Fit:
        used: set[str] = set()
        # convolutions first: their biases may have to go into the normalization that follows
        for layer in sorted(layers, key=_is_normalization):
            prefix = self.matching.names.get(layer.name)
            if layer.name in self.matching.kept:
                used.add(prefix or "")
            elif prefix is None or prefix not in self.checkpoint.layers:
                self.fit.missing.append(f"{layer.name} ({prefix})" if prefix not in (None, layer.name) else layer.name)
            else:
                used.add(prefix)
                self._fit_layer(layer, prefix, self.checkpoint.layers[prefix])
        may_be_left = tuple(self.matching.may_be_left)
        for prefix, fields in self.checkpoint.layers.items():
            if prefix not in used and not f"{prefix}.".startswith(may_be_left):
                self.fit.unexpected += [self._key(prefix, name) for name in fields]
        return self.fit

    def _key(self, prefix: str, name: str) -> str:
        return f"{prefix}{'.' if self.torch else '/'}{name}"

    def _misshapen(self, key: str, shape: tuple[int, ...], layer: Layer, needed: tuple[int, ...]) -> None:
        self.fit.misshapen.append(f"{key} is {shape}, {layer.name} needs {needed}")

    def _fit_layer(self, layer: Layer, prefix: str, fields: Fields) -> None:
        if _is_normalization(layer):
            self._fit_normalization(layer, prefix, fields)
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            self._fit_kernel(layer, prefix, fields)
        else:
            arrays, wanted = list(fields.values()), [tuple(weight.shape) for weight in layer.weights]
            if [array.shape for array in arrays] == wanted:
                self.fit.arrays[layer.name] = arrays
            else:
                shapes = [array.shape for array in arrays]
                self.fit.misshapen.append(f"{prefix} is {shapes}, {layer.name} needs {wanted}")

    def _fit_normalization(self, layer: Any, prefix: str, fields: Fields) -> None:
        values = self._statistics(layer, prefix, _named(fields))
        if len(values) < 4:
            return
        shift = self.shifts.get(layer.name)
        if shift is not None:  # (x + bias - mean) is (x - (mean - bias))
            values["moving_mean"] = values["moving_mean"] - shift
        default = layer.epsilon if self.matching.epsilon is None else self.matching.epsilon
        epsilon = self.checkpoint.epsilons.get(prefix, default)
        if epsilon != layer.epsilon:
            # The same root from variance' + our epsilon; what would make a negative variance goes into the scale.
            root = values["moving_variance"] + epsilon
            values["moving_variance"] = np.maximum(root - layer.epsilon, 0.0)
            values["gamma"] = values["gamma"] * np.sqrt((values["moving_variance"] + layer.epsilon) / root)
        own = [name for name, has in (("gamma", layer.scale), ("beta", layer.center)) if has]
        for name, neutral in (("gamma", 1.0), ("beta", 0.0)):
            if name not in own and not np.allclose(values[name], neutral, rtol=1e-6):
                self.fit.unexpected.append(f"{self._key(prefix, name)} ({layer.name} has no {name})")
        self.fit.arrays[layer.name] = [values[name] for name in (*own, "moving_mean", "moving_variance")]

    def _statistics(self, layer: Any, prefix: str, fields: Fields) -> dict[str, np.ndarray]:
        """Return the arrays of a normalization by Keras's names, as far as they are there and fit."""
        wanted = (layer.moving_mean.shape[0],)
        values: dict[str, np.ndarray] = {}
        for name, torch_name in _STATISTICS.items():
            key = torch_name if self.torch else name
            if key not in fields:
                if name == "gamma" and self.no_scale:
                    values[name] = np.ones(wanted)
                else:
                    self.fit.missing.append(self._key(prefix, key))
            elif fields[key].squeeze().shape != wanted:  # old files keep (1, channels)
                self._misshapen(self._key(prefix, key), fields[key].shape, layer, wanted)
            else:
                values[name] = fields[key].squeeze().astype(np.float64)
        self.fit.unexpected += [self._key(prefix, name) for name in fields if name not in _KNOWN]
        return values

    def _fit_kernel(self, layer: Any, prefix: str, fields: Fields) -> None:
        if "0" in fields:
            fields = dict(zip(("kernel", "bias"), fields.values(), strict=False))
        weight = "weight" if self.torch else "kernel"
        self.fit.unexpected += [self._key(prefix, name) for name in fields if name not in (weight, "bias")]
        if weight not in fields:
            self.fit.missing.append(self._key(prefix, weight))
            return
        kernel, wanted = self._arranged(layer, fields[weight]), tuple(layer.kernel.shape)
        if kernel is None:
            order = (3, 2, 0, 1) if len(wanted) == 4 else (1, 0)
            form = tuple(wanted[i] for i in order) if self.torch else wanted
            self._misshapen(self._key(prefix, weight), fields[weight].shape, layer, form)
            return
        bias, key = fields.get("bias"), self._key(prefix, "bias")
        if bias is not None and bias.shape != (wanted[-1],):
            self._misshapen(key, bias.shape, layer, (wanted[-1],))
        elif layer.use_bias and bias is None:
            self.fit.missing.append(key)
        elif layer.use_bias and bias is not None:
            self.fit.arrays[layer.name] = [kernel, bias]
        else:
            self.fit.arrays[layer.name] = [kernel]
            if bias is not None:
                self._move_bias(layer, key, bias)

    def _arranged(self, layer: Any, kernel: np.ndarray) -> np.ndarray | None:
        """Return a kernel in the layer's form; None where it is of another size."""
        wanted = tuple(layer.kernel.shape)
        converted = _from_torch(kernel, wanted, layer) if self.torch else _reshaped(kernel, wanted)
        if converted is None and _is_rgb_for_other_channels(kernel, wanted, self.checkpoint.layout):
            self.fit.adaptable.append(layer.name)
            if self.matching.adapt_stem:
                return adapt_channels(_hwio(kernel, self.checkpoint.layout), wanted[2])
        return converted

    def _move_bias(self, layer: Layer, key: str, bias: np.ndarray) -> None:
        """Let the normalization after a layer without bias take the checkpoint's."""
        follower = following_normalization(self.model, layer)
        if follower is None:
            self.fit.unexpected.append(f"{key} ({layer.name} has no bias)")
        else:
            self.shifts[follower] = bias.astype(np.float64)


def _normalizations(checkpoint: Checkpoint) -> Iterable[Fields]:
    for fields in checkpoint.layers.values():
        if {"running_mean", "moving_mean"} & set(fields):
            yield fields
        elif "2" in fields and all(array.ndim == 1 for array in fields.values()):
            yield _named(fields)


def _is_normalization(layer: Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _named(fields: Fields) -> Fields:
    """Name the numbered arrays of `.weights.h5`; with three of them the scale is the one left out."""
    if "0" not in fields:
        return fields
    return dict(zip(list(_STATISTICS)[-len(fields) :], fields.values(), strict=False))


def _hwio(kernel: np.ndarray, layout: str) -> np.ndarray:
    return kernel.transpose(2, 3, 1, 0) if layout == "torch" else kernel


def _reshaped(kernel: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray | None:
    """Fit a Keras kernel; a dense one also to a 1x1 convolution, and the reverse."""
    if kernel.shape == wanted:
        return kernel
    if len(kernel.shape) != len(wanted) and kernel.shape[-2:] == wanted[-2:] and kernel.size == math.prod(wanted):
        return kernel.reshape(wanted)
    return None


def _from_torch(kernel: np.ndarray, wanted: tuple[int, ...], layer: Layer) -> np.ndarray | None:
    """Bring a torch kernel into Keras's order; None where it is of another size."""
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
    """Adapt an RGB kernel (height, width, 3, outputs) to another number of input channels.

    One channel takes the sum over RGB: a gray image then gives what it gave as three equal channels. Channels beyond
    three start at zero: the network gives what it gave for RGB until it is trained on the rest.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    if channels < 3:
        raise ValueError(f"RGB weights can be adapted to one channel or to four and more, not to {channels}.")
    return np.pad(kernel, ((0, 0), (0, 0), (0, channels - 3), (0, 0)))


def following_normalization(model: keras.Model, layer: Layer) -> str | None:
    """Return the name of the batch normalization that alone reads a layer's output; None where there is none."""
    readers = consumers(layer, model)
    reader = readers[0] if len(readers) == 1 else None
    return reader.name if reader is not None and _is_normalization(reader) else None


def flattened_shape(layer: Layer) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of the map that was flattened before a dense layer, or None."""
    for node in walk_back(inputs_of(layer)[0]):
        if isinstance(node.operation, keras.layers.Flatten):
            shape = tuple(node.input_tensors[0].shape[1:])
            return shape if len(shape) == 3 else None
        if len(node.output_tensors[0].shape) != 2 or getattr(node.operation, "weights", None):
            return None
    return None
