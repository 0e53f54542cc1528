"""What a .kdc file says of its network: as JSON, and what is checked before any of it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kerascnn import registry
from kerascnn.photos.preprocessing import Preprocessing
from kerascnn.weights.container.tensors import ENTRIES
from kerascnn.weights.errors import WeightsError

LABEL_SETS = {"imagenet": 1000, "cifar10": 10}

# Bounds on what a header may ask for; the networks of the registry stay well below each.
ARRAYS = 1 << 14
CLASSES = 1 << 15
SIDE = 1 << 12
CHANNELS = 64
TEXT = 1 << 10
OPTION = 1 << 16


@dataclass(frozen=True)
class Header:
    """What a file says of its network.

    Attributes:
        variant: Its name in kerascnn.
        options: Those of its builder that make the network what it is: the family's own, and include_top, pooling and
            classifier_activation where they are not the defaults.
        classes: How many there are.
        input_shape: (height, width, channels); the sides may be None.
        preprocessing: None where it is not known.
        labels: The name of a known set of classes (of LABEL_SETS), the classes' names, or None.
        trained: False for random weights, None where it is not known.
        origin: The name, url and licence of the published weights that these were made from.
    """

    variant: str
    options: Mapping[str, Any]
    classes: int
    input_shape: tuple[int | None, int | None, int]
    preprocessing: Preprocessing | None = None
    labels: str | tuple[str, ...] | None = None
    trained: bool | None = None
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayRow:
    """One array that a file announces.

    Attributes:
        layer: The name of its layer.
        name: The name of the weight.
        shape: The shape of the array.
        entries: The size of its codebook, 0 without one.
        bits: How many bits each value has, 16 or 32.
    """

    layer: str
    name: str
    shape: tuple[int, ...]
    entries: int
    bits: int

    @property
    def path(self) -> str:
        """`layer/weight`."""
        return f"{self.layer}/{self.name}"

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def lower_bytes(self) -> int:
        """How many bytes it keeps beside the coded ones."""
        return 0 if self.entries else self.size * (self.bits // 8 - 1)


def to_json(header: Header, rows: list[ArrayRow]) -> bytes:
    """Return the header's text.

    Raises:
        ValueError: It has something that a reader would refuse.
    """
    values = asdict(header)
    if header.preprocessing is not None:
        plain = asdict(Preprocessing())
        values["preprocessing"] = {k: v for k, v in asdict(header.preprocessing).items() if v != plain[k]}
    arrays = [[row.layer, row.name, row.shape, row.entries, row.bits] for row in rows]
    try:
        text = json.dumps(
            {**values, "arrays": arrays}, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
        from_json(text)
    except (TypeError, ValueError, UnicodeError) as error:
        raise ValueError(f"{header.variant} cannot be written: {error}") from None
    return text


def from_json(text: bytes) -> tuple[Header, list[ArrayRow]]:
    """Return the header and the arrays that it announces.

    Raises:
        WeightsError: A field is missing, unknown, or has a value that it cannot have.
    """
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"its header is not JSON ({error}).") from None
    names = [f.name for f in fields(Header)] + ["arrays"]
    _require(isinstance(values, dict) and sorted(values) == sorted(names), f"its header needs {', '.join(names)}.")
    variant, classes, shape = values["variant"], values["classes"], values["input_shape"]
    _require(isinstance(variant, str) and variant in registry.variants(), f"there is no model {str(variant)[:80]!r}.")
    _require(_whole(classes, 1, CLASSES), f"classes must be 1 to {CLASSES:,}.")
    _require(isinstance(shape, list) and len(shape) == 3, "input_shape must be three numbers.")
    _require(all(side is None or _whole(side, 1, SIDE) for side in shape[:2]), f"sides must be 1 to {SIDE:,} or null.")
    _require(_whole(shape[2], 1, CHANNELS), f"an image has 1 to {CHANNELS} channels.")
    _require(values["trained"] is None or isinstance(values["trained"], bool), "trained must be true, false or null.")
    origin = values["origin"]
    _require(
        isinstance(origin, dict) and len(origin) <= 16 and all(_text(text) for text in origin.values()),
        "origin must hold short texts.",
    )
    header = Header(
        variant=variant,
        options=_options(values["options"]),
        classes=classes,
        input_shape=tuple(shape),
        preprocessing=_preprocessing(values["preprocessing"], shape[2]),
        labels=_labels(values["labels"], classes),
        trained=values["trained"],
        origin=origin,
    )
    return header, _rows(values["arrays"], variant, classes)


def _rows(arrays: Any, variant: str, classes: int) -> list[ArrayRow]:
    _require(isinstance(arrays, list) and len(arrays) <= ARRAYS, f"arrays must be a list of at most {ARRAYS:,}.")
    rows = []
    for array in arrays:
        _require(isinstance(array, list) and len(array) == 5, "an array is [layer, weight, shape, entries, bits].")
        layer, name, shape, entries, bits = array
        _require(_text(layer) and _text(name), "layers and weights have short names.")
        _require(
            isinstance(shape, list) and len(shape) <= 5 and all(_whole(side, 0, 1 << 28) for side in shape),
            f"{layer}/{name} has no shape.",
        )
        _require(_whole(entries, 0, ENTRIES), f"a codebook has at most {ENTRIES} entries.")
        _require(_whole(bits, 16, 32) and bits in (16, 32), "values have 16 or 32 bits.")
        row = ArrayRow(layer, name, tuple(shape), entries, bits)
        _require(entries <= row.size, f"the codebook of {row.path} is larger than the array.")
        rows.append(row)
    _require(len({row.path for row in rows}) == len(rows), "two arrays have one name.")
    # Networks with other options or classes than the paper's may be larger than it says, within reason.
    known = registry.variant(variant)
    most = 2 * (known.parameters + known.statistics) + min(4096 * classes, 1 << 24)
    total = sum(row.size for row in rows)
    _require(total <= most, f"it has {total:,} weights, {variant} at most {most:,}.")
    return rows


def _options(options: Any) -> dict[str, Any]:
    _require(isinstance(options, dict) and len(options) <= 64, "options must be a table.")
    for name, value in options.items():
        short = isinstance(value, list) and len(value) <= 64
        single = all(_scalar(item) for item in (value if short else [value]))
        _require(_text(name) and single, f"the option {name[:80]!r} has a value that no option has.")
    return _with_tuples(options)


def _with_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _scalar(value: Any) -> bool:
    if isinstance(value, int | float):
        return abs(value) <= OPTION
    return value is None or _text(value)


def _preprocessing(values: Any, channels: int) -> Preprocessing | None:
    if values is None:
        return None
    known = [f.name for f in fields(Preprocessing)]
    _require(isinstance(values, dict) and all(name in known for name in values), "its preprocessing is not known.")
    for name in ("resize", "crop"):
        value = values.get(name)
        pair = isinstance(value, list) and len(value) == 2 and all(_whole(side, 1, SIDE) for side in value)
        single = name == "resize" and _whole(value, 1, SIDE)
        _require(value is None or pair or single, f"its preprocessing has an impossible {name}.")
    for name in ("mean", "std"):
        value = values.get(name, [1.0])
        numbers = isinstance(value, list) and all(isinstance(x, int | float) and abs(x) < 1e6 for x in value)
        _require(numbers and len(value) in (1, channels), f"its preprocessing has an impossible {name}.")
    _require(all(values.get("std", [1.0])), "its preprocessing divides by zero.")
    order, method = values.get("channel_order", "rgb"), values.get("interpolation", "bilinear")
    _require(order in ("rgb", "bgr", "gray"), "its preprocessing has an unknown channel order.")
    _require(method in ("bilinear", "bicubic", "nearest"), "its preprocessing has an unknown interpolation.")
    return Preprocessing(**_with_tuples(values))


def _labels(labels: Any, classes: int) -> str | tuple[str, ...] | None:
    if isinstance(labels, str):
        _require(LABEL_SETS.get(labels) == classes, f"there are no {classes} classes called {labels[:80]!r}.")
        return labels
    if labels is None:
        return None
    _require(isinstance(labels, list) and len(labels) == classes, f"it needs {classes} labels.")
    _require(all(_text(label) for label in labels), "labels are short texts.")
    return tuple(labels)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT and value.isprintable()


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WeightsError(message)
