"""The part that every builder shares: options → input → (the architecture) → head → weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
from keras import KerasTensor, layers

from kerascnn import registry
from kerascnn.build_info import BuildInfo, carry_over, set_build_info
from kerascnn.building.options import ModelOptions
from kerascnn.keras_graph import deep_graphs
from kerascnn.layers.auxiliary import AuxiliaryModel
from kerascnn.layers.stochastic_depth import Join, Survival
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.registry import Variant, WeightsRecord

# The package is channels_last whatever keras.json says: the papers' tables, the weights and TFLite all are.
DATA_FORMAT: Literal["channels_last"] = "channels_last"

# He et al. 2015 (arXiv:1502.01852) give the variance, 2 / fan-in. Uniform, because drawing as many normal numbers as a
# large network has weights takes longer than the rest of building it.
INITIALIZER = "he_uniform"


class Network:
    """One network under construction.

    A builder makes one, reads its own choices from it, puts layers on `input`, and returns `classifier(...)` or
    `finish(...)`. A choice left at None takes what the weights need, else the paper's value.

    Args:
        name: the variant.
        options: the builder's keyword options.
        choices: the family's own options as (given, the paper's value, allowed values or None for any).
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        choices: Mapping[str, tuple[Any, Any, Sequence[Any] | None]] | None = None,
    ):
        self.variant: Variant = registry.variant(name)
        choices = choices or {}
        self._weights: str | None = options.get("weights")
        self.record: WeightsRecord | None = _weights_record(self.variant, self._weights)
        options = {**_options_of_file(self.record, options), **options}
        self.include_top: bool = options.get("include_top", True)
        self.classes: int = options.get("classes", self.variant.classes)
        self.pooling: str | None = options.get("pooling")
        self.activation: str | None = options.get("classifier_activation", "softmax")
        self.features: bool | Sequence[str] = options.get("features", False)
        self.name: str = options.get("name") or name
        self.head: Literal["new"] | None = options.get("head")
        self.input_channels: Literal["adapt"] | None = options.get("input_channels")
        _check_values(self)
        self._survival = Survival(
            options.get("survival_probability"),
            options.get("survival_mode", "batch"),
            options.get("survival_scaling", "training"),
        )
        self.choices: dict[str, Any] = _resolve_choices(self.variant, choices, self.record)
        self._given = frozenset(option for option, (given, _, _) in choices.items() if given is not None)
        _check_classes(self)
        self.input, self._inputs = _make_input(self.variant, options)
        self._stages: dict[str, KerasTensor] = {}

    def stage(self, name: str, x: KerasTensor) -> KerasTensor:
        """Note `x` as the output of a stage, which `features=` can ask for."""
        self._stages[name] = x
        return x

    def join(self, units: int) -> Join:
        """How the network's `units` residual units add their branches: see `ResidualOptions`."""
        return self._survival.join(units)

    @property
    def features_only(self) -> bool:
        """True where the architecture's classifier is not wanted."""
        return not self.include_top or bool(self.features)

    def require_fixed_size(self, x: KerasTensor) -> None:
        """Refuse sides of None before a head that flattens the map `x`."""
        if None in x.shape[1:3]:
            raise ValueError(
                f"The classifier of {self.variant.name} is fully connected and needs a fixed input size, such as "
                f"{self.variant.input_shape}. Give the sides in input_shape, or take include_top=False."
            )

    def dense(self, x: KerasTensor, units: int, name: str) -> KerasTensor:
        """A hidden fully connected layer with ReLU."""
        return layers.Dense(units, activation="relu", kernel_initializer=INITIALIZER, name=name)(x)

    def predictions(
        self,
        x: KerasTensor,
        name: str = "predictions",
        initializer: str | keras.initializers.Initializer = "glorot_uniform",
    ) -> KerasTensor:
        """The last fully connected layer, one unit a class; float32 also under mixed precision."""
        return layers.Dense(
            self.classes, activation=self.activation, kernel_initializer=initializer, dtype=head_dtype(), name=name
        )(x)

    def wants_auxiliary(self, aux_logits: bool) -> bool:
        """Whether to build the auxiliary classifiers that the option `aux_logits` asks for."""
        if not isinstance(aux_logits, bool):
            raise ValueError(f"aux_logits must be True or False; it is {aux_logits!r}.")
        if aux_logits and self.features_only:
            raise ValueError(
                "aux_logits=True adds classifiers beside the last one, but include_top=False or features= asks for a "
                "network without classifiers. Leave one of them out."
            )
        return aux_logits

    def classifier(
        self, x: KerasTensor, dropout: float = 0.0, auxiliary: Mapping[str, KerasTensor] | None = None
    ) -> keras.Model:
        """End with global average pooling and one fully connected layer, or without the top as asked.

        `auxiliary` are the outputs of auxiliary classifiers, by name.
        """
        if self.features_only:
            return self.finish(x)
        x = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="avg_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        return self.finish(self.predictions(x), auxiliary)

    @deep_graphs()
    def finish(self, x: KerasTensor, auxiliary: Mapping[str, KerasTensor] | None = None) -> keras.Model:
        """Make the model that ends in `x` (and, for training, in `auxiliary`), and load its weights."""
        outputs: Any = x
        if self.features:
            outputs = self._selected_stages()
        elif not self.include_top and self.pooling == "avg":
            outputs = layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="avg_pool")(x)
        elif not self.include_top and self.pooling == "max":
            outputs = layers.GlobalMaxPooling2D(data_format=DATA_FORMAT, name="max_pool")(x)
        if auxiliary:
            model = AuxiliaryModel(self._inputs, {"predictions": x, **auxiliary}, name=self.name)
        else:
            model = self._survival.model()(self._inputs, outputs, name=self.name)
        set_build_info(model, self._info())
        if self._weights is not None:
            self._load(model, x)
        return model

    def _preprocessing(self) -> Preprocessing | None:
        if self.record and self.record.preprocessing is None:
            return None
        known = self.record or (self.variant if self.variant.preprocessing else None)
        return Preprocessing.from_record(known) if known else Preprocessing.default(self.variant.input_shape)

    def _info(self) -> BuildInfo:
        preceding = keras.Model(self._inputs, self.input).layers
        chosen: dict[str, Any] = {
            "features": self.features or None,
            "include_top": None if self.include_top else False,
            "pooling": self.pooling,
        }
        top: dict[str, Any] = {option: value for option, value in chosen.items() if value is not None}
        if self.activation != "softmax":
            top["classifier_activation"] = self.activation
        preprocessing = self._preprocessing()
        return BuildInfo(
            variant=self.variant.name,
            options=dict(self.choices),
            given=self._given,
            preceding=frozenset(layer.name for layer in preceding),
            top=top,
            preprocessing=preprocessing and preprocessing.for_channels(self.input.shape[-1]),
            weights=self.record,
        )

    def _load(self, model: keras.Model, x: KerasTensor) -> None:
        from kerascnn import weights

        whole = model
        if self.features:  # the model may end before the last stage; the weights belong to all of it
            whole = carry_over(model, keras.Model(self._inputs, x, name=self.name))
        assert self._weights is not None
        weights.load(
            whole, self._weights, variant=self.variant.name, head=self.head, input_channels=self.input_channels
        )

    def _selected_stages(self) -> dict[str, KerasTensor]:
        if self.features is True:
            return dict(self._stages)
        wanted = [self.features] if isinstance(self.features, str) else list(self.features)  # type: ignore[arg-type]
        unknown = [stage for stage in wanted if stage not in self._stages]
        if unknown:
            raise ValueError(
                f"{self.variant.name} has no stage named {unknown[0]!r}. Its stages are: {', '.join(self._stages)}."
            )
        return {stage: self._stages[stage] for stage in wanted}


