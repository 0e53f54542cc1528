"""REST's JSON requests as arrays, by the rules of TensorFlow Serving's REST interface.

A request names its tensors in rows (`instances`, one entry for each example) or in columns (`inputs`, whole tensors),
and is answered in the same form (`predictions`, `outputs`). Binary strings travel as `{"b64": "…"}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from serving.development.rest.parsing import JSONObject, from_base64, is_base64, json_type, show, to_bytes
from serving.development.statuses import Code, StatusError, invalid

# What JSON can express. Half floats, bfloat16 and uint16 are missing: a network must answer in float32.
_NUMPY = {"float": "float32", "double": "float64", "string": "object"}
_NAMES = ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "string", "bool")
DTYPES: Mapping[str, np.dtype[Any]] = {name: np.dtype(_NUMPY.get(name, name)) for name in _NAMES}
# These have no value in JSON, but may have none.
_EMPTY: Mapping[str, np.dtype[Any]] = {"half": np.dtype("float16"), "uint16": np.dtype("uint16")}
# Small integers are read as 32-bit ones and then cut to their width, as in the real server.
_READ_AS = {"int8": np.iinfo(np.int32), "int16": np.iinfo(np.int32), "uint8": np.iinfo(np.int32)}
_DEEPEST = 32


def signature_name(document: Mapping[str, object]) -> str:
    """Return the signature that a request asks for; empty for the default."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_tensors(document: Mapping[str, object], inputs: Mapping[str, str]) -> tuple[dict[str, np.ndarray], bool]:
    """Read the tensors of a predict request, and whether it came in rows.

    `inputs` has the type (`float`, …) of each input of the signature.
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist "
        )
    if "instances" in document:
        return _from_rows(document, inputs), True
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(document: Mapping[str, object], inputs: Mapping[str, str]) -> dict[str, np.ndarray]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {show(document)} No values in 'instances' array")
    if not isinstance(rows[0], JSONObject) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    try:
        if not _is_named(rows[0]):
            name = next(iter(inputs))
            return {name: to_array(rows, inputs[name])}
        if any(not _is_named(row) or row.keys() != inputs.keys() for row in rows):
            raise invalid("Failed to process an element of 'instances' list.")
        return {name: to_array([row[name] for row in rows], dtype) for name, dtype in inputs.items()}
    except StatusError:
        # All rows at once is ten times as fast; which of them is wrong, and why, is found one by one.
        for wrong in _wrong_rows(rows, inputs):
            raise wrong from None
        raise


def _wrong_rows(rows: list[Any], inputs: Mapping[str, str]) -> Iterator[StatusError]:
    """Yield what the real server says of each row that is wrong."""
    named = _is_named(rows[0])
    shapes: dict[str, tuple[int, ...]] = {}
    for position, row in enumerate(rows):
        if _is_named(row) != named:
            expected = "object but got list" if named else "value/list but got object"
            yield invalid(f"Expecting {expected} at item {position} of input list")
            continue
        for name, value in row.pairs if named else [(next(iter(inputs)), row)]:
            try:
                _check_row(name, value, inputs, shapes)
            except StatusError as error:
                key = f" key: {name}" if named else ""
                yield invalid(
                    f"Failed to process element: {position}{key} of 'instances' list. Error: {error.code.name}: {error}"
                )
        if named and row.keys() != inputs.keys():
            yield invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {show(row)} keys must be "
                f"equal to: {','.join(sorted(inputs))}"
            )


def _check_row(name: str, value: object, inputs: Mapping[str, str], shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse a value that is no tensor, or whose shape is not that of the rows before it."""
    if name not in inputs:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = to_array(value, inputs[name]).shape
    first = shapes.setdefault(name, shape)
    size, first_size = int(np.prod(shape)), int(np.prod(first))
    if size != first_size:
        raise invalid(f"Expecting tensor size: {first_size} but got: {size}")
    if shape != first:
        raise invalid(f"Expecting shape {_show_shape(first)} but got: {_show_shape(shape)}")


def _show_shape(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _from_columns(value: Any, inputs: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        (name,) = inputs
        return {name: to_array(value, inputs[name])}
    for name in inputs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: to_array(value[name], dtype) for name, dtype in inputs.items()}


def to_array(value: object, dtype: str) -> np.ndarray:
    """Return a nested list, or one value, as an array of `dtype` (`float`, …)."""
    shape, leaves = _flatten(value)
    target: np.dtype[Any] | None = DTYPES.get(dtype, _EMPTY.get(dtype))
    if target is None or (dtype in _EMPTY and leaves):
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {show(leaves[0] if leaves else value)} to type: {dtype}",
        )
    if target.kind == "O":
        return np.array([_to_bytes(leaf) for leaf in leaves], dtype=object).reshape(shape)
    allowed = {"f": (int, float), "b": (bool,)}.get(target.kind, (int,))
    if not set(map(type, leaves)) <= set(allowed):
        raise _type_error(next(leaf for leaf in leaves if type(leaf) not in allowed), dtype)
    if target.kind == "f":
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            return np.array(leaves, dtype=np.float64).astype(target).reshape(shape)
    if target.kind in "iu":
        limits = _READ_AS.get(target.name) or np.iinfo(target)
        if leaves and not limits.min <= min(leaves) <= max(leaves) <= limits.max:
            raise _type_error(next(leaf for leaf in leaves if not limits.min <= leaf <= limits.max), dtype)
        return np.array(leaves, dtype=limits.dtype).astype(target).reshape(shape)
    return np.array(leaves, dtype=target).reshape(shape)


def _type_error(value: object, dtype: str) -> StatusError:
    return invalid(f"JSON Value: {show(value)} Type: {json_type(value)} is not of expected type: {dtype}")


def _flatten(value: object) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a nested list and its leaves. Level by level is ten times as fast as recursion."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list):
        if len(shape) == _DEEPEST:
            raise invalid(f"Encountered list at unexpected level: {_DEEPEST}")
        if set(map(type, level)) != {list}:
            other = next(value for value in level if not isinstance(value, list))
            raise invalid(f"JSON Value: {show(other)} found at incorrect level: {len(shape) + 1} in the JSON DOM.")
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


def _to_bytes(leaf: object) -> bytes:
    if isinstance(leaf, str):
        return to_bytes(leaf)
    if not isinstance(leaf, JSONObject):
        raise _type_error(leaf, "string")
    if not is_base64(leaf):
        raise invalid(f"JSON Value: {show(leaf)} not formatted correctly for base64 data")
    return from_base64(leaf)


def _is_named(value: object) -> bool:
    return isinstance(value, JSONObject) and not is_base64(value)
