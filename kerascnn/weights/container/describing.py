"""What a .kdc file holds of a model: its description and its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kerascnn import registry
from kerascnn.build_info import build_info
from kerascnn.weights.container.header import LABEL_SETS, Header

if TYPE_CHECKING:
    import keras

    from kerascnn.registry import WeightsRecord


def describe(model: keras.Model, *, labels: tuple[str, ...] | None = None, trained: bool | None = None) -> Header:
    """Describe a model that kerascnn built.

    Args:
        model: The model; one with auxiliary classifiers goes through `kerascnn.inference_model` first.
        labels: Names of its classes, where they are not those of the published weights that it was built with.
        trained: Whether its weights are; by default what is known of the weights that it was built with.

    Raises:
        ValueError: It was not built by kerascnn, or has more than one input or output.
    """
    info = build_info(model)
    if info is None or info.variant is None:
        raise ValueError(
            f"What the model {model.name!r} is made of is not known: it was not built by kerascnn, or was saved as a "
            ".h5 file. Build it with kerascnn.create_model and load the weights into that."
        )
    if "features" in info.top:
        raise ValueError(f"{model.name!r} was built with features=, and is no classifier. Build it without.")
    before = [layer.name for layer in model.layers if layer.name in info.preceding]
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(before) != 1:
        raise ValueError(
            f"A .kdc file holds a network with one image input and one output; {model.name!r} has more, or layers in "
            "front of it. Build it without input_tensor and features; a network with auxiliary classifiers goes "
            "through kerascnn.inference_model(model)."
        )
    weights = info.weights
    top = info.top.get("include_top", True)
    classes = model.outputs[0].shape[-1] if top else registry.variant(info.variant).classes
    known: str | tuple[str, ...] | None = info.labels
    if known is None and weights is not None and top and info.class_names(classes) is not None:
        known = weights.labels
    return Header(
        variant=info.variant,
        options={option: value for option, value in {**info.options, **info.top}.items() if option != "head"},
        classes=classes,
        input_shape=tuple(model.inputs[0].shape[1:]),
        preprocessing=info.preprocessing,
        labels=labels or (known if isinstance(known, tuple) or known in LABEL_SETS else None),
        trained=trained if trained is not None or weights is None else weights.trained,
        origin=_origin(weights),
    )


def _origin(weights: WeightsRecord | None) -> dict[str, str]:
    if weights is None:
        return {}
    name = weights.source if weights.format == "kdc" else weights.full_name
    return {key: text for key, text in (("name", name), ("url", weights.url), ("licence", weights.licence)) if text}


def arrays_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Return a model's weights by `layer/weight`, float32, in the order of its layers."""
    return {path: np.asarray(weight, np.float32) for path, weight in weights_of(model).items()}


def weights_of(model: keras.Model) -> dict[str, keras.Variable]:
    """Return a model's variables by `layer/weight`, in the order of its layers."""
    variables: dict[str, keras.Variable] = {}
    for layer in model.layers:
        for i, variable in enumerate(layer.weights):
            path = f"{layer.name}/{variable.name}"
            variables[f"{path}_{i}" if path in variables else path] = variable
    return variables
