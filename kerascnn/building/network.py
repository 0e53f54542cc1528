"""A network under construction: its options, its input, its stages, and the model in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import KerasTensor, layers

from kerascnn import registry
from kerascnn.build_info import BuildInfo, carry_over, set_build_info
from kerascnn.building.blocks import DATA_FORMAT
from kerascnn.building.options import (
    Choice,
    SharedOptions,
    check_classes,
    check_shape,
    resolve_choices,
)
from kerascnn.keras_graph import deep_graphs, postpone_values
from kerascnn.layers.auxiliary import AuxiliaryModel
from kerascnn.layers.stochastic_depth import Join
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.registry import Variant, WeightsRecord
from kerascnn.weights import Resolved, WeightsError, load, resolve

_TOP = ("include_top", "pooling", "classifier_activation")


class Network:
    """One network under construction.

    A builder makes one, reads its own choices from it, puts layers on `input`, and returns one of the classifiers of
    `kerascnn.building.head`, or `finish(...)`.

    Args:
        name: The variant.
        options: The builder's keyword options.
        choices: The family's own options.

    Attributes:
        variant: The record.
        options: The shared options, with their defaults.
        choices: The values of the family's own options.
        input: The images.
    """

    def __init__(self, name: str, options: Mapping[str, Any], choices: Mapping[str, Choice] | None = None):
        self.variant: Variant = registry.variant(name)
        choices = choices or {}
        source = options.get("weights")
        self._weights: Resolved | None = None if source is None else resolve(name, source)
        self.record: WeightsRecord | None = self._weights.record if self._weights else None
        options = {**_options_of_file(self._weights, options, choices), **options}
        self.options = SharedOptions.read(self.variant, options)
        self.choices: dict[str, Any] = resolve_choices(self.variant, choices, self.record)
        self._given = frozenset(option for option, choice in choices.items() if choice.given is not None)
        check_classes(self.options, self.record)
        self.input, self._inputs = _make_input(self.variant, options)
        self._stages: dict[str, KerasTensor] = {}
        if self._weights and self._weights.container:
            postpone_values()  # until the sizes that the file asks for are found to be those that it has

    def stage(self, name: str, x: KerasTensor) -> KerasTensor:
        """Note `x` as the output of a stage, which `features=` can ask for, and return it."""
        self._stages[name] = x
        return x

    def joins(self, units: int) -> list[Join]:
        """Return what adds the branch of each of so many residual units to its shortcut: see `ResidualOptions`."""
        return self.options.survival.joins(units)

    @property
    def features_only(self) -> bool:
        """True where the architecture's classifier is not wanted."""
        return self.options.features_only

    @deep_graphs()
    def finish(self, x: KerasTensor, auxiliary: Mapping[str, KerasTensor] | None = None) -> keras.Model:
        """Make the model that ends in `x` (and, for training, in `auxiliary`), and load its weights."""
        outputs: Any = x
        name, pooling = self.options.name, self.options.pooling
        if self.options.features:
            outputs = self._selected_stages()
        elif not self.options.include_top and pooling == "avg":
            outputs = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="avg_pool")(x)
        elif not self.options.include_top and pooling == "max":
            outputs = layers.GlobalMaxPooling2D(data_format=DATA_FORMAT, name="max_pool")(x)
        if auxiliary:
            model = AuxiliaryModel(self._inputs, {"predictions": x, **auxiliary}, name=name)
        else:
            model = self.options.survival.model()(self._inputs, outputs, name=name)
        set_build_info(model, self._info())
        if self._weights is not None:
            self._load(model, x, self._weights)
        return model

    def _preprocessing(self) -> Preprocessing | None:
        if self.record and self.record.preprocessing is None:
            return None
        known = self.record or (self.variant if self.variant.preprocessing else None)
        return Preprocessing.from_record(known) if known else Preprocessing.default(self.variant.input_shape)

    def _info(self) -> BuildInfo:
        preceding = keras.Model(self._inputs, self.input).layers
        preprocessing, (height, width, channels) = self._preprocessing(), self.input.shape[1:]
        if preprocessing is not None:
            preprocessing = preprocessing.for_channels(channels)
            preprocessing = preprocessing.for_size(height, width) if height and width else preprocessing
        return BuildInfo(
            variant=self.variant.name,
            options=dict(self.choices),
            given=self._given,
            preceding=frozenset(layer.name for layer in preceding),
            top=self.options.top(),
            preprocessing=preprocessing,
            weights=self.record,
        )

    def _load(self, model: keras.Model, x: KerasTensor, weights: Resolved) -> None:
        whole = model
        if self.options.features:  # the model may end before the last stage; the weights belong to all of it
            whole = carry_over(model, keras.Model(self._inputs, x, name=self.options.name))
        load(
            whole,
            weights,
            variant=self.variant.name,
            head=self.options.head,
            input_channels=self.options.input_channels,
        )

    def _selected_stages(self) -> dict[str, KerasTensor]:
        features = self.options.features
        if features is True:
            return dict(self._stages)
        wanted = [features] if isinstance(features, str) else list(features or ())
        unknown = [stage for stage in wanted if stage not in self._stages]
        if unknown:
            raise ValueError(
                f"{self.variant.name} has no stage named {unknown[0]!r}. Its stages are: {', '.join(self._stages)}."
            )
        return {stage: self._stages[stage] for stage in wanted}


