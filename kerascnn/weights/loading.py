"""Put trained weights into a model: all of them or none."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kerascnn import registry
from kerascnn.build_info import BuildInfo, build_info
from kerascnn.registry import WeightsRecord
from kerascnn.weights import readers, sources
from kerascnn.weights.readers import SUFFIXES, Checkpoint
from kerascnn.weights.sources import WeightsError

if TYPE_CHECKING:
    import keras
    from keras.layers import Layer

logger = logging.getLogger("kerascnn")

HEAD = ("predictions",)  # layers that include_top=False leaves out, where the family's mapping names no others
SHOWN = 6  # names of each kind that an error lists


@dataclass(frozen=True)
class Loaded:
    """What `load` did: the naming that the file follows, and the layers that kept their own weights."""

    path: Path
    naming: str
    layers: int
    new_layers: tuple[str, ...] = ()
    adapted_layers: tuple[str, ...] = ()


def find(variant: str, weights: str | os.PathLike[str]) -> WeightsRecord | None:
    """The record of published weights that a name or a path stands for; None for a file of one's own.

    Raises:
        ValueError: the variant has no weights of that name.
        FileNotFoundError: the path does not exist.
        WeightsError: the file is of no kind that can be read, or is a damaged copy of published weights.
    """
    records = registry.variant(variant).weights
    for record in records:
        if weights == record.name or weights in record.aliases:
            return record
    names = ", ".join(repr(record.name) for record in records) or "none"
    path = Path(weights)
    if not (path.suffix or os.sep in str(weights) or path.exists()):
        raise ValueError(
            f"{variant} has no weights named {str(weights)!r}. Published weights of {variant}: {names}. "
            "The path of a file, or None for random weights, is taken too."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}. Published weights of {variant}: {names}.")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} is not of a kind that can be read; weights files end in {', '.join(SUFFIXES)}.")
    if path.suffix == ".kdc":
        return _record_of_container(variant, path)
    alike = [record for record in records if record.file.endswith(path.suffix)]
    for record in alike:
        if sources.matches(path, record):
            return record
    for record in alike:
        # A file of that name is meant to be the published one. A .net has no checksum of its own: a single altered
        # byte would load as a slightly wrong network.
        if path.name == record.file or path.suffix == ".net":
            sources.check(path, record)
    if path.suffix == ".net":
        raise WeightsError(f"{path} is not a published weights file of {variant}. Published weights: {names}.")
    return None


def _record_of_container(variant: str, path: Path) -> WeightsRecord:
    from kerascnn.weights import container

    record = container.record(path)
    if record.variant != variant:
        raise WeightsError(f"{path} holds {record.variant}, not {variant}. Build {record.variant} with it.")
    return record


def load(
    model: keras.Model,
    source: str | os.PathLike[str],
    *,
    variant: str | None = None,
    head: Literal["new"] | None = None,
    input_channels: Literal["adapt"] | None = None,
    by_order: bool = False,
) -> Loaded:
    """Load weights into a model that kerascnn built, from published ones by name or from a file.

    Keras files (.weights.h5, .h5, .keras), torch checkpoints (.pth, .pt, .th), .safetensors, Deep Compression's .net
    and our own compressed .kdc (see `kerascnn.weights.container`) are read. Layers are found by name: those in front of
    the network (`input_tensor`) are left alone, and a model without its top takes the weights of the layers that it
    has. Nothing is changed unless everything fits.

    Args:
        model: the model.
        source: the name of published weights, or the path of a file.
        variant: the variant that the model is; what the builder noted, else the model's name, by default.
        head: "new" leaves the last layer as it is, for another number of classes.
        input_channels: "adapt" lets a model with one, four or more input channels take RGB weights: one channel takes
            the sum over RGB (a gray image then gives what it gave as RGB), channels beyond three start at zero.
        by_order: for a Keras file whose layers have other names: take them in the file's order, as the model's.

    Raises:
        ValueError, FileNotFoundError, WeightsError: see `find`; or the weights do not fit the model.
        WeightsUnavailable: the weights could not be fetched.
        ImportError: the package that reads such files is not installed.
    """
    info = build_info(model)
    variant = variant or (info and info.variant) or model.name
    record = find(variant, source)
    _check_options(record, info)
    own_file = record is not None and record.format == "kdc" and not record.packaged
    named = record is not None and not own_file and (source == record.name or source in record.aliases)
    path = sources.fetch(record) if named and record else Path(source)
    if record is not None and record.format == "kdc":
        from kerascnn.weights import container

        container.check(path)
    checkpoint = _read_deep_compression(path) if path.suffix == ".net" else readers.read(path)
    mapping = _mapping(registry.variant(variant).family)
    layers = _own_layers(model, info)
    return _fit_and_set(model, layers, checkpoint, mapping, record, info, head, input_channels, by_order)


def _own_layers(model: keras.Model, info: BuildInfo | None) -> list[Layer]:
    preceding = info.preceding if info else ()
    return [layer for layer in model.layers if layer.weights and layer.name not in preceding]


def _mapping(family: str) -> ModuleType | None:
    name = f"kerascnn.weights.mappings.{family}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _check_options(record: WeightsRecord | None, info: BuildInfo | None) -> None:
    for option, needed in (record.options if record else {}).items():
        built = info.options.get(option, needed) if info else needed
        if record and built != needed:
            raise WeightsError(
                f"The weights {record.full_name!r} were trained with {option}={needed!r}, but the model was built with "
                f"{option}={built!r}. Build it with {option}={needed!r}. Nothing was loaded."
            )


def _fit_and_set(
    model: keras.Model,
    layers: list[Layer],
    checkpoint: Checkpoint,
    mapping: ModuleType | None,
    record: WeightsRecord | None,
    info: BuildInfo | None,
    head: str | None,
    input_channels: str | None,
    by_order: bool,
) -> Loaded:
    from kerascnn.weights import conversion

    own = [layer.name for layer in layers]
    candidates = conversion.namings(mapping, checkpoint.layout)
    if record and record.format == "kdc":
        candidates = {"own": candidates["own"]}
    if record and record.format == "keras" and "keras_applications" in candidates:
        # Where names are equal, only this says that the file's normalisations have Keras's epsilon.
        candidates = {"keras_applications": candidates["keras_applications"]}
    if by_order:
        candidates = {"order": _ordered(checkpoint, own, model)}
    naming = conversion.best_naming(checkpoint, own, candidates)
    if naming is None:
        raise WeightsError(
            f"{checkpoint.path} holds no layer of the model {model.name!r} under any known naming "
            f"({', '.join(candidates) or 'none for such files'}); it has {_some(list(checkpoint.layers))}. "
            "Nothing was loaded."
        )
    if record is None:
        _check_usual_options(mapping, naming, info, checkpoint.path)
    lacking = [name for name in _constant(mapping, "HEAD", HEAD) if name not in own]
    may_be_left = [f"{prefix}." for prefix in candidates[naming](lacking).values() if prefix]
    new = _last_layers(model) if head == "new" else ()
    fitted = conversion.fit(
        model,
        layers,
        checkpoint,
        candidates[naming](own),
        epsilon=_constant(mapping, "EPSILON", {}).get(
            naming, conversion.TORCH_EPSILON if checkpoint.layout == "torch" else None
        ),
        skip=new,
        may_be_left=[*may_be_left, *_constant(mapping, "LEFT_OUT", {}).get(naming, ())],
        adapt_stem=input_channels == "adapt",
    )
    _raise_misfit(fitted, checkpoint.path, model, new)
    by_name = {layer.name: layer for layer in layers}
    for name, arrays in fitted.arrays.items():
        by_name[name].set_weights(arrays)
    if new:
        logger.warning("%s: the head (%s) is new, it keeps its random weights: train it.", model.name, ", ".join(new))
    return Loaded(checkpoint.path, naming, len(fitted.arrays), tuple(new), tuple(fitted.adaptable))


def _raise_misfit(fitted: Any, path: Path, model: keras.Model, new: Sequence[str]) -> None:
    broken = [name for name, arrays in fitted.arrays.items() if not all(np.isfinite(a).all() for a in arrays)]
    adaptable = any(name not in fitted.arrays for name in fitted.adaptable)
    reasons = {
        "missing": fitted.missing,
        "unexpected": fitted.unexpected,
        "of the wrong shape": fitted.misshapen,
        "not finite": broken,
    }
    if not any(reasons.values()):
        return
    found = "; ".join(f"{len(names)} {reason}: {_some(names)}" for reason, names in reasons.items() if names)
    hints = []
    if adaptable:
        hints.append(' input_channels="adapt" adapts RGB weights to other input channels.')
    last = _last_layers(model)
    wrong = [*fitted.missing, *fitted.misshapen, *broken]
    if not new and wrong and not fitted.unexpected and all(any(name in w for name in last) for w in wrong):
        hints.append(' head="new" leaves the last layer untrained, for other classes; include_top=False leaves it out.')
    raise WeightsError(f"{path} does not fit the model {model.name!r}: {found}. Nothing was loaded.{''.join(hints)}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _constant(mapping: ModuleType | None, name: str, default: Any) -> Any:
    return getattr(mapping, name, default)


def _check_usual_options(mapping: ModuleType | None, naming: str, info: BuildInfo | None, path: Path) -> None:
    """Refuse a file of one's own whose naming tells that it was trained in another form than the model's."""
    for option, usual in _constant(mapping, "OPTIONS", {}).get(naming, {}).items():
        if info and option not in info.given and info.options.get(option, usual) != usual:
            raise WeightsError(
                f"{path} follows the naming of {naming}, whose networks have {option}={usual!r}; the model was built "
                f"with {option}={info.options[option]!r}. Give {option}={usual!r} to the builder, or "
                f"{option}={info.options[option]!r} if the weights were trained so. Nothing was loaded."
            )


def _last_layers(model: keras.Model) -> tuple[str, ...]:
    """The last layer with weights before each output."""
    from kerascnn.surgery.heads import last_layers

    return tuple(dict.fromkeys(layer.name for layer in last_layers(model)))


def _ordered(checkpoint: Checkpoint, own: Sequence[str], model: keras.Model) -> Any:
    if checkpoint.layout != "keras" or len(checkpoint.layers) != len(own):
        raise WeightsError(
            f"by_order takes a Keras file with as many layers with weights as the model {model.name!r} has, "
            f"{len(own)}; {checkpoint.path} has {len(checkpoint.layers)}. Nothing was loaded."
        )
    pairs = dict(zip(own, checkpoint.layers, strict=True))
    return lambda layers: {layer: pairs[layer] for layer in layers if layer in pairs}


def _read_deep_compression(path: Path) -> Checkpoint:
    """Kernels (height, width, inputs, outputs) and biases by our own layer names."""
    from kerascnn.applications.squeezenet import FIRES
    from kerascnn.weights.deep_compression import decode

    shapes = {"conv1": (96, 3, 7, 7)}
    inputs = 96
    for fire, (squeeze, expand) in FIRES.items():
        shapes[f"fire{fire}_squeeze1x1"] = (squeeze, inputs, 1, 1)
        shapes[f"fire{fire}_expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"fire{fire}_expand3x3"] = (expand, squeeze, 3, 3)
        inputs = 2 * expand
    shapes["conv10"] = (1000, inputs, 1, 1)
    decoded = decode(path.read_bytes(), list(shapes.values()), str(path))
    layers = {
        name: {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias}
        for name, (kernel, bias) in zip(shapes, decoded, strict=True)
    }
    return Checkpoint(path, "keras", layers)