def dropout_rate(name: str, rate: float) -> float:
    """The option `dropout` of the network of that name, checked."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ValueError(f"{name}: dropout is the share of values to drop, at least 0 and below 1; it is {rate!r}.")
    return float(rate)


def head_dtype() -> str | None:
    """float32 under a mixed precision policy, where a float16 softmax would lose small probabilities."""
    policy = keras.config.dtype_policy()
    return "float32" if policy.compute_dtype != policy.variable_dtype else None


def _check_values(net: Network) -> None:
    if not isinstance(net.classes, int) or isinstance(net.classes, bool) or net.classes < 1:
        raise ValueError(f"classes must be a whole number of at least 1; it is {net.classes!r}.")
    if net.pooling not in (None, "avg", "max"):
        raise ValueError(f'pooling must be None, "avg" or "max"; it is {net.pooling!r}.')
    if net.head not in (None, "new"):
        raise ValueError(f'head must be None or "new"; it is {net.head!r}.')
    if net.input_channels not in (None, "adapt"):
        raise ValueError(f'input_channels must be None or "adapt"; it is {net.input_channels!r}.')
    if not isinstance(net.include_top, bool):
        raise ValueError(f"include_top must be True or False; it is {net.include_top!r}.")


def _weights_record(variant: Variant, weights: str | None) -> WeightsRecord | None:
    if weights is None:
        return None
    from kerascnn.weights import find

    return find(variant.name, weights)


def _options_of_file(record: WeightsRecord | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a .kdc file says of its network beside the family's options, once it was found to be that network."""
    if record is None or record.format != "kdc" or record.packaged:
        return {}
    from kerascnn.weights import container

    container.check(options["weights"])
    found: dict[str, Any] = {"classes": record.classes}
    found |= {name: value for name, value in record.options.items() if name in inspect.get_annotations(ModelOptions)}
    if options.get("input_tensor") is None and options.get("input_shape") is None:
        found["input_shape"] = record.input_shape
    return found