def _options_of_file(
    weights: Resolved | None, options: Mapping[str, Any], choices: Mapping[str, Choice]
) -> dict[str, Any]:
    """Return what a .kdc file says of its network beside the family's options.

    Raises:
        WeightsError: It has options that the network does not have, or with values that they cannot have.
    """
    if weights is None or weights.container is None:
        return {}
    header = weights.container.header
    top = {option: value for option, value in header.options.items() if option in _TOP}
    for option in header.options.keys() - top.keys():
        value = header.options[option]
        choice = choices.get(option)
        # The paper's value may be None, which a caller need not give and `allowed` therefore does not list.
        if choice is None or (choice.allowed is not None and value not in (choice.papers, *choice.allowed)):
            raise WeightsError(
                f"{weights.path}: {header.variant} cannot be built with {option}={value!r}, as the file says."
            )
    if options.get("input_tensor") is None:
        top["input_shape"] = header.input_shape
    return {"classes": header.classes, **top}


def _make_input(variant: Variant, options: Mapping[str, Any]) -> tuple[KerasTensor, Any]:
    """Return the tensor to build on, and the inputs of the model: those of the layers before it, if there are any.

    Raises:
        ValueError: The tensor or its shape is none that the variant can take.
    """
    tensor, shape = options.get("input_tensor"), options.get("input_shape")
    if tensor is None:
        shape = variant.input_shape if shape is None else shape
        if not isinstance(shape, list | tuple):
            raise ValueError(
                f"The input of {variant.name} is (height, width, channels), such as {variant.input_shape}; "
                f"input_shape is {shape!r}."
            )
        shape = tuple(shape)
        check_shape(variant, shape)
        image = keras.Input(shape, name="images")
        return image, image
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            f"input_tensor must be a Keras tensor, such as keras.Input(...) or the output of a layer; it is a "
            f"{type(tensor).__name__}. To run the model on an array, build it first and call it."
        )
    if len(tensor.shape) != 4:
        raise ValueError(f"input_tensor must be (batch, height, width, channels); its shape is {tensor.shape}.")
    if shape is not None and tuple(shape) != tuple(tensor.shape[1:]):
        raise ValueError(f"input_shape is {tuple(shape)}, input_tensor has {tuple(tensor.shape[1:])}. Give one.")
    check_shape(variant, tuple(tensor.shape[1:]))
    inputs = keras.utils.get_source_inputs(tensor)
    return tensor, inputs[0] if len(inputs) == 1 else inputs
