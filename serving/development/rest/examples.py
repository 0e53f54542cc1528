"""The JSON of classify and regress requests as the `Input` message, a list of `tf.Example`s."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from serving.development.statuses import invalid

if TYPE_CHECKING:
    from tensorflow.core.example.example_pb2 import Example
    from tensorflow.core.example.feature_pb2 import Feature
    from tensorflow_serving.apis.input_pb2 import Input


def read_examples(document: Mapping[str, object]) -> Input:
    """Read the examples of a classify or regress request."""
    from tensorflow_serving.apis.input_pb2 import Input

    message = Input()
    target = message.example_list
    if "context" in document:
        target = message.example_list_with_context
        _fill(target.context, document["context"])
    if "examples" not in document:
        raise invalid("When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid("Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid("'examples' value is an empty array")
    for example in examples:
        _fill(target.examples.add(), example)
    return message


def _fill(example: Example, value: object) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type(value).__name__}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(name, feature, item)


def _add(name: str, feature: Feature, value: object) -> None:
    kind, converted = _convert(name, value)
    if feature.WhichOneof("kind") not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {feature.WhichOneof('kind')}")
    getattr(feature, kind).value.append(converted)


def _convert(name: str, value: object) -> tuple[str, bytes | float | int]:
    """Return the list of a feature that a JSON value belongs to, and the value as that list takes it."""
    if isinstance(value, (bool, int)):
        if not -(2**63) <= value < 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64_list", int(value)
    if isinstance(value, float):
        if np.isfinite(value) and abs(value) > np.finfo(np.float32).max:
            raise invalid(f"Cannot convert JSON value: {value} to float without loss of precision.")
        return "float_list", value
    if isinstance(value, str):
        return "bytes_list", value.encode("utf-8", errors="replace")
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return "bytes_list", base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid("Unable to base64 decode") from error
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type(value).__name__}")
