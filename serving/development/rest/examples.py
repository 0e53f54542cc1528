"""The JSON of classify and regress requests as the `Input` message, a list of `tf.Example`s."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from serving.development.rest.parsing import JSONObject, from_base64, is_base64, json_type, show, to_bytes
from serving.development.statuses import invalid

if TYPE_CHECKING:
    from tensorflow.core.example.example_pb2 import Example
    from tensorflow.core.example.feature_pb2 import Feature
    from tensorflow_serving.apis.input_pb2 import Input

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(document: Mapping[str, object]) -> Input:
    """Read the examples of a classify or regress request."""
    from tensorflow_serving.apis.input_pb2 import Input

    message = Input()
    target = message.example_list
    if "context" in document:
        target = message.example_list_with_context
        _fill(target.context, document["context"])
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {show(document)} 'examples' value is an empty array")
    for example in examples:
        _fill(target.examples.add(), example)
    return message


def _fill(example: Example, value: object) -> None:
    if not isinstance(value, JSONObject):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.pairs:  # of two features of one name the last one counts
        feature = example.features.feature[name]
        feature.Clear()
        for item in content if isinstance(content, list) else [content]:
            _add(name, feature, item)


def _add(name: str, feature: Feature, value: object) -> None:
    kind, converted = _convert(name, value)
    given = feature.WhichOneof("kind")
    if given not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[given]}")
    getattr(feature, kind).value.append(converted)


def _convert(name: str, value: object) -> tuple[str, bytes | float | int]:
    """Return the list of a feature that a JSON value belongs to, and the value as that list takes it."""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "int64_list", int(value)
    if isinstance(value, int) and 0 <= value < 2**64:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(value, (int, float)):
        return "float_list", _to_float32(float(value))
    if isinstance(value, str):
        return "bytes_list", to_bytes(value)
    if is_base64(value):
        assert isinstance(value, JSONObject)
        return "bytes_list", from_base64(value)
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _to_float32(value: float) -> float:
    """Round as the server does: what is too large becomes infinite."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
