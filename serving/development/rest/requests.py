"""REST's JSON requests as arrays, by the rules of TensorFlow Serving's REST interface.

A request names its tensors in rows (`instances`, one entry for each example) or in columns (`inputs`, whole tensors),
and is answered in the same form (`predictions`, `outputs`). Binary strings travel as `{"b64": "…"}`.
"""

from __future__ import annotations

import base64
import binascii
import json
import reprlib
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from serving.development.statuses import Code, StatusError, invalid

# What JSON can express. Half floats, bfloat16 and uint16 are missing: a network must answer in float32.
_NUMPY = {"float": "float32", "string": "object"}
_NAMES = ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "string", "bool")
DTYPES: Mapping[str, np.dtype[Any]] = {f"DT_{name.upper()}": np.dtype(_NUMPY.get(name, name)) for name in _NAMES}
# Small integers are read as 32-bit ones and then cut to their width, as in the real server.
_READ_AS = {"int8": np.iinfo(np.int32), "int16": np.iinfo(np.int32), "uint8": np.iinfo(np.int32)}
_DEEPEST = 32


def parse(body: bytes) -> dict[str, Any]:
    """Parse the JSON object at the start of a body; what follows it is ignored."""
    if not body.strip():
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig").lstrip()
        document, _ = json.JSONDecoder().raw_decode(text)
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except ValueError as error:  # a number with thousands of digits
        raise invalid("JSON Parse error: Number too big to be stored") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_show(document)} Is not object")
    return document


def signature_name(document: Mapping[str, object]) -> str:
    """Return the signature that a request asks for; empty for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_show(name)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_tensors(document: Mapping[str, object], inputs: Mapping[str, str]) -> tuple[dict[str, np.ndarray], bool]:
    """Read the tensors of a predict request, and whether it came in rows.

    `inputs` has the dtype (`DT_FLOAT`, …) of each input of the signature.
    """
    if "instances" in document and "inputs" in document:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in document:
        return _from_rows(document["instances"], inputs), True
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(instances: object, inputs: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not isinstance(instances, list):
        raise invalid(f"JSON Value: {_show(instances)} Expecting 'instances' to be an list/array")
    if not instances:
        raise invalid("No values in 'instances' array")
    named = _is_named(instances[0])
    if not named and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required: "
            + ", ".join(sorted(inputs))
        )
    for position, instance in enumerate(instances):
        if _is_named(instance) != named:
            expected = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {expected} at item {position} of input list")
        if named and instance.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {_show(instance)} keys must "
                f"be equal to: {','.join(sorted(inputs))}"
            )
    try:
        if not named:
            (name,) = inputs
            return {name: to_array(instances, inputs[name])}
        return {name: to_array([instance[name] for instance in instances], dtype) for name, dtype in inputs.items()}
    except StatusError as error:
        raise invalid(f"Failed to process an element of 'instances' list. Error: {error.code.name}: {error}") from error


def _from_columns(value: Any, inputs: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required: "
                + ", ".join(sorted(inputs))
            )
        (name,) = inputs
        return {name: to_array(value, inputs[name])}
    for name in inputs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(value[name], dtype) for name, dtype in inputs.items()}


def to_array(value: object, dtype: str) -> np.ndarray:
    """Return a nested list, or one value, as an array of `dtype` (`DT_FLOAT`, …)."""
    if dtype not in DTYPES:
        raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value to type: {dtype}")
    shape, leaves = _flatten(value)
    target = DTYPES[dtype]
    kinds = set(map(type, leaves))
    if target.kind == "O":
        return np.array([_to_bytes(leaf) for leaf in leaves], dtype=object).reshape(shape)
    allowed = {"f": (int, float), "b": (bool,)}.get(target.kind, (int,))
    if not kinds <= set(allowed):
        wrong = next(leaf for leaf in leaves if type(leaf) not in allowed)
        raise invalid(f"JSON Value: {_show(wrong)} Type: {_json_type(wrong)} is not of expected type: {dtype}")
    if target.kind == "f":
        return _to_floats(leaves, target, has_integers=int in kinds).reshape(shape)
    if target.kind in "iu":
        limits = _READ_AS.get(target.name) or np.iinfo(target)
        if leaves and not limits.min <= min(leaves) <= max(leaves) <= limits.max:
            wrong = next(leaf for leaf in leaves if not limits.min <= leaf <= limits.max)
            raise invalid(f"JSON Value: {_show(wrong)} Type: Number is not of expected type: {dtype}")
        return np.array(leaves, dtype=limits.dtype).astype(target).reshape(shape)
    return np.array(leaves, dtype=target).reshape(shape)


def _flatten(value: object) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a nested list and its leaves. Level by level is ten times as fast as recursion."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list):
        if len(shape) == _DEEPEST:
            raise invalid(f"Encountered list at unexpected level: {_DEEPEST}")
        if set(map(type, level)) != {list}:
            other = next(value for value in level if not isinstance(value, list))
            raise invalid(f"JSON Value: {_show(other)} found at incorrect level: {len(shape) + 1} in the JSON DOM")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise invalid(
                f"Encountered list at unexpected size: {next(len(x) for x in level if len(x) != len(level[0]))} at "
                f"level: {len(shape)} expected size: {len(level[0])}"
            )
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    if list in set(map(type, level)):
        raise invalid(f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}")
    return tuple(shape), level


def _to_floats(leaves: list[Any], target: np.dtype[Any], *, has_integers: bool) -> np.ndarray:
    kind = "float" if target.itemsize == 4 else "double"
    if has_integers:
        most = 2 ** (np.finfo(target).nmant + 1) - 1
        wrong = next((leaf for leaf in leaves if type(leaf) is int and abs(leaf) > most), None)
        if wrong is not None:
            raise invalid(f"Cannot convert JSON value: {_show(wrong)} to {kind} without loss of precision.")
    values = np.array(leaves, dtype=np.float64)
    too_large = np.isfinite(values) & (np.abs(values) > np.finfo(target).max)
    if too_large.any():
        raise invalid(f"Cannot convert JSON value: {values[too_large][0]} to {kind} without loss of precision.")
    return values.astype(target)


def _to_bytes(leaf: object) -> bytes:
    if isinstance(leaf, str):
        try:
            return leaf.encode("utf-8")
        except UnicodeEncodeError as error:
            raise invalid("JSON Parse error: a string holds half of a surrogate pair") from error
    if not isinstance(leaf, dict):
        raise invalid(f"JSON Value: {_show(leaf)} Type: {_json_type(leaf)} is not of expected type: DT_STRING")
    if not _is_base64(leaf):
        raise invalid(f"JSON Value: {_show(leaf)} not formatted correctly for base64 data")
    text = "".join(leaf["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _is_base64(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _json_type(value: object) -> str:
    names = {type(None): "Null", bool: str(value), str: "String", list: "Array", dict: "Object"}
    return names.get(type(value), "Number")


def _show(value: object) -> str:
    # Never the whole value: a request of megabytes must not come back in its own error.
    return reprlib.repr(value)