def _resolve_choices(
    variant: Variant, choices: Mapping[str, tuple[Any, Any, Sequence[Any] | None]], record: WeightsRecord | None
) -> dict[str, Any]:
    resolved = {}
    for option, (given, papers, allowed) in choices.items():
        needed = record.options.get(option, papers) if record else papers
        if given is not None and allowed is not None and given not in allowed:
            raise ValueError(
                f"{variant.name}: {option} must be one of {', '.join(map(repr, allowed))}; it is {given!r}."
            )
        if record and given is not None and given != needed:
            raise ValueError(
                f"The weights {record.full_name!r} were trained with {option}={needed!r}, but {option}={given!r} was "
                f"asked for. Leave {option} out, or take weights=None."
            )
        resolved[option] = needed if given is None else given
    return resolved


def _check_classes(net: Network) -> None:
    if net.record and not net.features_only and net.head is None and net.classes != net.record.classes:
        raise ValueError(
            f"The weights {net.record.full_name!r} have {net.record.classes} classes, but classes={net.classes} was "
            'asked for. head="new" loads all but the last layer, which is then new; include_top=False leaves it out; '
            "weights=None trains from scratch."
        )


def _make_input(variant: Variant, options: Mapping[str, Any]) -> tuple[KerasTensor, Any]:
    """The tensor to build on, and the inputs of the model (those of the layers before it, if there are any)."""
    tensor = options.get("input_tensor")
    shape = options.get("input_shape")
    if tensor is not None:
        if not isinstance(tensor, KerasTensor):
            raise ValueError(
                f"input_tensor must be a Keras tensor, such as keras.Input(...) or the output of a layer; it is a "
                f"{type(tensor).__name__}. To run the model on an array, build it first and call it."
            )
        if len(tensor.shape) != 4:
            raise ValueError(f"input_tensor must be (batch, height, width, channels); its shape is {tensor.shape}.")
        if shape is not None and tuple(shape) != tuple(tensor.shape[1:]):
            raise ValueError(f"input_shape is {tuple(shape)}, input_tensor has {tuple(tensor.shape[1:])}. Give one.")
        _check_shape(variant, tuple(tensor.shape[1:]))
        inputs = keras.utils.get_source_inputs(tensor)
        return tensor, inputs[0] if len(inputs) == 1 else inputs
    shape = tuple(variant.input_shape if shape is None else shape)
    _check_shape(variant, shape)
    image = keras.Input(shape, name="images")
    return image, image


def _check_shape(variant: Variant, shape: tuple[Any, ...]) -> None:
    if len(shape) != 3 or not isinstance(shape[2], int) or shape[2] < 1:
        raise ValueError(
            f"The input of {variant.name} is (height, width, channels), such as {variant.input_shape}; "
            f"input_shape is {shape}."
        )
    for side in shape[:2]:
        if side is None:
            continue
        if not isinstance(side, int):
            raise ValueError(f"Height and width must be whole numbers or None; input_shape is {shape}.")
        if side < variant.min_size:
            raise ValueError(
                f"{variant.name} cannot take an input of {shape[0]}x{shape[1]}: nothing would be left after its "
                f"strides. The smallest that works is {variant.min_size}x{variant.min_size}."
            )
