"""Arrays and results as REST's JSON, in the form of the request: rows (`predictions`) or columns (`outputs`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from serving.development.statuses import invalid

if TYPE_CHECKING:
    from tensorflow_serving.apis.classification_pb2 import ClassificationResult
    from tensorflow_serving.apis.regression_pb2 import RegressionResult

_WRITABLE = "fbiuOS"
_BYTES_SUFFIX = "_bytes"  # an output of this name is binary, and written as {"b64": …}


def predictions(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """Return the reply to a predict request: one output alone, several under their names."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if rows:
        _check_rows(outputs)
    values = {name: _to_lists(name, outputs[name]) for name in sorted(outputs)}
    if len(values) == 1:
        return dump({"predictions" if rows else "outputs": next(iter(values.values()))})
    if not rows:
        return dump({"outputs": values})
    return dump({"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]})


def classifications(result: ClassificationResult) -> bytes:
    """Return the reply to a classify request: for each example its classes, each a label and a score."""
    rows = [[[c.label, _shortest(c.score)] for c in example.classes] for example in result.classifications]
    return dump({"results": rows})


def regressions(result: RegressionResult) -> bytes:
    """Return the reply to a regress request: a number for each example."""
    return dump({"results": [_shortest(regression.value) for regression in result.regressions]})


def error(message: str) -> bytes:
    """Return the body of a reply that is not a success."""
    return dump({"error": message})


def dump(value: object) -> bytes:
    """Write JSON with bare NaN and Infinity, as the real server does; strict parsers refuse those."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    for name, value in outputs.items():
        if value.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information")
    expected = len(next(iter(outputs.values())))
    for name, value in outputs.items():
        if len(value) != expected:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(value)} expecting: {expected}")


def _to_lists(name: str, value: np.ndarray) -> object:
    if value.dtype.kind not in _WRITABLE or (value.dtype.itemsize == 2 and value.dtype.kind in "fu"):
        raise invalid(f"Failed to write JSON value for tensor type: {value.dtype.name}")
    if value.dtype.kind in "OS":
        return _strings(value.tolist(), binary=name.endswith(_BYTES_SUFFIX))
    if value.dtype == np.float32:
        # Through text: 0.2 in float32 is written as 0.2, not as the 0.200000003 that it is in float64.
        return value.astype(str).astype(np.float64).tolist()
    return value.tolist()


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _strings(value: object, *, binary: bool) -> object:
    if isinstance(value, list):
        return [_strings(item, binary=binary) for item in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(data).decode()} if binary else data.decode("utf-8", errors="replace")
